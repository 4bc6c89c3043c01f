"""Rigs side by side: the scenarios of a run, distributed over processes.

Each lane is ``python -m tests.chaos`` with its share and a report of its own; its output appears at once. Scenarios
with a promise in seconds run first, in a lane that has the machine for itself. A run that was only late, or that came
too late to hit its moment, is repeated once alone. A run with a broken rule is not repeated.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.chaos.plants import PLANTS
from tests.chaos.runner import Outcome
from tests.chaos.scenarios import MIXES, SCENARIOS, VARIANT_SHARE

# One entry of a lane's command line: ("--scenario", name) or ("--plant", name).
Share = list[tuple[str, str]]

# The violation of a run that kept every rule and was too slow.
_SECONDS_RULES = {"recovery", "promise"}
# Rough seconds on two cores with three rigs. Every other scenario or plant takes about 30 s.
_USUAL = 30.0
_SECONDS = {
    "two-zombies": 48.0,
    "rolling-restarts": 50.0,
    "rolling-update": 100.0,
    "web-killed": 35.0,
    "half-open": 38.0,
    "postgres-stopped": 42.0,
    "postgres-frozen": 52.0,
    "postgres-disk-full": 44.0,
    "provider-troubled": 20.0,
    "worker-killed-before-done": 17.0,
    "no-fence": 50.0,
    "no-new-epoch": 100.0,
    "checkpoint-without-epoch": 48.0,
}


def run(
    names: Sequence[str], plants: Sequence[str], options: argparse.Namespace, arguments: Sequence[str]
) -> list[Outcome]:
    """Run the chosen scenarios and plants in ``options.jobs`` lanes. A run that a lane did not report has failed."""
    work = [(_weight(name, options), ("--scenario", name)) for name in names]
    work += [(_weight(name, options), ("--plant", name)) for name in plants]
    alone = [words for _, words in work if words[1] in SCENARIOS and SCENARIOS[words[1]].timed]
    together = [item for item in work if item[1] not in alone]
    outcomes: list[Outcome] = []
    for shares in ([alone] if alone else [], _dealt(together, options.jobs)):
        outcomes += _side_by_side(shares, options, arguments)
    late = [outcome for outcome in outcomes if may_have_been_late(outcome)]
    if not late:
        return outcomes
    print(f"once more, alone: {', '.join(outcome.scenario for outcome in late)}", flush=True)
    again = _side_by_side([[("--scenario", outcome.scenario) for outcome in late]], options, arguments)
    return [outcome for outcome in outcomes if outcome not in late] + again


def may_have_been_late(outcome: Outcome) -> bool:
    """True when a run's only fault is its time, or a missed moment."""
    if outcome.scenario in MIXES:
        return outcome.verdict == "no coverage"
    if outcome.scenario not in SCENARIOS:
        return False
    is_timed = SCENARIOS[outcome.scenario].timed
    return outcome.verdict == "no coverage" or (
        is_timed and bool(outcome.rules) and set(outcome.rules) <= _SECONDS_RULES
    )


def _side_by_side(shares: Sequence[Share], options: argparse.Namespace, arguments: Sequence[str]) -> list[Outcome]:
    outcomes: list[Outcome] = []
    lanes = [_start(share, options.out / f"lane-{share[0][1]}", arguments) for share in shares]
    try:
        for share, out, process in lanes:
            process.wait()
            outcomes += _reported(share, out, options.seed)
    finally:
        for _, _, process in lanes:
            process.terminate()
            process.wait()
    return outcomes


def _start(share: Share, out: Path, arguments: Sequence[str]) -> tuple[Share, Path, subprocess.Popen[bytes]]:
    out.mkdir(parents=True, exist_ok=True)
    out.joinpath("report.json").unlink(missing_ok=True)
    command = [sys.executable, "-m", "tests.chaos", *_common(arguments), "--jobs", "1", "--out", str(out)]
    return share, out, subprocess.Popen([*command, *(word for words in share for word in words)])


def _weight(name: str, options: argparse.Namespace) -> float:
    if name in MIXES:
        return options.seconds * (1 if name == "mix" else VARIANT_SHARE) + 50.0
    return _SECONDS.get(name, _USUAL)


def _dealt(work: Sequence[tuple[float, tuple[str, str]]], lanes: int) -> list[Share]:
    """Distribute the work: the longest first, each to the lane that is free first."""
    filled: list[tuple[float, Share]] = [(0.0, []) for _ in range(min(lanes, len(work)))]
    for seconds, words in sorted(work, key=lambda item: -item[0]):
        lightest = min(range(len(filled)), key=lambda lane: filled[lane][0])
        load, share = filled[lightest]
        filled[lightest] = (load + seconds, [*share, words])
    return [share for _, share in filled]


def _common(arguments: Sequence[str]) -> list[str]:
    """The command line without scenarios and plants."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for name in ("--scenario", "--plant", "--jobs", "--out"):
        parser.add_argument(name, action="append")
    parser.add_argument("--append", action="store_true")
    return parser.parse_known_args(list(arguments))[1]


def _reported(share: Share, out: Path, seed: int) -> list[Outcome]:
    report = out / "report.json"
    outcomes = [Outcome(**row) for row in json.loads(report.read_text())] if report.exists() else []
    known = {outcome.scenario for outcome in outcomes}
    for kind, name in share:
        if (name if kind == "--scenario" else f"plant {name}") not in known:
            number = 100 if name in PLANTS else SCENARIOS[name].number if name in SCENARIOS else 25
            outcomes.append(Outcome(name, number, "", seed, "failed", violations=["its lane ended before it"]))
    return outcomes
