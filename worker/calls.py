"""The tool calls of one answer of a provider, put together from their parts within the limits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from io import StringIO
from typing import Any

from app.domain.events import Tool
from app.domain.storable import characters, sound
from worker.limits import Limits
from worker.providers.base import ToolDelta


@dataclass(slots=True)
class _Call:
    call_id: str | None = None
    name: str | None = None
    arguments: StringIO = field(default_factory=StringIO)
    extra: dict[str, Any] = field(default_factory=dict)


class Calls:
    """Collects calls. ``earlier``: the calls that the answer has made before, which count for the limits."""

    def __init__(self, limits: Limits, earlier: Iterable[Tool] = ()) -> None:
        self._limits = limits
        self._calls: dict[int, _Call] = {}
        sizes = [len(call.arguments) + characters(call.extra) for call in earlier]
        self._earlier, self._chars = len(sizes), sum(sizes)

    def add(self, delta: ToolDelta) -> None:
        """Add the next part of a call. Raises ProviderError at a limit."""
        limits = self._limits
        call = self._calls.get(delta.index)
        if call is None:
            if self._earlier + len(self._calls) >= limits.tool_calls:
                raise limits.exceeded("tool_calls")
            call = self._calls[delta.index] = _Call()
        if delta.call_id is not None and len(delta.call_id) > limits.call_id_chars:
            raise limits.exceeded("call_id_chars")
        if delta.name is not None and len(delta.name) > limits.name_chars:
            raise limits.exceeded("name_chars")
        extra = _storable(delta)
        self._chars += len(delta.arguments) + characters(extra)
        if self._chars > limits.tool_argument_chars:
            raise limits.exceeded("tool_argument_chars")
        call.call_id = call.call_id or delta.call_id
        call.name = call.name or delta.name
        call.arguments.write(delta.arguments)
        call.extra |= extra

    def whole(self) -> list[ToolDelta]:
        """The calls, in the order of their indexes."""
        return [
            ToolDelta(index, call.call_id, call.name, call.arguments.getvalue(), call.extra or None)
            for index, call in sorted(self._calls.items())
        ]


def _storable(delta: ToolDelta) -> dict[str, Any]:
    """The extra of a part of a call; empty where no store takes it."""
    extra = dict(delta.extra or {})
    try:
        sound(extra)
    except ValueError:
        return {}
    return extra
