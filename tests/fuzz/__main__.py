"""Reads many mutated transcripts: ``make fuzz [COUNT=100000] [SEED=]``.

Two laws hold for each. A wrong text is never complete, and every answer ends. No answer is requested more than three
times.
A violation is printed with the seed that repeats it: ``make fuzz COUNT=1 SEED=<seed>``.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter

from tests.fuzz.chats import CASES, MOST_CALLS, calls_of, mutated, read

# The longest time that the reading of one transcript may take, in seconds.
DEADLINE = 5.0


def one(seed: int) -> str:
    """Read the mutation of a seed. How it ended. Raises AssertionError."""
    chance = random.Random(seed)
    case = CASES[seed % len(CASES)]
    began = time.monotonic()
    mutation = mutated(case, chance)
    reader, pieces = read(mutation.parts)
    mutation.check(reader, pieces)
    assert calls_of(case, chance) <= MOST_CALLS, "too many calls"
    assert time.monotonic() - began < DEADLINE, "too slow"
    return reader.failure.code if reader.failure else "complete"


def main() -> int:
    """Run the command. The exit code is 1 after a violation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=None)
    given = parser.parse_args()
    seed = random.SystemRandom().randrange(2**31) if given.seed is None else given.seed
    began, ends = time.monotonic(), Counter[str]()
    for number in range(seed, seed + given.count):
        try:
            ends[one(number)] += 1
        except Exception as error:
            ends["VIOLATION"] += 1
            print(f"seed {number}, {CASES[number % len(CASES)].name}: {error!r}"[:1500])
            if ends["VIOLATION"] >= 10:
                break
    figures = ", ".join(f"{name} {count}" for name, count in ends.most_common())
    print(f"seed {seed}: {sum(ends.values())} transcripts in {time.monotonic() - began:.0f} s: {figures}")
    return 1 if ends["VIOLATION"] else 0


if __name__ == "__main__":
    sys.exit(main())
