"""A generation as its owner sees it: look, follow, stop."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from app.domain.attempts import total_usage, unrecorded
from app.domain.commands import User
from app.domain.cursor import START, Cursor
from app.domain.errors import InvalidCursor, LeaseLost, LogDown, NotFound, StoreDown
from app.domain.events import Snapshot, SnapshotReason, encode
from app.domain.generation import QUEUED, TERMINAL
from app.domain.transcript import Transcript
from app.eventlog.log import FINISHED_TTL_MS, EventLog
from app.services.finishing import Ending, FinalStatus, Finisher
from app.services.takeover import Takeover
from app.store import checkpoints, conversations, generations, leases
from app.store.database import ONE_MOMENT, Database, Tx
from app.store.generations import Generation, Standing
from app.store.leases import Claimed

Row = TypeVar("Row", bound=Standing)

# A cancel answers within a second, whatever Redis does: then the checkpoints have to do.
CANCEL_PATIENCE_SECONDS = 0.3
# A cancel that has not ended within this time is taken over, by another one or by a worker.
CANCEL_LEASE_SECONDS = 5.0
# How long a cancel waits for others to end it.
OTHER_CANCEL_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class GenerationView:
    """A generation with its content so far. ``cursor`` is the position that content belongs to."""

    row: Generation
    cursor: Cursor
    content: str
    reasoning: str
    tools: list[dict[str, Any]]
    queue_position: int | None


class Generations:
    """What a user may do with generations. A foreign id is answered like one that does not exist: NotFound."""

    def __init__(self, database: Database, takeover: Takeover, finisher: Finisher, log: EventLog, lease: float) -> None:
        self._database = database
        self._takeover = takeover
        self._finisher = finisher
        self._log = log
        self._lease = lease

    def get(self, user: User, generation_id: str) -> GenerationView:
        """The generation with what PostgreSQL has of its content: it only ever grows, whatever happens to Redis."""
        with self._database.user(user.id, ONE_MOMENT) as tx:
            row = _own(tx, generation_id)
            return view(tx, row)

    def authorise(self, user: User, generation_id: str, after: Cursor = START) -> Standing:
        """How far it is, if this user may follow it from ``after``. The one way from an id to a stream.

        Raises NotFound, and InvalidCursor for a revision that does not exist yet.
        """
        row = _found(generations.of_user(self._database, user.id, generation_id))
        if after.epoch > row.epoch:
            raise InvalidCursor(str(after))
        return row

    def underway(self, user: User, heard: Mapping[str, Cursor]) -> list[tuple[Generation, Cursor]]:
        """What this user may follow all at once, and from where: what is being made, and what is left of ``heard``.

        Of what is named there and does not exist, or is somebody else's, nothing is said: who comes back may have been
        away while it was deleted. Raises InvalidCursor for a revision that does not exist yet.
        """
        with self._database.user(user.id) as tx:
            # In this order, so that what ends in between is in the second.
            rows = {row.id: row for row in generations.live_of(tx, user.id)}
            rows |= {row.id: row for row in generations.some(tx, list(heard))}
        found = [(row, heard.get(row.id, START)) for row in rows.values()]
        for row, after in found:
            if after.epoch > row.epoch:
                raise InvalidCursor(str(after))
        return [(row, after) for row, after in found if row.final is None or after < row.final]

    def cancel(self, user: User, generation_id: str) -> GenerationView:
        """Stop it, whatever it is doing. The commit of the claim is the acknowledgement; twice is the same as once.

        Raises StoreDown when it is stored and somebody else takes long to carry it out.
        """
        patient_until = time.monotonic() + OTHER_CANCEL_SECONDS
        while True:
            with self._database.user(user.id) as tx:
                row = _own(tx, generation_id)
                ended = row.status in TERMINAL
                claimed = None if ended else self._claim(tx, generation_id)
            if ended:
                return self.get(user, generation_id)
            if claimed is not None:
                with suppress(LeaseLost):
                    self.finish_cancel(claimed)
            elif time.monotonic() < patient_until:
                time.sleep(0.03)
            else:
                raise StoreDown("It will be cancelled, and that takes longer than usual. Ask again a little later.")

    def cancel_all(self, user: User, conversation_id: str) -> None:
        """Stop everything that is queued or running in a conversation."""
        with self._database.user(user.id) as tx:
            live = generations.live_in(tx, conversation_id)
        for row in live:
            self.cancel(user, row.id)

    def finish_cancel(self, claimed: Claimed) -> None:
        """End a generation that was claimed to be cancelled, keeping what it said so far."""
        self._end(claimed, "cancel", "cancelled", None)

    def finish_failed(self, claimed: Claimed, error: dict[str, Any]) -> None:
        """End a generation that was taken to fail as an error, keeping what it said so far."""
        self._end(claimed, "takeover", "error", error)

    def _end(self, claimed: Claimed, reason: SnapshotReason, status: FinalStatus, error: dict[str, Any] | None) -> None:
        frozen = self._takeover.freeze(claimed, CANCEL_PATIENCE_SECONDS)
        said = frozen.transcript
        made = [] if said.mark else unrecorded(len(claimed.attempts), said, status)
        usage = said.mark.usage if said.mark else total_usage([*claimed.attempts, *made])
        snapshot = Snapshot(said.text, reason, said.attempt, said.reasoning)
        said.add(Cursor(claimed.lease.epoch, 0), snapshot)
        payloads = [encode(snapshot)]
        done = self._finisher.finish(claimed, payloads, said, Ending(status, status, usage, error), made)
        if frozen.opened:
            self._publish(claimed, [*payloads, done])

    def _claim(self, tx: Tx, generation_id: str) -> Claimed | None:
        return leases.claim_to_cancel(tx, generation_id, "cancel", min(self._lease, CANCEL_LEASE_SECONDS))

    def _publish(self, claimed: Claimed, payloads: list[bytes]) -> None:
        """Tell the readers now; what cannot be told they learn from PostgreSQL some seconds later."""
        with suppress(LogDown):
            self._log.append(claimed.lease.generation_id, claimed.lease.epoch, 0, payloads, FINISHED_TTL_MS)


def _own(tx: Tx, generation_id: str) -> Generation:
    return _found(generations.get(tx, generation_id))


def _found(row: Row | None) -> Row:
    if row is None:
        raise NotFound("There is no such generation.")
    return row


def view(tx: Tx, row: Generation) -> GenerationView:
    """A row with its content: from the message when it is finished, from the checkpoints before.

    ``tx`` began with ONE_MOMENT: with an end between the looks there would be the row without its text.
    """
    if row.final is not None:
        message = conversations.message(tx, row.message_id)
        assert message is not None, "foreign keys keep it"
        return GenerationView(row, row.final, message.content, message.reasoning, message.tools, None)
    said = Transcript.of(checkpoints.chunks(tx, row.id))
    position = generations.queue_position(tx, row.id) if row.status == QUEUED else None
    return GenerationView(row, said.cursor, said.text, said.reasoning, said.tool_views(), position)
