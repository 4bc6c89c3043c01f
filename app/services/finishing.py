"""The end of a generation: one transaction in PostgreSQL, and ``done`` in the log after its commit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from app.domain.errors import DatabaseDown, LeaseLost
from app.domain.events import Done, Entry, encode, number
from app.domain.lease import Claimed
from app.domain.transcript import Transcript, contiguous, digest
from app.domain.usage import cost_of, priced
from app.domain.webhook_event import AnswerEnd
from app.services.history import History, Turn, with_calls
from app.services.webhook_room import WebhookRoom
from app.store import checkpoints, conversations, generations, leases, messages, model_configs, usage, webhook_events
from app.store.database import Database, Tx, discard
from app.store.generations import End
from app.store.usage import Charge

# A connection that has sent a longer answer is not used again.
LARGE_CHARS = 262_144

FinalStatus = Literal["completed", "error", "cancelled"]


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of a generation. ``first_token_age``: seconds since its first token, where this worker received it."""

    status: FinalStatus
    finish_reason: str | None
    usage: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    first_token_age: float | None = None


@dataclass(frozen=True, slots=True)
class _Said:
    """All parts of an answer at its end."""

    text: str
    sha256: str
    reasoning: str
    tools: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class _Written:
    """A written end: the history's version, and the number of added deliveries to webhooks."""

    version: int
    webhooks: int


def _nothing() -> None:
    pass


class Finisher:
    """Writes the end of generations. ``ring`` sends a doorbell for the generation whose turn has come by an end.

    ``most`` returns how many generations of one user may run at the same time. ``room`` bounds the
    waiting deliveries of a user. ``webhooks_added`` is called after a commit that has added some; it must not block.
    """

    def __init__(
        self,
        database: Database,
        history: History,
        ring: Callable[[str], None],
        most: Callable[[], int],
        room: WebhookRoom,
    ) -> None:
        self._database = database
        self._history = history
        self._ring = ring
        self._most = most
        self._room = room
        self.webhooks_added: Callable[[], None] = _nothing

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
        # Joined once: an answer may be large.
        text = transcript.text
        sha256 = digest(text)
        done = encode(Done(ending.status, ending.finish_reason, ending.usage, sha256, ending.error))
        entries = number(claimed.lease.epoch, 0, [*payloads, done])
        said = _Said(text, sha256, transcript.reasoning, transcript.tool_views())
        most = self._most()
        try:
            with self._database.user(claimed.user_id) as tx:
                written = self._write(tx, claimed, entries, said, ending, attempts)
                following = leases.next_to_ring(tx, most)
        except DatabaseDown:
            # The reply to a COMMIT can be lost. The row shows whose end was committed.
            if not self._is_finished(claimed):
                raise
            # The lost reply also named the next generation. A doorbell serves the one in turn, so any id will do.
            self._ring(claimed.lease.generation_id)
            return done
        if written is not None:
            answer = Turn(claimed.message_id, "assistant", text, with_calls(text, said.tools, said.reasoning))
            self._history.extend(claimed.conversation_id, written.version, claimed.user_message_id, answer)
            if written.webhooks:
                self.webhooks_added()
        if following is not None:
            self._ring(following)
        return done

    def end_with_deletion(self, tx: Tx, conversation_id: str) -> None:
        """Add the events of generations whose cancel is under way and whose rows this transaction deletes.

        The conversation is locked by the caller, so that no other transaction ends one of them.
        """
        live = generations.live_in(tx, conversation_id)
        for one in live:
            end = AnswerEnd(one.id, one.conversation_id, one.message_id, "cancelled")
            self._add_event(tx, one.user_id, end, datetime.now(UTC))

    def _add_event(self, tx: Tx, user_id: str, end: AnswerEnd, at: datetime) -> int:
        """Add the deliveries of an end; their number."""
        is_full = self._room.is_full(tx, user_id)
        added = webhook_events.add_end(tx, user_id, end, at, is_full=is_full)
        self._room.take(user_id, 0 if is_full else added)
        return added

    def _write(
        self,
        tx: Tx,
        claimed: Claimed,
        entries: Sequence[Entry],
        said: _Said,
        ending: Ending,
        attempts: Sequence[dict[str, Any]],
    ) -> _Written | None:
        lease = claimed.lease
        if len(said.text) + len(said.reasoning) > LARGE_CHARS:
            discard(tx)
        # Every transaction locks the conversation first.
        conversations.lock(tx, claimed.conversation_id)
        price = model_configs.price(tx, claimed.model)
        cost, currency = cost_of(ending.usage, price)
        end = End(
            status=ending.status,
            final_n=entries[-1].cursor.n,
            sha256=said.sha256,
            finish_reason=ending.finish_reason,
            error=ending.error,
            usage=ending.usage,
            attempts=priced([*claimed.attempts, *attempts], price),
            cost=cost,
            currency=currency,
            first_token_age=ending.first_token_age,
        )
        ended = generations.finish(tx, lease, end)
        if ended is None:
            if self._was_mine(tx, claimed):
                return None
            raise LeaseLost(lease.generation_id)
        earlier = checkpoints.chunks(tx, lease.generation_id, before_epoch=lease.epoch)
        checkpoints.archive(tx, lease.generation_id, claimed.user_id, contiguous([*earlier, *entries]))
        messages.settle(
            tx,
            claimed.message_id,
            status=ending.status,
            content=said.text,
            reasoning=said.reasoning,
            tools=said.tools,
            usage=ending.usage,
        )
        version = conversations.settle(tx, claimed.conversation_id, said.text)
        usage.add(tx, Charge(claimed.user_id, claimed.key_id, claimed.model, ending.usage, cost, currency))
        return _Written(version, self._add_event_of(tx, claimed, ending, ended.at) if ended.has_receivers else 0)

    def _add_event_of(self, tx: Tx, claimed: Claimed, ending: Ending, at: datetime) -> int:
        """Add the event of an end for its receivers. Returns the number of added deliveries."""
        ids = (claimed.lease.generation_id, claimed.conversation_id, claimed.message_id)
        return self._add_event(tx, claimed.user_id, AnswerEnd(*ids, ending.status, ending.finish_reason), at)

    def _is_finished(self, claimed: Claimed) -> bool:
        with self._database.user(claimed.user_id) as tx:
            return self._was_mine(tx, claimed)

    def _was_mine(self, tx: Tx, claimed: Claimed) -> bool:
        row = generations.get(tx, claimed.lease.generation_id)
        return row is not None and row.final is not None and row.final.epoch == claimed.lease.epoch
