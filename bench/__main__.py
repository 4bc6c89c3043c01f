"""``python -m bench [QUICK=1] [journey] [relay]``: see the package."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from bench import journey, relay, report
from bench.designs import DESIGNS, CannotMeasure, Stores
from bench.machine import describe
from bench.relay import Load, Outcome
from dev.postgres import Postgres
from dev.valkey import Valkey
from tests.conftest import migrate


@dataclass(frozen=True, slots=True)
class Target:
    """The product's processor time per token may be at most ``most`` times that of ``peer``."""

    peer: str
    most: float


@dataclass(frozen=True, slots=True)
class Case:
    """One load, and what is aimed at under it."""

    title: str
    load: Load
    targets: tuple[Target, ...]


CASES = (
    Case(
        "1 generation, 1,000 readers, 20 tokens a second",
        Load(1, 1000, 20, 6),
        (Target("c hub", 1.4), Target("naive gevent", 0.25), Target("starlette hub", 0.5)),
    ),
    Case(
        "200 generations, 1 reader each, 50 tokens a second",
        Load(200, 1, 50, 6),
        (Target("c hub", 1.5), Target("naive gthread", 0.33)),
    ),
)
QUICK_DESIGNS = ("unbroken", "c hub", "naive gthread", "starlette hub")
# In CI a ratio may be this much worse than its target: the machine is shared.
TOLERANCE = 2.0


def main() -> int:
    """Run what was asked for; 1 when something was not delivered or, in the quick form, a ratio is far off."""
    words = sys.argv[1:]
    quick = "QUICK=1" in words or os.environ.get("QUICK") == "1"
    wanted = [word for word in words if "=" not in word] or ["journey", "relay"]
    print(describe(), "(quick)" if quick else "", flush=True)
    data: dict[str, Any] = {"machine": describe(), "quick": quick}
    sections: list[tuple[str, str]] = []
    wrong: list[str] = []
    with stores() as (available, redis_pid):
        if "journey" in wanted:
            data["journey"] = _journey(available, quick, sections)
        if "relay" in wanted:
            data["relay"] = [_relay(case, available, redis_pid, quick, sections, wrong) for case in CASES]
    print(f"\nreport: {report.write(describe(), sections, data)}")
    for complaint in wrong:
        print(f"NOT MET: {complaint}")
    return 1 if any(quick or "exactly once" in complaint for complaint in wrong) else 0


def _journey(available: Stores, quick: bool, sections: list[tuple[str, str]]) -> dict[str, Any]:
    waits = asdict(journey.measure(available, 10 if quick else 60))
    print("\nfrom the request, in milliseconds: median, 95th percentile")
    rows = [[name.replace("_", " "), f"{mid:.1f}", f"{high:.1f}"] for name, (mid, high) in waits.items()]
    for row in rows:
        print("  {:<12} {:>8} {:>8}".format(*row))
    sections.append(("What a person waits for, in milliseconds", report.table(["", "median", "95 %"], rows)))
    return waits


def _relay(
    case: Case, available: Stores, redis_pid: int, quick: bool, sections: list[tuple[str, str]], wrong: list[str]
) -> dict[str, Any]:
    print(f"\n{case.title}", flush=True)
    load = Load(case.load.generations, case.load.readers, case.load.rate, 3 if quick else case.load.seconds)
    rounds: dict[str, list[Outcome]] = {name: [] for name in (QUICK_DESIGNS if quick else DESIGNS)}
    for _ in range(1 if quick else 3):
        for name in list(rounds):
            try:
                outcome = relay.measure(name, load, available, redis_pid)
            except CannotMeasure as reason:
                print(f"  {name:<14} left out: {reason}")
                del rounds[name]
                continue
            rounds[name].append(outcome)
            _print(outcome)
    if any(not outcome.exact for outcome in rounds["unbroken"]):
        wrong.append(f"{case.title}: not everything was delivered exactly once")
    ratios = {target.peer: _ratios(rounds, target.peer) for target in case.targets if target.peer in rounds}
    rows = []
    for target in case.targets:
        if target.peer not in ratios:
            continue
        spread = ratios[target.peer]
        met = median(spread) <= target.most
        print(f"  processor time per token is {median(spread):.2f} of {target.peer}'s"
              f" ({min(spread):.2f} to {max(spread):.2f}); aim {target.most}{'' if met else ', MISSED'}")  # fmt: skip
        rows.append([target.peer, f"{median(spread):.2f}", f"{min(spread):.2f} to {max(spread):.2f}", str(target.most)])
        if median(spread) > target.most * (TOLERANCE if quick else 1):
            wrong.append(f"{case.title}: {median(spread):.2f} of {target.peer}'s processor time, aim {target.most}")
    costs = {name: median(o.cpu_us_per_token for o in outcomes) for name, outcomes in rounds.items()}
    content = report.bars(costs, "µs per token") + report.table(["beside", "ratio", "spread", "aim"], rows)
    sections.append((case.title, content))
    return {
        "case": case.title,
        "outcomes": [relay.as_json(outcome) for outcomes in rounds.values() for outcome in outcomes],
        "ratios": ratios,
    }


def _ratios(rounds: dict[str, list[Outcome]], peer: str) -> list[float]:
    """The product's cost over the peer's, round by round: what the machine does to one it does to the other."""
    pairs = zip(rounds["unbroken"], rounds[peer], strict=True)
    return [own.cpu_us_per_token / other.cpu_us_per_token for own, other in pairs]


def _print(outcome: Outcome) -> None:
    exact = "exactly once" if outcome.exact else f"{outcome.delivered} of {outcome.expected}, {outcome.faults} faults"
    memory = outcome.memory_per_stream / 1024
    print(
        f"  {outcome.design:<14} {outcome.cpu_us_per_token:7.2f} µs a token  {outcome.server_share:5.0%} of a core"
        f"  p50 {outcome.p50_ms:7.1f}  p99 {outcome.p99_ms:8.1f} ms  {memory:6.1f} kB a stream  {exact}",
        flush=True,
    )


@contextmanager
def stores() -> Iterator[tuple[Stores, int]]:
    """A PostgreSQL and a Valkey for this run alone; the latter's process is measured with every design."""
    with tempfile.TemporaryDirectory(prefix="unbroken-bench-") as folder:
        postgres, valkey = Postgres(Path(folder) / "postgres"), Valkey(Path(folder) / "valkey")
        try:
            postgres.start()
            valkey.start()
            postgres.ensure_database("bench")
            migrate(postgres.url("bench"))
            assert valkey.process
            yield (
                Stores(postgres.url("bench"), valkey.url(), valkey.port, valkey.password, Path(folder)),
                valkey.process.pid,
            )
        finally:
            valkey.stop()
            postgres.stop()


if __name__ == "__main__":
    sys.exit(main())
