"""The place of each part of a tool call: which call of the answer it belongs to. Pure.

Upstreams number calls in many ways: every call has index 0, or a string as its index, or none; ids are missing, empty,
or come anew with each part. A part begins a call of its own where its id, its name and the arguments before it say so.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import orjson

from worker.providers.base import TooManyCalls

# The arguments of a call are looked at so often, whether they are complete.
_MOST_LOOKS = 16
# Two spellings of the arguments of a call differ by so many spaces around them.
_MOST_SPACE = 8


@dataclass(slots=True)
class _Call:
    place: int
    index: int | None
    call_id: str | None = None
    name: str | None = None
    arguments: list[str] = field(default_factory=list)
    size: int = 0
    looks: int = 0

    @property
    def is_complete(self) -> bool:
        """True when the arguments are a whole JSON object."""
        if not self.arguments or not self.arguments[-1].rstrip().endswith("}") or self.looks >= _MOST_LOOKS:
            return False
        self.looks += 1
        return _is_object("".join(self.arguments))

    def repeats(self, arguments: str) -> bool:
        """True when a part has all the arguments of the call once more."""
        if abs(len(arguments) - self.size) > _MOST_SPACE:
            return False
        return "".join(self.arguments).strip() == arguments.strip() and self.is_complete


class CallPlaces:
    """The calls of one answer. ``most`` is how many there may be."""

    __slots__ = ("_calls", "_most")

    def __init__(self, most: int) -> None:
        self._most = most
        self._calls: list[_Call] = []

    def __len__(self) -> int:
        return len(self._calls)

    def of(self, index: Any, call_id: str | None, name: str | None, arguments: str, earlier: set[int]) -> int | None:
        """The place of a part; None for one that only repeats its call. Raises TooManyCalls.

        ``earlier`` has the places of the parts with a name that came before in this delta; this one is added.
        """
        call = self._call_at(_number(index), call_id, name)
        if call is None or (call.name and _begins_another(call, call_id, name, arguments, call.place in earlier)):
            call = self._add(_number(index))
        elif (name or call_id) and arguments and call.repeats(arguments):
            return None
        if arguments:
            call.arguments.append(arguments)
            call.size += len(arguments)
        call.call_id = call.call_id or call_id
        call.name = call.name or name
        if name:
            earlier.add(call.place)
        return call.place

    def _call_at(self, index: int | None, call_id: str | None, name: str | None) -> _Call | None:
        """The call that the index and the id of a part lead to."""
        at_index = [call for call in self._calls if index is None or call.index in (index, None)]
        known = next((call for call in at_index if call_id and call.call_id == call_id), None)
        if known or at_index:
            return known or at_index[-1]
        # A part with nothing but a new index can be no call: the index counts parts.
        return None if call_id or name or not self._calls else self._calls[-1]

    def _add(self, index: int | None) -> _Call:
        if len(self._calls) >= self._most:
            raise TooManyCalls
        call = _Call(len(self._calls), index)
        self._calls.append(call)
        return call


def _begins_another(
    call: _Call, call_id: str | None, name: str | None, arguments: str, is_second_in_delta: bool
) -> bool:
    """True when a part does not belong to the call that its index or its id leads to, which has a name."""
    has_other_id = bool(call_id) and call.call_id not in (None, call_id)
    if not name:
        return has_other_id and call.is_complete
    if call.name != name or (is_second_in_delta and (has_other_id or not call_id)):
        return True
    if has_other_id:
        return not call.arguments or call.is_complete
    # A name may be repeated with each part. Arguments that begin anew behind complete ones are another call's.
    return arguments.lstrip().startswith("{") and call.is_complete and not call.repeats(arguments)


def _number(index: Any) -> int | None:
    """The index as a number, whatever form it has; None for none."""
    if isinstance(index, str) and index.strip().isdecimal() and len(index) < 10:
        return int(index)
    return index if isinstance(index, int) and not isinstance(index, bool) and index >= 0 else None


def _is_object(text: str) -> bool:
    try:
        return isinstance(orjson.loads(text), dict)
    except (orjson.JSONDecodeError, UnicodeEncodeError):
        return False
