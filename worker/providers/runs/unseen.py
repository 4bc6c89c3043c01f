"""The part of a known run that readers have not seen. Pure."""

from __future__ import annotations

import asyncio

from worker.providers.base import ALIVE, Emit, KnownRun, Piece, ProviderError, Text, Thought


class Unseen:
    """Passes on the pieces of a known run that readers have not seen. Those that they have seen must be the same."""

    def __init__(self, known: KnownRun, emit: Emit) -> None:
        self._emit = emit
        self._seen = {Text: known.text, Thought: known.reasoning}
        self._read = {Text: 0, Thought: 0}

    def receive(self, pieces: list[Piece]) -> asyncio.Future[None] | None:
        """Pass on what is new. Raises ProviderError when the run does not say what readers have seen."""
        fresh: list[Piece] = []
        for piece in pieces:
            if isinstance(piece, (Text, Thought)):
                text = self._cut(type(piece), piece.text)
                piece = type(piece)(text) if text else ALIVE
            if piece is not ALIVE:
                fresh.append(piece)
                if any(self._read[kind] < len(seen) for kind, seen in self._seen.items()):
                    raise gone()  # readers saw more before this piece
        return self._emit(fresh or [ALIVE])

    def _cut(self, kind: type[Text] | type[Thought], text: str) -> str:
        seen, at = self._seen[kind], self._read[kind]
        known = min(len(text), len(seen) - at)
        if not seen.startswith(text[:known], at):
            raise gone()
        self._read[kind] = at + known
        return text[known:]


def gone() -> ProviderError:
    """The failure of a call whose run the upstream does not have, or not with the text that readers have seen."""
    message = "The upstream does not have the run of this answer any more."
    return ProviderError("upstream_run_gone", message, retryable=True)
