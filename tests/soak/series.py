"""The series of a soak and the growth that each may show: a tolerance follows from what one more answer may add."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median

from tests.soak.deployment import WORKERS, Size
from tests.soak.sampling import Point, Samples

# Points of one life that are compared with each other; more of them are thinned evenly.
COMPARED = 120
# A series with fewer points that count has no verdict, and the report says so.
LEAST = 4
# These have a verdict outside deploys. Processes that start take the processors from readers, and until the earlier
# ones have left, both have their pools.
OUTSIDE_DEPLOYS = {"latency p99", "connections of PostgreSQL"}


@dataclass(frozen=True)
class Law:
    """The growth that series of a name may show: ``each`` for each answer that is begun meanwhile, and ``noise``.

    ``share``: a part of the level that counts as noise, too. ``minute``: growth for each minute.
    """

    pattern: str
    unit: str
    each: float
    noise: float
    reason: str
    share: float = 0.0
    minute: float = 0.0


@dataclass(frozen=True)
class Finding:
    """The verdict on one series: its level, the growth of the fitted line over the span, and the growth allowed."""

    name: str
    unit: str
    level: float
    grown: float
    allowed: float
    slope: float  # a second
    reason: str
    points: int

    @property
    def flat(self) -> bool:
        return self.grown <= self.allowed


def laws(size: Size) -> list[Law]:
    """The laws in their order: the first one whose pattern matches a name is the series'."""
    running = float(size.generations)
    log_kib = size.tokens * 0.25 + 4
    # Rows grow in steps, because the answers of a round begin together, and some answers began before the span.
    return [
        Law("descriptors of .*", "", 0, 8, "an answer keeps no descriptor; pools open some on demand"),
        Law("memory of .*", "MiB", 0, 6, "an answer keeps no memory; caches and pools fill in a young process", 0.06),
        Law(
            "connections of PostgreSQL",
            "",
            0,
            36,
            "six pools of ten sessions fill on demand: four each are there after the warming",
        ),
        Law("connections of clients", "", 0, 4, "each reader has one stream at most", 0.15),
        Law("redis keys", "", 3, 3 * running + 16, "log, meta and history of a chat; those of new workers and minutes"),
        Law("redis memory", "KiB", log_kib, running * log_kib, "a log: 0.25 KiB an event and 4 KiB, until it expires"),
        Law("rows of (generations|conversations|generation_archives)", "", 1, 2 * running, "one row an answer"),
        Law("rows of messages", "", 2, 4 * running, "the question and the answer"),
        Law("rows of generation_chunks", "", 0, 8 * running, "checkpoints of running answers, removed at the end"),
        Law("rows of feed_events", "", 5, 5 * running, "two new messages, begin and end of the answer, the title"),
        Law("rows of service_minutes", "", 0, 2, "one row a minute, for the operators' page", minute=1),
        Law(
            "rows of workers",
            "",
            0,
            2 * WORKERS,
            "a worker leaves its row for a day, and a deploy replaces all",
            minute=WORKERS * 60 / size.every,
        ),
        Law("rows of .*", "", 0, 16, "no row that grows by answers"),
        Law("WAL", "KiB", 24 + size.tokens * 0.4, 2048, "24 KiB an answer and 0.4 KiB an event; full pages once"),
        Law("latency p50", "ms", 0, 10, "the median does not depend on what was before", 0.5),
        Law("latency p99", "ms", 0, 50, "the tail does not depend on what was before", 0.5),
        Law("errors", "", 0, 0, "no line of the level error, in a deploy neither"),
    ]


def findings(series: dict[str, list[Point]], samples: Samples, size: Size, warm: float) -> list[Finding]:
    """The verdict on every series. ``warm``: seconds at the begin of the run and of a process that do not count."""
    known = laws(size)
    found = []
    for name, points in series.items():
        law = next(law for law in known if re.fullmatch(law.pattern, name))
        counted = [p for p in points if (p.age if p.life else p.at - samples.began) >= warm]
        if name in OUTSIDE_DEPLOYS:
            counted = [p for p in counted if not any(begin <= p.at <= end for begin, end in samples.deploys)]
        if len(counted) >= LEAST:
            found.append(_judge(name, law, counted, samples))
    return found


def _judge(name: str, law: Law, points: Sequence[Point], samples: Samples) -> Finding:
    level = median(point.value for point in points)
    lives: dict[str, list[Point]] = defaultdict(list)
    for point in points:
        lives[point.life].append(point)
    # A leak inside a process is judged over the longest life: a deploy takes it away.
    longest = max(lives.values(), key=lambda life: life[-1].at - life[0].at)
    first, last = longest[0].at, longest[-1].at
    slope = fitted([*lives.values()])
    answers = _sent(samples, last) - _sent(samples, first)
    allowed = law.each * answers + law.noise + law.share * level + law.minute * (last - first) / 60
    grown = slope * (last - first) if name != "errors" else points[-1].value
    return Finding(name, law.unit, level, grown, allowed, slope, law.reason, len(points))


def fitted(lives: Sequence[Sequence[Point]]) -> float:
    """The slope of the lines through all lives: the median slope between two points of one life (Theil and Sen)."""
    slopes = [
        (later.value - sooner.value) / (later.at - sooner.at)
        for life in lives
        for sooner, later in combinations(life[:: max(1, len(life) // COMPARED)], 2)
        if later.at > sooner.at
    ]
    return median(slopes) if slopes else 0.0


def quantiles(latencies: Sequence[tuple[float, float]], samples: Samples) -> dict[str, list[Point]]:
    """The median and the 99th percentile of the latencies between two samples, in milliseconds."""
    bins: dict[int, list[float]] = defaultdict(list)
    times = [at for at, _ in samples.sent]
    for at, seconds in latencies:
        bins[bisect_right(times, at)].append(seconds * 1000)
    series: dict[str, list[Point]] = {"latency p50": [], "latency p99": []}
    for place, values in sorted(bins.items()):
        if 0 < place < len(times):
            values.sort()
            series["latency p50"].append(Point(times[place], values[len(values) // 2]))
            series["latency p99"].append(Point(times[place], values[int(len(values) * 0.99)]))
    return series


def _sent(samples: Samples, at: float) -> int:
    """The number of answers begun until ``at``."""
    place = bisect_right(samples.sent, (at, 1 << 60))
    return samples.sent[place - 1][1] if place else 0
