"""``python -m bench [QUICK=1] [ROUNDS=3] [BESIDE=…] [journey] [relay] …``: see the package."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

from bench import (
    back_again,
    connects,
    database,
    ended_credentials,
    growth,
    journey,
    path,
    relay,
    report,
    resume,
    worker,
)
from bench.figures import Run
from bench.machine import describe
from bench.stores import stores

PARTS: dict[str, Callable[[Run], None]] = {
    "journey": journey.run,
    "relay": relay.run,
    "worker": worker.run,
    "path": path.run,
    "database": database.run,
    "resume": resume.run,
    "connects": connects.run,
    "revoke": ended_credentials.run,
    "back_again": back_again.run,
    "growth": growth.run,
}


def main() -> int:
    """Run the parts that are named. Returns 1 after a fault or, in the quick form, after a figure far off target."""
    words = sys.argv[1:]
    options = {**os.environ, **dict(word.split("=", 1) for word in words if "=" in word)}
    quick = options.get("QUICK") == "1"
    rounds = 1 if quick else int(options.get("ROUNDS", "3"))
    wanted = [word for word in words if "=" not in word] or list(PARTS)
    if unknown := set(wanted) - set(PARTS):
        print(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
        return 2
    peers = tuple(filter(None, options.get("BESIDE", "").split(",")))
    machine, began = describe(), time.monotonic()
    print(machine, "(quick)" if quick else "", flush=True)
    with stores() as available:
        run = Run(available, quick, rounds, peers)
        for name in wanted:
            PARTS[name](run)
    report.summary(run)
    print(f"\n{time.monotonic() - began:.0f} s; report: {report.write(machine, run)}")
    for complaint in run.complaints:
        print(f"NOT MET: {complaint}")
    return 1 if run.complaints else 0


if __name__ == "__main__":
    sys.exit(main())
