"""Telemetry as the service uses it, its options, and its counts. Free of OpenTelemetry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from app.telemetry.spans import Attributes, Span, SpanStart

ProcessKind = Literal["web", "worker"]


@dataclass(frozen=True, slots=True)
class TelemetryOptions:
    """The settings of telemetry. ``traces`` and ``metrics`` are addresses of a collector; None for none.

    ``resource_attributes`` has the form of OTEL_RESOURCE_ATTRIBUTES. ``captures_content``: messages, and the arguments
    and results of tools, are recorded.
    """

    traces: str | None
    metrics: str | None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    service_name: str | None = None
    resource_attributes: str = ""
    sampler: str = "parentbased_always_on"
    sampler_argument: float = 1.0
    captures_content: bool = False


class Counts(Protocol):
    """Counts the spans of a process. Called by any thread; must not wait."""

    def exported(self, spans: int) -> None:
        """A collector has taken this many spans."""
        ...

    def dropped(self, spans: int, reason: Literal["queue_full", "not_exported"]) -> None:
        """This many spans are lost."""
        ...


class Telemetry(Protocol):
    """Spans and measurements. Nothing here waits or raises, except ``close``, which waits."""

    @property
    def is_on(self) -> bool:
        """True when anything is recorded: attributes are worth collecting."""
        ...

    @property
    def captures_content(self) -> bool:
        """True when messages may be recorded."""
        ...

    def span(self, start: SpanStart) -> Span:
        """Begin a span."""
        ...

    def record(self, histogram: str, value: float, attributes: Attributes) -> None:
        """Add a measurement to a histogram of ``names.HISTOGRAMS``."""
        ...

    def chunk_recorder(self, attributes: Attributes) -> Callable[[float], None] | None:
        """A fast function that adds a time between chunks, in seconds; None when none is measured."""
        ...

    def close(self) -> None:
        """Send what waits to the collector, within a bound, and stop."""
        ...
