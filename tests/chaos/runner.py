"""One scenario from start to verdict: load, fault, healing, the end, dumps, the checker."""

from __future__ import annotations

import asyncio
import json
import random
import time
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import redis

from tests.chaos import checker, figures, targets
from tests.chaos.evidence import Dump, Evidence, dump_postgres, dump_redis, forget_logs, read_provider_log
from tests.chaos.faults import Strike
from tests.chaos.history import History
from tests.chaos.load import Load
from tests.chaos.rig import Rig
from tests.chaos.scenarios import Scenario


@dataclass
class Outcome:
    """The result of one run. ``verdict``: passed, failed, no coverage, or skipped; only a passed run held.

    ``resets``: the faults that explain each reset of a reader.
    """

    scenario: str
    number: int
    promise: str
    seed: int
    verdict: str
    violations: list[str] = field(default_factory=list)
    rules: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    coverage: dict[str, int] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    resets: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def good(self) -> bool:
        return self.verdict == "passed"


async def run(rig: Rig, scenario: Scenario, seed: int, out: Path, *, quick: bool = True, keep: bool = False) -> Outcome:
    """Run one scenario on a healthy rig. The history stays under ``out`` after a violation, or with ``keep``."""
    began = time.monotonic()
    history = rig.history = History(seed, scenario.name, int(time.time() * 10))
    rng = random.Random(f"{seed} {scenario.name}")
    rig.forget_counts()
    dump = Dump(before=dict(rig.warm))
    there = set(rig.footprints())
    load = Load(rig.service(), scenario.plan, history, rng)
    load.start()
    strike = Strike(rig, load, rng, quick)
    await scenario.strike(strike)
    if not scenario.lasting:
        await rig.heal()
        history.healed = time.time()
    speaking = scenario.plan.tokens / scenario.plan.rate + scenario.plan.ramp
    async with nullcontext() if scenario.lasting else rig.watched():
        await load.wait(speaking + scenario.patience)
        await load.wait_for_feeds()
    if scenario.lasting:
        await _look(rig, load, dump, with_redis=False)
        await rig.heal()
    else:
        await _look(rig, load, dump, with_redis=True)
    # An old process has done all kinds of work. A process that has just started would seem to grow.
    rig.warm = {name: held for name, held in dump.after.items() if name in there} | rig.warm
    calls = read_provider_log(rig.provider_log, history.run)
    if rig.second:
        calls += targets.calls(rig.second_port, history.run)
    counts = dict(rig.counts())
    evidence = Evidence(history, calls, dump, scenario.allowed, counts, strike.lease)
    outcome = _judge(evidence, scenario, seed, time.monotonic() - began)
    if keep or outcome.verdict != "passed":
        folder = out / f"{scenario.name}-{seed}"
        evidence.history.save(folder / "history.json")
        (folder / "outcome.json").write_text(json.dumps(asdict(outcome), indent=1))
    return outcome


async def _look(rig: Rig, load: Load, dump: Dump, *, with_redis: bool) -> None:
    """Collect the evidence after the end. Late readers read once with Redis and once without its logs."""
    ids = {asked.generation for asked in load.history.asked if asked.generation}
    await load.read_again("after the end", 0.3)
    if with_redis:
        with suppress(redis.RedisError):
            await asyncio.to_thread(dump_redis, rig.valkey.url(), rig.namespace, ids, dump)
            await asyncio.to_thread(forget_logs, rig.valkey.url(), rig.namespace)
    await load.read_again("archive", 0.5)
    await load.read_again("archive from the middle", 0.5)
    await load.fetch_all()
    # Seconds until the streams of clients that hung up are closed; on a busy machine it takes a little longer.
    await asyncio.sleep(1.5)
    until = time.monotonic() + 20
    dump.after = rig.footprints()
    while any(checker.grown(dump)) and time.monotonic() < until:
        await asyncio.sleep(0.5)
        dump.after = rig.footprints()
    await rig.insist(lambda: dump_postgres(rig.dsn, load.history.run, dump))


def _judge(evidence: Evidence, scenario: Scenario, seed: int, seconds: float) -> Outcome:
    violations = checker.check(evidence)
    if scenario.judge is not None and (complaint := scenario.judge(evidence)):
        violations.append(checker.Violation("promise", scenario.name, complaint))
    covered = checker.coverage(evidence)
    measured = figures.measure(evidence)
    resets = [reset.why or "nothing" for reset in checker.resets(evidence)]
    late = [t for t in measured["recoveries"] if scenario.within is not None and t > scenario.within]
    if late:
        violations.append(checker.Violation("recovery", scenario.name, f"next token after {max(late):.1f} s"))
    missing = [name for name in scenario.covers if not covered.get(name)]
    verdict = "failed" if violations else "no coverage" if missing else "passed"
    return Outcome(
        scenario.name,
        scenario.number,
        scenario.promise,
        seed,
        verdict,
        violations=[str(violation) for violation in violations],
        rules=sorted({violation.rule for violation in violations}),
        missing=missing,
        coverage=covered,
        figures=measured,
        faults=[
            f"{fault.at - _origin(evidence):7.2f} {fault.kind} {fault.detail[:160]}"
            for fault in evidence.history.faults
        ],
        resets=resets,
        seconds=round(seconds, 1),
    )


def _origin(evidence: Evidence) -> float:
    times = [reply.at for asked in evidence.history.asked for reply in asked.replies]
    return min(times, default=0.0)
