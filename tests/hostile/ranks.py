"""Tells two sorts of durations apart, or not: the signed-rank test of Wilcoxon over pairs. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from statistics import median
from time import perf_counter


@dataclass(frozen=True)
class Verdict:
    """Medians in seconds of both sorts and of the differences in pairs; ``p``: their chance if both were one sort."""

    first: float
    second: float
    difference: float
    p: float
    pairs: int

    def __str__(self) -> str:
        first, second, difference = (1e6 * seconds for seconds in (self.first, self.second, self.difference))
        return f"{first:8.1f} µs {second:8.1f} µs {difference:+7.2f} µs  p = {self.p:.2g}  ({self.pairs} pairs)"


def compare(pairs: Sequence[tuple[float, float]]) -> Verdict:
    """The verdict on pairs of durations that were measured one after the other."""
    differences = [first - second for first, second in pairs]
    firsts, seconds = zip(*pairs, strict=True)
    return Verdict(median(firsts), median(seconds), median(differences), signed_rank(differences), len(pairs))


def measure(first: Callable[[], object], second: Callable[[], object], pairs: int, dice: Random) -> Verdict:
    """Time both ``pairs`` times, next to each other and in random order."""
    timed = []
    for _ in range(pairs):
        if dice.random() < 0.5:
            timed.append((_seconds(first), _seconds(second)))
        else:
            later = _seconds(second)
            timed.append((_seconds(first), later))
    return compare(timed)


def signed_rank(differences: Sequence[float]) -> float:
    """The two-sided p of Wilcoxon's signed-rank test, by its normal approximation: for some twenty pairs and more."""
    ordered = sorted((one for one in differences if one), key=abs)
    many = len(ordered)
    if not many:
        return 1.0
    positive = sum(rank for rank, one in enumerate(ordered, 1) if one > 0)
    deviation = math.sqrt(many * (many + 1) * (2 * many + 1) / 24)
    return math.erfc(abs(positive - many * (many + 1) / 4) / deviation / math.sqrt(2))


def _seconds(work: Callable[[], object]) -> float:
    began = perf_counter()
    work()
    return perf_counter() - began
