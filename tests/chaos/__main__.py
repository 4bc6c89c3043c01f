"""``make chaos [SEED= SECONDS= JOBS=]``, or a part: ``python -m tests.chaos --scenario worker-killed --seed 7``."""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from dev.process import CannotRun
from tests.chaos import lanes, report
from tests.chaos.plants import PLANTS
from tests.chaos.rig import Rig
from tests.chaos.runner import Outcome, run
from tests.chaos.scenarios import MIXES, SCENARIOS, Scenario, find, sized

OUT = Path(__file__).resolve().parents[2] / "out" / "chaos"
# A run shows a planted bug only when its dice bring the moment about that the bug needs. One run that shows it proves
# that the checker sees it.
TRIES = 3
# The defaults of `make run`.
DEFAULT_TIMES = {"LEASE_SECONDS": "30", "HEARTBEAT_SECONDS": "5", "SWEEP_SECONDS": "2", "KEEPALIVE_SECONDS": "15"}


def main() -> int:
    # A signal to this process ends everything that the process started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    options = _options()
    options.make_rig = Rig
    options.out.mkdir(parents=True, exist_ok=True)
    names, plants = _chosen(options)
    if options.jobs > 1:
        outcomes = lanes.run(names, plants, options, sys.argv[1:])
    else:
        outcomes = asyncio.run(_all(names, plants, options))
    for path in report.write(options.out, outcomes, append=options.append):
        print(f"report: {path}")
    print(summary(outcomes))
    return 0 if all(_passes(outcome, options) for outcome in outcomes) else 1


def summary(outcomes: Sequence[Outcome]) -> str:
    """The runs that held, and the others by verdict. Skipped runs and runs without coverage did not hold."""
    held = sum(outcome.good for outcome in outcomes)
    parts = [f"{held} of {len(outcomes)} held"]
    for verdict in ("failed", "no coverage", "skipped"):
        if names := [outcome.scenario for outcome in outcomes if outcome.verdict == verdict]:
            parts.append(f"{verdict}: {', '.join(names)}")
    return "; ".join(parts)


def _passes(outcome: Outcome, options: argparse.Namespace) -> bool:
    return outcome.good or (options.may_skip and outcome.verdict == "skipped")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument("--scenario", action="append", choices=[*SCENARIOS, *MIXES], help="only this one; repeatable")
    parser.add_argument("--plant", action="append", choices=[*PLANTS, "all"], help="a bug that the checker must find")
    parser.add_argument("--seed", type=int, default=int(os.environ.get("SEED") or 1))
    parser.add_argument("--seconds", type=float, default=float(os.environ.get("SECONDS") or 60), help="of the mix")
    parser.add_argument("--generations", type=int, help="another load")
    parser.add_argument("--tokens", type=int, help="of each answer")
    parser.add_argument("--rate", type=float, help="tokens a second of each answer")
    parser.add_argument("--full", action="store_true", help="the long form of each fault")
    parser.add_argument("--default-times", action="store_true", help="lease 30 s, heartbeat 5 s")
    parser.add_argument("--jobs", type=int, default=int(os.environ.get("JOBS") or 1), help="rigs side by side")
    parser.add_argument("--out", type=Path, default=OUT, help="where the report goes")
    parser.add_argument("--append", action="store_true", help="add to the last report")
    parser.add_argument("--may-skip", action="store_true", help="what cannot run on this machine does not count")
    parser.add_argument("--keep", action="store_true", help="keep logs and data")
    return parser.parse_args()


def _chosen(options: argparse.Namespace) -> tuple[list[str], list[str]]:
    """The scenarios and the planted bugs of the command line; all of them when it names none."""
    everything = not options.plant and not options.scenario
    plants = [*PLANTS] if everything or options.plant == ["all"] else options.plant or []
    return [*SCENARIOS, *MIXES] if everything else options.scenario or [], plants


async def _all(names: list[str], plants: list[str], options: argparse.Namespace) -> list[Outcome]:
    chosen = [find(name, options.seconds) for name in names]
    chosen = [sized(scenario, options.generations, options.tokens, options.rate) for scenario in chosen]
    if options.default_times:
        chosen = [_with_default_times(scenario) for scenario in chosen]
    # A query to a frozen PostgreSQL holds its thread until PostgreSQL continues; other queries need threads too.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(32))
    outcomes = []
    # Scenarios of one build share a rig: starting it takes longer than most of them.
    for build in dict.fromkeys(_key(scenario) for scenario in chosen):
        outcomes += await on_one_rig([s for s in chosen if _key(s) == build], options)
    return outcomes + await _plants(plants, options)


def _with_default_times(scenario: Scenario) -> Scenario:
    within = 35.0 if scenario.name == "worker-killed" else scenario.within
    settings = {**scenario.build.settings, **DEFAULT_TIMES}
    return replace(scenario, build=replace(scenario.build, settings=settings), within=within)


def _key(scenario: Scenario) -> str:
    return repr(scenario.build)


async def on_one_rig(scenarios: list[Scenario], options: argparse.Namespace) -> list[Outcome]:
    """Run scenarios of one build. ``options.make_rig`` makes the rig from a directory, a seed and the build."""
    waiting = [s for s in scenarios if not s.needs()]
    outcomes = [_skipped(s, options.seed, s.needs() or "") for s in scenarios if s.needs()]
    while waiting:
        done, reason = await _rig_life(waiting, options)
        outcomes += done
        waiting = waiting[len(done) :]
        if waiting and reason:
            outcomes.append(_broken(waiting.pop(0), options.seed, reason))
    return outcomes


async def _rig_life(scenarios: list[Scenario], options: argparse.Namespace) -> tuple[list[Outcome], str | None]:
    """Run scenarios on one rig until it breaks. Returns the outcomes, and the reason of the break or None."""
    directory = Path(tempfile.mkdtemp(prefix="chaos-"))
    outcomes: list[Outcome] = []
    try:
        async with options.make_rig(directory, options.seed, scenarios[0].build) as rig:
            for scenario in scenarios:
                outcome = await run(rig, scenario, options.seed, options.out, quick=not options.full, keep=options.keep)
                outcomes.append(outcome)
                show(outcome)
                await rig.heal()
    except CannotRun as reason:
        if not outcomes and scenarios[0].build.small_disks:
            return [_skipped(s, options.seed, str(reason)) for s in scenarios], None
        return outcomes, str(reason)
    except Exception:
        return outcomes, traceback.format_exc()
    finally:
        _keep_logs(directory, options.out, keep=options.keep)
    return outcomes, None


async def _plants(names: list[str], options: argparse.Namespace) -> list[Outcome]:
    """Run each planted bug until the checker turns red, on a rig of its own; the bug is missed after ``TRIES`` runs."""
    outcomes = []
    for name in names:
        for attempt in range(1, TRIES + 1):
            outcome = await _plant(name, options.seed + attempt - 1, attempt, options)
            print(f"  -> {outcome.scenario}: {outcome.promise}", flush=True)
            if settles(outcome):
                break
        outcomes.append(outcome)
    return outcomes


def settles(outcome: Outcome) -> bool:
    """True when a planted bug is not run again: it was found, or its rig broke, which other dice would hide."""
    return outcome.good or not outcome.figures


async def _plant(name: str, seed: int, attempt: int, options: argparse.Namespace) -> Outcome:
    """Run one planted bug. The run holds when the checker turns red by one of the bug's rules."""
    plant = PLANTS[name]
    scenario = replace(plant.scenario, build=replace(plant.scenario.build, plant=name))
    [outcome] = await on_one_rig([scenario], argparse.Namespace(**{**vars(options), "seed": seed}))
    caught = sorted(set(outcome.rules) & set(plant.rules))
    promise = f"{plant.what}: found by {', '.join(caught) or 'nobody'} (run {attempt} of {TRIES})"
    verdict = "passed" if caught else "failed"
    return replace(outcome, scenario=f"plant {name}", number=100, promise=promise, verdict=verdict)


def show(outcome: Outcome) -> None:
    """Print one line about a run, and its violations."""
    measured = outcome.figures
    worst = max(measured.get("recoveries") or measured.get("pauses") or [0])
    print(
        f"{outcome.verdict:11} {outcome.number:3} {outcome.scenario:28} seed {outcome.seed} {outcome.seconds:6.1f} s "
        f"worst {worst:5.1f} s coverage {outcome.coverage} resets {report.counted(outcome.resets)}",
        flush=True,
    )
    for name in outcome.missing:
        print(f"    not covered: {name}")
    for line in outcome.violations[:8]:
        print(f"    {line[:400]}")
    if len(outcome.violations) > 8:
        print(f"    … and {len(outcome.violations) - 8} more")
    if outcome.violations:
        print("    faults:", *outcome.faults[:20], sep="\n      ", flush=True)


def _skipped(scenario: Scenario, seed: int, reason: str) -> Outcome:
    print(f"skipped     {scenario.number:3} {scenario.name}: {reason}", flush=True)
    return Outcome(scenario.name, scenario.number, scenario.promise, seed, "skipped", violations=[reason])


def _broken(scenario: Scenario, seed: int, reason: str) -> Outcome:
    print(f"failed      {scenario.number:3} {scenario.name}: the rig: {reason}", flush=True)
    return Outcome(scenario.name, scenario.number, scenario.promise, seed, "failed", violations=[reason])


def _keep_logs(directory: Path, out: Path, *, keep: bool) -> None:
    logs = out / "logs" / time.strftime("%H%M%S")
    logs.mkdir(parents=True, exist_ok=True)
    for log in directory.glob("*.log"):
        shutil.copy(log, logs)
    for name in ("postgres", "valkey"):
        for log in directory.glob(f"{name}/**/server.log"):
            shutil.copy(log, logs / f"{name}.log")
    if not keep:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
