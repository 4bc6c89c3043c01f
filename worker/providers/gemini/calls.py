"""The function calls of one answer of Gemini as parts of tool calls. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import orjson

from worker.limits import Limits
from worker.providers.base import Piece, ToolDelta
from worker.providers.reading.clean_text import JsonText, clean_value

# A step of a JSON path: ``.name``, ``['name']`` or ``[0]``.
_STEP = re.compile(r"""\.(\w+)|\[(?:'([^']*)'|"([^"]*)"|(\d+))\]""")
_VALUES = ("stringValue", "numberValue", "boolValue", "nullValue")
# Elements of an array that a path may lie beyond.
MOST_ELEMENTS = 10_000
# Steps of one path.
MOST_STEPS = 100
# Characters of an element that is skipped, as JSON: ``null,``.
_SKIPPED_CHARS = 5


class FunctionCalls:
    """Reads calls. ``number``: how many the answer has until now.

    A call usually comes whole. One that comes in parts (``willContinue``) is given out when it is complete: its parts
    are values at JSON paths. Calls beyond ``most`` are left out. Raises ProviderError at a limit.
    """

    def __init__(self, json: JsonText, limits: Limits, first: int, most: int | None) -> None:
        self._json = json
        self._limits = limits
        self._most = most
        self._open: dict[str, Any] | None = None
        self._args: dict[str, Any] = {}
        self._chars = 0
        self.number = first

    def add(self, call: Mapping[str, Any], signature: Any) -> list[Piece]:
        """The pieces of one part with a call."""
        pieces: list[Piece] = []
        if self._open is None or call.get("name"):
            pieces = self.end()
            self._open, self._args = {"id": call.get("id"), "name": call.get("name"), "signature": None}, {}
        self._open["signature"] = signature or self._open["signature"]
        if isinstance(args := call.get("args"), Mapping):
            if call.get("willContinue"):
                self._hold(len(orjson.dumps(args)))
            self._args |= args
        for part in call.get("partialArgs") or ():
            self._put(part)
        return pieces if call.get("willContinue") else pieces + self.end()

    def end(self) -> list[Piece]:
        """The call that has not ended yet."""
        call, self._open = self._open, None
        if call is None or not call["name"]:
            return []
        if self._most is not None and self.number >= self._most:
            return []
        own: dict[str, Any] = {}
        if call["signature"]:
            own["thoughtSignature"] = clean_value(str(call["signature"]))
        if call["id"]:
            own["id"] = clean_value(str(call["id"]))
        self._hold(sum(map(len, own.values())))
        index, self.number = self.number, self.number + 1
        arguments = orjson.dumps(clean_value(self._args)).decode()
        extra = {"gemini": own} if own else None
        return [ToolDelta(index, own.get("id"), clean_value(str(call["name"])), arguments, extra)]

    def _put(self, part: Mapping[str, Any]) -> None:
        """Set the value at a path; a text is appended to the text that stands there."""
        name = next((name for name in _VALUES if name in part), None)
        path = [a or b or c or int(n) for a, b, c, n in _STEP.findall(str(part.get("jsonPath", "")).removeprefix("$"))]
        if name is None or not path:
            return
        if len(path) > MOST_STEPS:
            raise ValueError("a path of too many steps")
        self._hold(sum(_SKIPPED_CHARS * step if isinstance(step, int) else len(step) for step in path))
        value = None if name == "nullValue" else part[name]
        place: Any = self._args
        for step, following in pairwise(path):
            place = _at(place, step, [] if isinstance(following, int) else {})
        earlier = _at(place, path[-1], None)
        if isinstance(value, str):
            self._hold(len(value))
            value = earlier + value if isinstance(earlier, str) else value
        place[path[-1]] = value

    def _hold(self, chars: int) -> None:
        self._chars += chars
        if self._chars > self._limits.tool_argument_chars:
            raise self._limits.exceeded("tool_argument_chars")


def _at(place: Any, step: str | int, empty: Any) -> Any:
    """The value at a step of a path; ``empty`` is put there where there is none."""
    if isinstance(place, list):
        if not isinstance(step, int) or step >= MOST_ELEMENTS:
            raise ValueError("no element of an array")
        place.extend([None] * (step + 1 - len(place)))
        if place[step] is None:
            place[step] = empty
    elif place.get(step) is None:
        place[step] = empty
    return place[step]
