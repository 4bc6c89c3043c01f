"""``make fleet [SEED= SECONDS= ARGS=--short]``, or a part: ``python -m tests.fleet --scenario web-lost --seed 7``."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dev.process import CannotRun
from tests.chaos import report
from tests.chaos.__main__ import on_one_rig, summary
from tests.chaos.runner import Outcome
from tests.chaos.scenarios import Scenario
from tests.deploy import proxy
from tests.fakes import pgbouncer, rabbitmq
from tests.fleet import network, scenarios
from tests.fleet.network import Network
from tests.fleet.rig import HOSTS, Fleet, queue_type

OUT = Path(__file__).resolve().parents[2] / "out" / "fleet"


def main() -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    options = _options()
    if reason := missing():
        print(f"skipped: fleet: {reason}")
        return 0 if options.may_skip else 1
    options.out.mkdir(parents=True, exist_ok=True)
    print(f"dice: SEED={options.seed}, {queue_type(options.seed)} queues", flush=True)
    try:
        # Before the first thread: a thread stays in the namespace in which it began.
        with Network(HOSTS) as hosts:
            options.make_rig = lambda directory, seed, build: Fleet(directory, seed, build, hosts)
            outcomes = asyncio.run(_all(_chosen(options), options))
    except CannotRun as error:
        print(f"failed: fleet: {error}")
        return 1
    for path in report.write(options.out, outcomes):
        print(f"report: {path}")
    print(summary(outcomes))
    return 0 if all(outcome.good for outcome in outcomes) else 1


def missing() -> str | None:
    """The reason why the fleet cannot run on this machine; None when it can."""
    if reason := network.missing() or rabbitmq.missing():
        return reason
    if not proxy.binary():
        return "nginx is not installed"
    return None if pgbouncer.binary() else "pgbouncer is not installed"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fleet")
    parser.add_argument("--scenario", action="append", choices=scenarios.NAMES, help="only this; repeatable")
    parser.add_argument("--seed", type=int, default=int(os.environ.get("SEED") or 1))
    parser.add_argument("--seconds", type=float, default=float(os.environ.get("SECONDS") or 60), help="of the mix")
    parser.add_argument("--short", action="store_true", help=f"the short form: {', '.join(scenarios.SHORT)}")
    parser.add_argument("--generations", type=int, help="another load")
    parser.add_argument("--out", type=Path, default=OUT, help="where the report goes")
    parser.add_argument("--may-skip", action="store_true", help="a machine without namespaces is no failure")
    parser.add_argument("--keep", action="store_true", help="keep logs, data and histories")
    parser.set_defaults(full=False)
    return parser.parse_args()


def _chosen(options: argparse.Namespace) -> list[Scenario]:
    names = options.scenario or (scenarios.SHORT if options.short else scenarios.NAMES)
    return [scenarios.find(name, options.seconds, options.generations) for name in names]


async def _all(chosen: list[Scenario], options: argparse.Namespace) -> list[Outcome]:
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(32))
    return await on_one_rig(chosen, options)


if __name__ == "__main__":
    sys.exit(main())
