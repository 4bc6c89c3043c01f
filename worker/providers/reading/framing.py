"""The framing of a chat upstream's body, however it is labelled: events, or JSON without them. Pure.

Well-formed server-sent events are read as ``sse`` reads them. In addition, an event needs no blank line behind it once
its JSON is complete, and a line of JSON needs no ``data:`` before it. A whole document is one such line, or several.
"""

from __future__ import annotations

import re

import orjson

from worker.providers.reading.error_shapes import error_in
from worker.providers.reading.sse import EVENT_BYTES, SseEvent, SseParser

# A string that has its end; otherwise the rest of the line, which is kept. Each byte is looked at once or twice.
_STRINGS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|(".*)', re.DOTALL)
_BOM = b"\xef\xbb\xbf"
_JSON = (b"{", b"[")
_SCALARS = (b"null", b"true", b"false", b'"', b"DONE", *(b"%d" % digit for digit in range(10)))
_ENDS = (b"[DONE]", b"DONE", b'"[DONE]"')
_VALUES = (b"data:", b"error:")
_OTHERS = (*_VALUES, b"event:", b":")


class ChatParser(SseParser):
    """A parser for one body. ``is_page`` is set when the body begins like a web page; it has no events then."""

    __slots__ = ("_bare", "_begun", "_depth", "_named", "_open", "is_page")

    def __init__(self, most: int = EVENT_BYTES) -> None:
        super().__init__(most)
        self.is_page = False
        self._begun = False
        self._bare = False  # in the middle of JSON without `data:`
        self._open = False  # in the middle of an event
        self._named = False
        self._depth = 0  # of the brackets in the event so far

    def _dispatch(self, lines: list[bytes]) -> list[SseEvent]:
        is_between = not (self._open or self._bare or self._data or self._name)
        if is_between and len(lines) == 2 and not lines[1] and lines[0].startswith(b"data: "):
            line = lines[0]
            if len(line) <= self._most:
                self._begun, self._fresh = True, False
                return [SseEvent("", line[6:])]  # one event in one read, as nearly always
        if not self._begun:
            self._begin(lines)
        if self.is_page:
            return []
        framed: list[bytes] = []
        for at, line in enumerate(lines):
            is_followed = at + 1 < len(lines) and not lines[at + 1]
            if self._bare and line.startswith(_OTHERS):
                self._end(framed)  # what looked like JSON was none
            if self._bare:
                self._add_bare(framed, line)
            elif line.startswith(_VALUES):
                self._add_value(framed, line, is_followed)
            elif not line:
                self._end(framed)
            elif line.startswith(_JSON) and not self._open:
                self._bare = True
                self._add_bare(framed, line)
            else:
                self._named = self._named or line.startswith(b"event:")
                framed.append(line)
        return super()._dispatch(framed)

    def _begin(self, lines: list[bytes]) -> None:
        """Look at the first line that has anything in it."""
        for at, line in enumerate(lines):
            if at == 0:
                lines[at] = line = line.removeprefix(_BOM)
            text = line.strip()
            if text:
                self._begun = True
                self.is_page = text.startswith(b"<")
                if text.startswith(_JSON):
                    lines[at] = text
                return

    def _end(self, framed: list[bytes]) -> None:
        framed.append(b"")
        self._bare = self._open = self._named = False
        self._depth = 0

    def _add_bare(self, framed: list[bytes], line: bytes) -> None:
        """Add a line of JSON that stands without ``data:``."""
        if not line:
            return
        framed.append(b"data: " + line)
        self._depth += _depth(line)
        if self._depth <= 0:
            self._end(framed)

    def _add_value(self, framed: list[bytes], line: bytes, is_followed: bool) -> None:
        """Add a line of an event. A value that is complete ends the event."""
        value = line.partition(b":")[2].strip()
        if self._open and (value in _ENDS or _is_chunk(value)):
            self._end(framed)  # what came before it was cut off
        framed.append(line)
        self._open = True
        if is_followed:
            return
        self._depth += _depth(value)
        # Text may go on in the next line; in a named event a number or a word may begin it.
        if self._depth <= 0 and (value.startswith(_JSON) or (not self._named and value.startswith(_SCALARS))):
            self._end(framed)


def _depth(line: bytes) -> int:
    """The number of brackets that a line opens, less those that it closes."""
    bare = _STRINGS.sub(rb"\1", line)
    return bare.count(b"{") + bare.count(b"[") - bare.count(b"}") - bare.count(b"]")


def _is_chunk(value: bytes) -> bool:
    if not value.startswith(b"{"):
        return False
    try:
        fields = orjson.loads(value)
    except orjson.JSONDecodeError:
        return False
    return "choices" in fields or error_in(fields) is not None
