"""The receiver of one call of a provider: its pieces become events of a draft, within the limits and the buffer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic

from app.domain.events import Refusal
from app.ops import metrics
from worker.buffer import Buffer
from worker.calls import Calls
from worker.draft import Draft
from worker.limits import Limits
from worker.outbox import Outbox
from worker.providers.base import ALIVE, Finished, Piece, Refused, Text, Thought, ToolDelta
from worker.run_state import RunState


class Listener:
    """Receives the pieces of one call. ``begun`` is called with the first piece.

    ``finished`` is the last piece, None before it; ``calls`` has the tool calls.
    """

    def __init__(
        self, run: RunState, draft: Draft, limits: Limits, outbox: Outbox, buffer: Buffer, begun: Callable[[], None]
    ) -> None:
        self.finished: Finished | None = None
        self.calls = Calls(limits, draft.transcript.tools.values())
        self._run = run
        self._draft = draft
        self._limits = limits
        self._outbox = outbox
        self._buffer = buffer
        self._begun = begun

    def receive(self, pieces: list[Piece]) -> asyncio.Future[None] | None:
        """Add pieces to the draft: the token path, called by the socket.

        Without room for more a future is returned, which is done when there is room. Raises ProviderError at a limit,
        after everything within the limit has been added.
        """
        run = self._run
        if pieces[0] is ALIVE:
            # No token: only the silence is counted anew.
            if run.waiting_since is not None:
                run.waiting_since = monotonic()
            return None
        if not run.is_visible:
            run.is_visible = True
            self._measure()
            self._begun()
        if run.on_chunk is not None:
            run.on_chunk()
        run.waiting_since = monotonic()
        try:
            for piece in pieces:
                if isinstance(piece, Text):
                    self._add_text(piece.text, False)
                elif isinstance(piece, Thought):
                    self._add_text(piece.text, True)
                elif isinstance(piece, ToolDelta):
                    run.said_chars += len(piece.arguments)
                    self.calls.add(piece)
                elif isinstance(piece, Refused):
                    self._draft.add(Refusal())
                elif isinstance(piece, Finished):
                    self._finish(piece)
        finally:
            self._outbox.touch(self._draft)
        room = self._buffer.room(self._draft)
        if room is not None and not run.resting:
            run.resting = True
            room.add_done_callback(self._resume)
        return room

    def _add_text(self, text: str, thinking: bool) -> None:
        draft = self._draft
        self._run.said_chars += len(text)
        left = self._limits.answer_chars - draft.chars
        if len(text) > left:
            if left > 0:
                draft.add_text(text[:left], thinking)
            raise self._limits.exceeded("answer_chars")
        draft.add_text(text, thinking)

    def _measure(self) -> None:
        """Add the first piece of an answer to the metrics. An answer that is taken over with text has none."""
        if not self._run.has_begun and not self._draft.chars:
            metrics.FIRST_TOKEN_SECONDS.observe(self._run.age)
        self._run.has_begun = True

    def _finish(self, piece: Finished) -> None:
        if len(piece.finish_reason) > self._limits.name_chars:
            raise self._limits.exceeded("name_chars")
        self.finished = piece

    def _resume(self, _: asyncio.Future[None]) -> None:
        """Count the silence of the provider anew: its socket was not read during the pause."""
        self._run.resting = False
        if self._run.waiting_since is not None:
            self._run.waiting_since = monotonic()
