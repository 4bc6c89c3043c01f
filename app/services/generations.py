"""A generation for its owner: read, follow, cancel."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeVar

import structlog

from app.domain.attempts import at_target, total_usage, unrecorded
from app.domain.commands import User
from app.domain.cursor import START, Cursor
from app.domain.errors import InvalidCursor, LeaseLost, LogDown, NotFound
from app.domain.events import Snapshot, SnapshotReason, encode
from app.domain.generation import QUEUED, TERMINAL
from app.domain.lease import Claimed
from app.domain.transcript import Transcript
from app.domain.waiting import Waiting
from app.eventlog.log import FINISHED_TTL_MS, EventLog
from app.services.finishing import Ending, FinalStatus, Finisher
from app.services.keyed_locks import KeyedLocks
from app.services.takeover import FIRST_EPOCH, Frozen, Takeover
from app.services.waits import Waits
from app.store import checkpoints, generations, leases, messages
from app.store.database import ONE_MOMENT, Database, Tx
from app.store.generations import Generation, Standing

Row = TypeVar("Row", bound=Standing)

# Seconds that a cancel waits for the log in the request. After that a worker finishes the cancel.
CANCEL_LOG_SECONDS = 0.3
# Seconds of the lease under which a request finishes a cancel. When its process dies, a worker takes the cancel over.
CANCEL_LEASE_SECONDS = 5.0
# Seconds that a cancel waits for another cancel of the generation in this process.
CANCEL_WAIT_SECONDS = 0.9

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class GenerationView:
    """A generation with its content so far. ``cursor`` is the position of the last event in ``content``.

    ``waiting``: why there is nothing new, where that is known.
    """

    row: Generation
    cursor: Cursor
    content: str
    reasoning: str
    tools: list[dict[str, Any]]
    queue_position: int | None
    waiting: Waiting | None = None


class Wanted(NamedTuple):
    """A generation that a user wants to follow from a position."""

    user_id: str
    generation_id: str
    after: Cursor


class Generations:
    """The generations of a user. Raises NotFound for another user's id, as for one that does not exist."""

    def __init__(
        self,
        database: Database,
        takeover: Takeover,
        finisher: Finisher,
        log: EventLog,
        ring: Callable[[str], None],
        waits: Waits,
    ) -> None:
        self._database = database
        self._takeover = takeover
        self._finisher = finisher
        self._log = log
        self._ring = ring
        self._waits = waits
        self._cancels = KeyedLocks()

    def get(self, user: User, generation_id: str) -> GenerationView:
        """The generation with its content in PostgreSQL, which only grows and does not depend on Redis."""
        with self._database.user(user.id, ONE_MOMENT) as tx:
            found = view(tx, _own(tx, generation_id))
            facts = None if found.row.final else self._waits.facts(tx, generation_id)
        return replace(found, waiting=self._waits.reason(facts, found.cursor))

    def authorise(self, user: User, generation_id: str, after: Cursor = START) -> Standing:
        """The position of a generation that this user may follow from ``after``. Every stream is authorised here.

        Raises NotFound, and InvalidCursor for a revision that does not exist yet.
        """
        row = _found(generations.of_user(self._database, user.id, generation_id))
        if after.epoch > row.epoch:
            raise InvalidCursor(str(after))
        return row

    def authorise_all(self, wanted: Sequence[Wanted]) -> list[Standing | None]:
        """For each of these what ``authorise`` returns; None where it raises. One round trip for all."""
        rows = generations.of_users(self._database, [(one.user_id, one.generation_id) for one in wanted])
        return [
            row if row is not None and one.after.epoch <= row.epoch else None
            for one, row in zip(wanted, rows, strict=True)
        ]

    def underway(self, user: User, read: Mapping[str, Cursor]) -> list[tuple[Generation, Cursor]]:
        """This user's live generations, and those in ``read`` that have unread events, with a position to start at.

        Ids that do not exist, or are another user's, are left out: a generation may have been deleted while its reader
        was away. Raises InvalidCursor for a revision that does not exist yet.
        """
        with self._database.user(user.id) as tx:
            # In this order: a generation that ends between the two statements is in the second result.
            rows = {row.id: row for row in generations.live_of(tx, user.id)}
            rows |= {row.id: row for row in generations.some(tx, list(read))}
        found = [(row, read.get(row.id, START)) for row in rows.values()]
        for row, after in found:
            if after.epoch > row.epoch:
                raise InvalidCursor(str(after))
        return [(row, after) for row, after in found if row.final is None or after < row.final]

    def cancel(self, user: User, generation_id: str) -> GenerationView:
        """Cancel a generation; the generation as it is within about a second.

        The commit of the claim is the acknowledgement: from then on every takeover finishes the cancel. The view is
        final unless the log cannot be read in time, or another process is cancelling. A second cancel changes nothing.
        """
        with self._cancels.wait(f"{user.id} {generation_id}", CANCEL_WAIT_SECONDS):
            # After the wait, too: the other cancel may not be committed yet, and may fail.
            claimed = self._claim(user, generation_id)
            if claimed is not None:
                with suppress(LeaseLost):
                    self.finish_or_leave(claimed)
        return self.get(user, generation_id)

    def cancel_all(self, user: User, conversation_id: str) -> None:
        """Cancel every queued or running generation of a conversation."""
        with self._database.user(user.id) as tx:
            live = generations.live_in(tx, conversation_id)
        for row in live:
            self.cancel(user, row.id)

    def end_with_deletion(self, tx: Tx, conversation_id: str) -> None:
        """Add the events of generations that are being cancelled while ``tx`` deletes their locked conversation."""
        self._finisher.end_with_deletion(tx, conversation_id)

    def finish_or_leave(self, claimed: Claimed) -> None:
        """Finish a cancel that a request has claimed, or leave it to a worker when the log cannot be read in time.

        A worker waits longer for Redis, so that readers keep the text that they have seen. Raises LeaseLost.
        """
        if not self.finish_cancel(claimed, CANCEL_LOG_SECONDS, must_read=True):
            _log.warning("cancel left to a worker", action="cancel", generation_id=claimed.lease.generation_id)
            with self._database.user(claimed.user_id) as tx:
                leases.expire(tx, claimed.lease)
            self._ring(claimed.lease.generation_id)

    def finish_cancel(self, claimed: Claimed, redis_timeout: float, *, must_read: bool = False) -> bool:
        """End a generation that was claimed to be cancelled, with its text so far; whether it was ended.

        ``redis_timeout`` is how many seconds to wait for the log. With ``must_read``, nothing is ended when an earlier
        revision has a log that cannot be read; otherwise the checkpoints are its text. Raises LeaseLost.
        """
        frozen = self._takeover.freeze(claimed, redis_timeout)
        if must_read and not frozen.read and claimed.lease.epoch > FIRST_EPOCH:
            return False
        self._end(claimed, frozen, "cancel", "cancelled", None)
        return True

    def finish_failed(self, claimed: Claimed, error: dict[str, Any]) -> None:
        """End a generation that was claimed to fail, with its text so far. Raises LeaseLost."""
        self._end(claimed, self._takeover.freeze(claimed, CANCEL_LOG_SECONDS), "takeover", "error", error)

    def _end(
        self,
        claimed: Claimed,
        frozen: Frozen,
        reason: SnapshotReason,
        status: FinalStatus,
        error: dict[str, Any] | None,
    ) -> None:
        said = frozen.transcript
        elapsed, asked = claimed.elapsed, frozen.input_tokens
        made = unrecorded(claimed.attempts, frozen.calls, said, status, elapsed, asked)
        made = at_target(made, frozen.target)
        usage = said.mark.usage if said.mark else total_usage([*claimed.attempts, *made])
        snapshot = Snapshot(said.text, reason, said.attempt, said.reasoning)
        said.add(Cursor(claimed.lease.epoch, 0), snapshot)
        payloads = [encode(snapshot)]
        done = self._finisher.finish(claimed, payloads, said, Ending(status, status, usage, error), made)
        if frozen.opened:
            self._publish(claimed, [*payloads, done])

    def _claim(self, user: User, generation_id: str) -> Claimed | None:
        """Claim a generation to cancel it. None: it has ended, or another process is cancelling it."""
        with self._database.user(user.id) as tx:
            if _own(tx, generation_id).status in TERMINAL:
                return None
            return leases.claim_to_cancel(tx, generation_id, min(self._waits.lease, CANCEL_LEASE_SECONDS))

    def _publish(self, claimed: Claimed, payloads: list[bytes]) -> None:
        """Append the end to the log. While Redis is away, readers take the end from PostgreSQL some seconds later."""
        with suppress(LogDown):
            self._log.append(claimed.lease.generation_id, claimed.lease.epoch, 0, payloads, FINISHED_TTL_MS)


def _own(tx: Tx, generation_id: str) -> Generation:
    return _found(generations.get(tx, generation_id))


def _found(row: Row | None) -> Row:
    if row is None:
        raise NotFound("There is no such generation.")
    return row


def view(tx: Tx, row: Generation) -> GenerationView:
    """A row with its content: from the message after the end, from the checkpoints before.

    ``tx`` began with ONE_MOMENT: an end between the statements would leave the row without its text.
    """
    if row.final is not None:
        message = messages.get(tx, row.message_id)
        assert message is not None, "foreign keys keep it"
        return GenerationView(row, row.final, message.content, message.reasoning, message.tools, None)
    said = Transcript.of(checkpoints.chunks(tx, row.id))
    position = generations.queue_position(tx, row.id) if row.status == QUEUED else None
    return GenerationView(row, said.cursor, said.text, said.reasoning, said.tool_views(), position)
