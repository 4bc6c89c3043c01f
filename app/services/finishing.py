"""The end of a generation: one transaction in PostgreSQL, and only then ``done`` in the log."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from app.domain.errors import DatabaseDown, LeaseLost
from app.domain.events import Done, Entry, encode, number
from app.domain.transcript import Transcript, contiguous, digest
from app.domain.usage import cost_of, priced
from app.services.history import History, Turn, with_calls
from app.store import checkpoints, conversations, generations, leases, models, usage
from app.store.database import Database, Tx
from app.store.leases import Claimed

FinalStatus = Literal["completed", "error", "cancelled"]


@dataclass(frozen=True, slots=True)
class Ending:
    """How a generation ends. ``first_token_age``: seconds since its first piece, if this worker heard it."""

    status: FinalStatus
    finish_reason: str | None
    usage: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    first_token_age: float | None = None


class Finisher:
    """Writes the end of generations. ``ring`` is told which one is next in the conversation."""

    def __init__(self, database: Database, history: History, ring: Callable[[str], None]) -> None:
        self._database = database
        self._history = history
        self._ring = ring

    def finish(
        self,
        claimed: Claimed,
        payloads: Sequence[bytes],
        transcript: Transcript,
        ending: Ending,
        attempts: Sequence[dict[str, Any]],
    ) -> bytes:
        """Commit the end and return the encoded ``done``, which is event ``len(payloads)`` of this revision.

        ``payloads`` are all encoded events of the claim's own revision; ``transcript`` is everything folded.
        Raises LeaseLost when another claim is in force, DatabaseDown when the end could not be written: then
        nothing has ended, and the same call may be repeated.
        """
        done = self._done(transcript, ending)
        entries = number(claimed.lease.epoch, 0, [*payloads, done])
        try:
            with self._database.system() as tx:
                version = self._write(tx, claimed, entries, transcript, ending, attempts)
                following = leases.call_next(tx, claimed.conversation_id)
        except DatabaseDown:
            # The reply to a COMMIT can be lost. What is written says whose it was.
            if not self._is_finished(claimed):
                raise
            return done
        if version is not None:
            items = with_calls(transcript.text, transcript.tool_views())
            answer = Turn(claimed.message_id, "assistant", transcript.text, items)
            self._history.extend(claimed.conversation_id, version, claimed.user_message_id, answer)
        if following is not None:
            self._ring(following)
        return done

    def _done(self, transcript: Transcript, ending: Ending) -> bytes:
        return encode(Done(ending.status, ending.finish_reason, ending.usage, digest(transcript.text), ending.error))

    def _write(
        self,
        tx: Tx,
        claimed: Claimed,
        entries: Sequence[Entry],
        transcript: Transcript,
        ending: Ending,
        attempts: Sequence[dict[str, Any]],
    ) -> int | None:
        lease = claimed.lease
        # The same order of locks as everywhere: conversation first.
        conversations.lock(tx, claimed.conversation_id)
        price = models.price(tx, claimed.model)
        cost, currency = cost_of(ending.usage, price)
        written = generations.finish(
            tx,
            lease,
            status=ending.status,
            final_n=entries[-1].cursor.n,
            sha256=digest(transcript.text),
            finish_reason=ending.finish_reason,
            error=ending.error,
            usage=ending.usage,
            attempts=priced([*claimed.attempts, *attempts], price),
            cost=cost,
            currency=currency,
            first_token_age=ending.first_token_age,
        )
        if not written:
            if self._was_mine(tx, claimed):
                return None
            raise LeaseLost(lease.generation_id)
        earlier = [e for e in checkpoints.chunks(tx, lease.generation_id) if e.cursor.epoch < lease.epoch]
        checkpoints.archive(tx, lease.generation_id, claimed.user_id, contiguous([*earlier, *entries]))
        conversations.settle_message(
            tx,
            claimed.message_id,
            status=ending.status,
            content=transcript.text,
            reasoning=transcript.reasoning,
            tools=transcript.tool_views(),
            usage=ending.usage,
        )
        version = conversations.settle(tx, claimed.conversation_id, transcript.text)
        usage.add(tx, claimed.user_id, claimed.model, ending.usage, cost, currency)
        return version

    def _is_finished(self, claimed: Claimed) -> bool:
        with self._database.system() as tx:
            return self._was_mine(tx, claimed)

    def _was_mine(self, tx: Tx, claimed: Claimed) -> bool:
        row = generations.get(tx, claimed.lease.generation_id)
        return row is not None and row.final is not None and row.final.epoch == claimed.lease.epoch
