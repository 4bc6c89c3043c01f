"""What a run finds: figures with their targets, what went wrong, and what the report shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, TypeVar

from bench.stores import CannotMeasure, Stores

T = TypeVar("T")

# In CI a figure may be this much worse than its target: the machine is shared.
TOLERANCE = 2.0


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of the table of targets: ``values``, round by round, may be at most ``most``.

    With ``beside`` they are ratios to that peer, otherwise in ``unit``. ``strict``: CI insists on it; what is late on a
    machine that others use too says little.
    """

    metric: str
    values: Sequence[float]
    most: float
    beside: str = ""
    unit: str = ""
    strict: bool = True

    @property
    def value(self) -> float:
        """The round in the middle."""
        return median(self.values)

    @property
    def met(self) -> bool:
        """Whether the target is reached."""
        return self.value <= self.most

    @property
    def spread(self) -> str:
        """From the best round to the worst."""
        return f"{short(min(self.values))} to {short(max(self.values))}" if len(self.values) > 1 else ""

    def told(self) -> str:
        """For the terminal."""
        beside = f" of {self.beside}'s" if self.beside else f" {self.unit}".rstrip()
        spread = f" ({self.spread})" if self.spread else ""
        return f"{short(self.value)}{beside}{spread}; aim {short(self.most)}{'' if self.met else ', MISSED'}"


@dataclass(slots=True)
class Run:
    """What every benchmark is given, and where it leaves what it found."""

    stores: Stores
    quick: bool
    rounds_wanted: int
    figures: list[Figure] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    sections: list[tuple[str, str]] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)

    def add(self, figure: Figure) -> None:
        """Keep a figure, and print it."""
        self.figures.append(figure)
        print(f"  {figure.metric}: {figure.told()}", flush=True)

    def fault(self, what: str) -> None:
        """Something was not as it must be, whatever the speed."""
        self.faults.append(what)
        print(f"  NOT RIGHT: {what}", flush=True)

    def leave_out(self, name: str, reason: object) -> None:
        """A peer that cannot be measured here."""
        if name not in self.left_out:
            self.left_out[name] = str(reason).strip()
            print(f"  {name:<18} left out: {self.left_out[name]}", flush=True)

    def rounds(self, names: Sequence[str], measure: Callable[[str], T]) -> dict[str, list[T]]:
        """Measure each design so many times, in turn: what the machine does to one it does to all."""
        found: dict[str, list[T]] = {name: [] for name in names}
        for _ in range(self.rounds_wanted):
            for name in list(found):
                try:
                    found[name].append(measure(name))
                except CannotMeasure as reason:
                    self.leave_out(name, reason)
                    del found[name]
        return found

    @property
    def complaints(self) -> list[str]:
        """What makes the run fail: faults; in the quick form also figures that are far off."""
        far = [f for f in self.figures if self.quick and f.strict and f.value > f.most * TOLERANCE]
        return [*self.faults, *(f"{figure.metric}: {figure.told()}" for figure in far)]


def ratios(own: Sequence[float], other: Sequence[float]) -> list[float]:
    """Ours over theirs, round by round."""
    return [mine / theirs for mine, theirs in zip(own, other, strict=False) if theirs > 0]


def short(value: float) -> str:
    """Three digits that matter."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) >= 0.001 or value == 0 else f"{value:.1e}"
