"""A short way to read the chunks of a stream that differ in their text only. Pure."""

from __future__ import annotations

import re
from itertools import islice

import orjson

from worker.limits import Limits
from worker.providers.base import Piece, Text, Thought
from worker.providers.chat.chunks import ChunkReader

_LITERALS = re.compile(rb'"(?:content|reasoning_content|reasoning)":\s*("(?:[^"\\]|\\.)*")')
_PROBE = "\x01probe"
# Only so many literals of a chunk are tried, and only in a chunk of so many bytes: each costs a reading of the chunk.
_MOST_LITERALS = 8
_MOST_BYTES = 16_384


class Template:
    """The bytes around the text in the chunks of one stream, so that only the text needs to be parsed.

    It is sound because JSON knows no context: where one string literal may stand, any other may, and changes nothing
    else. Reading the chunk with another text in it proves that the literal is the text of the answer, and that the
    chunk has nothing else.
    """

    __slots__ = ("_before", "_begin", "_end", "_last", "_shortest", "kind")

    def __init__(self, before: bytes, after: bytes, kind: type[Text] | type[Thought]) -> None:
        # With the quotes of the literal: JSON takes space around it, a line break too, and there must be none.
        self._before = before + b'"'
        self._last = b'"' + after + b"\n\n"
        self.kind = kind
        self._shortest = len(self._before) + len(self._last)
        self._begin, self._end = len(before), 1 - len(self._last)

    @classmethod
    def of(cls, chunk: bytes) -> Template | None:
        """The template of a chunk that adds text and does nothing else; otherwise None."""
        # A message in a chunk means what the messages before it leave of it.
        if len(chunk) > _MOST_BYTES or b'"message"' in chunk:
            return None
        for literal in islice(_LITERALS.finditer(chunk), _MOST_LITERALS):
            before, after = chunk[: literal.start(1)], chunk[literal.end(1) :]
            reader = ChunkReader((), Limits())
            reader.read(before + orjson.dumps(_PROBE) + after)
            if reader.failure or reader.finish_reason or reader.usage or len(reader.pieces) != 1:
                continue
            piece = reader.pieces[0]
            if isinstance(piece, (Text, Thought)) and piece.text == _PROBE:
                return cls(b"data: " + before, after, type(piece))
        return None

    def read(self, data: bytes) -> list[Piece] | None:
        """The pieces of a read made of whole events of this form only; None for any other."""
        text = self._text(data)
        if text is not None:  # one event, as nearly always
            return [self.kind(text)] if text else []
        pieces: list[Piece] = []
        events = data.split(b"\n\n")
        if events.pop():
            return None
        for event in events:
            text = self._text(event + b"\n\n")
            if text is None:
                return None
            if text:
                pieces.append(self.kind(text))
        return pieces

    def _text(self, event: bytes) -> str | None:
        """The text of one event of this form; None for anything else."""
        if len(event) < self._shortest or not (event.startswith(self._before) and event.endswith(self._last)):
            return None
        try:
            # What lies between its ends is one literal, or not JSON.
            text: str = orjson.loads(event[self._begin : self._end])
        except orjson.JSONDecodeError:
            return None
        return None if "\0" in text else text
