"""The outgoing events of one revision, and how far the log and the checkpoints have them."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from app.domain.cursor import Cursor
from app.domain.errors import LeaseLost
from app.domain.events import Event, Reasoning, Snapshot, Token, encode, encode_said
from app.domain.lease import Claimed
from app.domain.transcript import Transcript
from app.eventlog.log import KEEP_TTL, FastAppend, Keys

# An event does not become longer than this by what a tick collects, in characters.
EVENT_CHARS = 65_536


class Draft:
    """The events of one revision, encoded; ``acked`` of them are in the log and ``saved`` of them in PostgreSQL.

    ``lost`` is called when the lease of the revision has been lost.
    """

    __slots__ = (
        "acked",
        "chars",
        "claimed",
        "counted",
        "epoch",
        "fast_append",
        "first_token_at",
        "in_flight",
        "in_step_until",
        "keys",
        "lost",
        "opened",
        "payloads",
        "pending",
        "pending_chars",
        "proven_at",
        "saved",
        "saved_at",
        "saved_size",
        "sent_at",
        "size",
        "strict",
        "thinking",
        "transcript",
        "ttl_ms",
    )

    def __init__(
        self,
        claimed: Claimed,
        keys: Keys,
        transcript: Transcript,
        lost: Callable[[LeaseLost], None],
        *,
        proven_at: float,
        opened: bool,
        strict: bool,
    ) -> None:
        self.claimed = claimed
        self.epoch = claimed.lease.epoch
        self.keys = keys
        self.fast_append = FastAppend(keys, self.epoch)
        self.transcript = transcript
        self.lost = lost
        self.opened = opened
        self.strict = strict
        self.payloads: list[bytes] = []
        self.pending: list[str] = []
        self.pending_chars = 0
        self.counted = 0  # as much of it the buffer has counted
        self.chars = 0  # of text and reasoning, in the whole revision
        self.thinking = False
        self.acked = 0  # events the log has
        self.saved = 0  # events PostgreSQL has
        self.size = self.saved_size = 0  # bytes of the events, and of those that PostgreSQL has
        self.in_flight = False
        self.in_step_until = 0.0  # until then the next event may be appended fast, on this connection
        self.ttl_ms = KEEP_TTL
        self.proven_at = proven_at  # when PostgreSQL was last asked to extend the lease, and did
        self.saved_at = proven_at
        self.sent_at = monotonic()
        self.first_token_at: float | None = None

    def add_text(self, text: str, thinking: bool) -> None:
        """Add a piece of the answer or of the reasoning to the pending text, which the next tick makes an event of."""
        if thinking is not self.thinking:
            self.seal()
            self.thinking = thinking
        size = len(text)
        if size > EVENT_CHARS:
            for begin in range(0, size, EVENT_CHARS):
                self.add_text(text[begin : begin + EVENT_CHARS], thinking)
            return
        self.pending.append(text)
        self.pending_chars += size
        self.chars += size
        if self.pending_chars >= EVENT_CHARS:
            self.seal()

    def add(self, event: Event) -> None:
        """Add an event behind the pending text."""
        self.seal()
        self.transcript.add(Cursor(self.epoch, len(self.payloads)), event)
        if isinstance(event, Snapshot):
            self.chars = len(event.text) + len(event.reasoning)
        self._append(encode(event))

    def seal(self) -> None:
        """Make one event of the pending text, if there is any."""
        if self.pending:
            said = "".join(self.pending)
            self.pending.clear()
            self.pending_chars = 0
            self._append(encode_said(Reasoning if self.thinking else Token, said))
            # Its encoding stays attached to a text that is more than ASCII; a copy has none.
            self.transcript.say(said if said.isascii() else said[:1] + said[1:], self.thinking)
            if self.first_token_at is None:
                self.first_token_at = monotonic()

    def _append(self, payload: bytes) -> None:
        self.payloads.append(payload)
        self.size += len(payload)

    def first_token_age(self, at: float) -> float | None:
        """Seconds from this draft's first piece to ``at``; None before it."""
        return None if self.first_token_at is None else at - self.first_token_at

    @property
    def held(self) -> int:
        """The size of the draft: bytes of its events and characters of its pending text."""
        return self.size + self.pending_chars

    def end_of(self, first: int, most: int) -> int:
        """The number behind the last event of a part that begins with event ``first`` and has about ``most`` bytes."""
        end, size = first, 0
        while end < len(self.payloads) and size < most:
            size += len(self.payloads[end])
            end += 1
        return end

    @property
    def sendable(self) -> int:
        """The number of events that may be sent: in strict mode those that are saved."""
        return self.saved if self.strict else len(self.payloads)
