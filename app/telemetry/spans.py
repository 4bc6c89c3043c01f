"""A span as the service uses it, and the one that records nothing. Free of OpenTelemetry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from app.domain.trace_context import TraceContext

Value = str | bool | int | float | Sequence[str]
Attributes = Mapping[str, Value]
Kind = Literal["internal", "server", "client", "consumer"]

NOTHING: Attributes = {}


@dataclass(frozen=True, slots=True)
class SpanStart:
    """The beginning of a span. ``at`` is in nanoseconds since 1970; None for now.

    ``ids``: the trace id and the span id in hex, for a span that others find without having seen it. The trace id
    counts only for a span without a ``parent``.
    """

    name: str
    kind: Kind = "internal"
    parent: TraceContext | None = None
    attributes: Attributes = field(default_factory=dict)
    links: tuple[TraceContext, ...] = ()
    at: int | None = None
    ids: tuple[str, str] | None = None


class Span(Protocol):
    """A span. Nothing here waits or raises."""

    @property
    def context(self) -> TraceContext | None:
        """The context for children of this span; None when spans are not recorded by this process."""
        ...

    @property
    def is_recording(self) -> bool:
        """True when attributes and events of it are kept."""
        ...

    def set(self, attributes: Attributes) -> None:
        """Add attributes."""
        ...

    def event(self, name: str, attributes: Attributes = NOTHING, at: int | None = None) -> None:
        """Add an event, now or ``at`` nanoseconds since 1970."""
        ...

    def fail(self, error_type: str) -> None:
        """Mark it as failed. ``error_type`` is a code, never a text."""
        ...

    def end(self, at: int | None = None) -> None:
        """End it, once."""
        ...


class _NoSpan:
    """Records nothing."""

    __slots__ = ()
    context = None
    is_recording = False

    def set(self, attributes: Attributes) -> None:
        """See Span."""

    def event(self, name: str, attributes: Attributes = NOTHING, at: int | None = None) -> None:
        """See Span."""

    def fail(self, error_type: str) -> None:
        """See Span."""

    def end(self, at: int | None = None) -> None:
        """See Span."""


NO_SPAN: Span = _NoSpan()
