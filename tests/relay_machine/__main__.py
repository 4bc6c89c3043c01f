"""Run the machine for a while: ``python -m tests.relay_machine --seconds 1800 [--seed 7] [--plant NAME]``."""

from __future__ import annotations

import argparse
import sys

from tests.relay_machine.plants import PLANTS
from tests.relay_machine.run import run


def main() -> int:
    """Run the machine as the arguments demand. The exit code is 1 when it has found a fault."""
    parser = argparse.ArgumentParser(prog="python -m tests.relay_machine", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to look")
    parser.add_argument("--seed", type=int, help="the dice; new ones otherwise")
    parser.add_argument("--plant", choices=[*sorted(PLANTS), "all"], help="a fault to be planted, which must be found")
    chosen = parser.parse_args()
    names = sorted(PLANTS) if chosen.plant == "all" else [chosen.plant]
    return max(_look(chosen.seconds, chosen.seed, name) for name in names)


def _look(seconds: float, seed: int | None, plant: str | None) -> int:
    found = run(seconds, seed, PLANTS[plant] if plant else None, shrink=plant is None)
    print(plant or "no fault planted:", found.summary(), flush=True)
    if found.error is not None and plant is None:
        print(found.error, flush=True)
    return 0 if (found.error is None) == (plant is None) else 1


if __name__ == "__main__":
    sys.exit(main())
