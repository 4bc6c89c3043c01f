"""``python -m bench.sizing [QUICK=1] [PART] … [--own] [--for LOAD]``: see the package."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from bench.figures import Run
from bench.machine import describe
from bench.sizing import answers, delivery, messages, page, requests
from bench.sizing.fit import costs_of
from bench.sizing.law import Costs, load_of
from bench.sizing.measured import MEASURED
from bench.sizing.page import DEPLOYMENTS, OUT
from bench.sizing.publish import publish
from bench.stores import stores

PARTS: dict[str, Callable[[Run], list[dict[str, Any]]]] = {
    "readers": delivery.readers,
    "processes": delivery.processes,
    "proxy": delivery.proxy,
    "generations": answers.generations,
    "messages": messages.messages,
    "requests": requests.requests,
}


def main() -> int:
    """Measure, or compute the need for a load. Returns 1 after a lost token, 2 for words without a meaning."""
    parser = argparse.ArgumentParser(prog="python -m bench.sizing")
    parser.add_argument("words", nargs="*", metavar="PART or QUICK=1", help=", ".join(PARTS))
    parser.add_argument("--for", dest="load", help="readers=5000,generations=300,messages=400000")
    parser.add_argument("--own", action="store_true", help="with the costs in out/sizing")
    parser.add_argument("--publish", action="store_true", help="write the tables of docs/sizing.md")
    given = parser.parse_args()
    quick = "QUICK=1" in given.words or os.environ.get("QUICK") == "1"
    wanted = [word for word in given.words if "=" not in word]
    if unknown := set(wanted) - set(PARTS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    if given.load:
        try:
            load = load_of(given.load)
        except ValueError as error:
            parser.error(str(error))
        print(page.terminal(_costs(_runs()) if given.own else MEASURED, [load]))
        return 0
    return _measure(wanted or list(PARTS), quick, given.publish)


def _measure(wanted: Sequence[str], quick: bool, published: bool) -> int:
    began = time.monotonic()
    OUT.mkdir(parents=True, exist_ok=True)
    with stores() as available:
        run = Run(available, quick, 1)
        for name in wanted:
            machine = describe()
            print(f"\n{name}: {machine}{' (quick)' if quick else ''}", flush=True)
            result = {
                "when": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
                "commit": _commit(),
                "machine": machine,
                "quick": quick,
                "points": PARTS[name](run),
            }
            (OUT / f"{name}.json").write_text(json.dumps(result, indent=1))
    runs = _runs()
    try:
        costs = _costs(runs)
    except KeyError as missing:
        costs = None
        print(f"\nno law yet: {missing} has not been measured by this version")
    if costs:
        print("\nA deployment for each load:\n" + page.terminal(costs, DEPLOYMENTS))
        (OUT / "costs.json").write_text(json.dumps(asdict(costs), indent=1))
    print(f"\n{time.monotonic() - began:.0f} s; report: {page.write(runs, costs)}")
    if costs and published and not run.faults:
        publish(runs, costs)
    for fault in run.faults:
        print(f"NOT RIGHT: {fault}")
    return 1 if run.faults else 0


def _runs() -> dict[str, Any]:
    """The parts that have been measured, in this run or in earlier ones."""
    found = {name: OUT / f"{name}.json" for name in PARTS}
    return {name: json.loads(path.read_text()) for name, path in found.items() if path.exists()}


def _costs(runs: dict[str, Any]) -> Costs:
    """The costs of this machine. Raises KeyError when a part is missing."""
    return costs_of({name: one["points"] for name, one in runs.items()})


def _commit() -> str:
    """The commit of the code that is measured, with a sign where files differ from it."""
    named = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return named.stdout.strip() or "no commit"


if __name__ == "__main__":
    sys.exit(main())
