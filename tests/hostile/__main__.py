"""Hostile credentials against real processes: ``make hostile [COUNT=10000] [SEED=] [PAIRS=1500]``.

Each gets a 401 with one body for all, or the refusal of a request that is none. No part of them stands in a log, and
the processes live on. Then it measures whether the time of a refusal tells that a credential exists.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from base64 import b64encode
from pathlib import Path

from dev.postgres import Postgres
from dev.valkey import Valkey
from tests.hostile import timing
from tests.hostile.attack import Attack
from tests.hostile.material import KEY_ID, collect, new_signing_key
from tests.logins import migrate, remember
from tests.stack import SECRET, Stack


def main() -> int:
    """Run the command. The exit code is 1 after a violation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000, help="hostile requests")
    parser.add_argument("--pairs", type=int, default=1_500, help="pairs of requests of each measurement")
    parser.add_argument("--seed", type=int, default=None)
    asked = parser.parse_args()
    seed = random.SystemRandom().randrange(2**31) if asked.seed is None else asked.seed
    print(f"seed {seed}", flush=True)
    with tempfile.TemporaryDirectory() as directory:
        violations = _run(Path(directory), random.Random(seed), asked.count, asked.pairs)
    for violation in violations:
        print(f"VIOLATION: {violation}"[:1500])
    print(f"seed {seed}: {'failed' if violations else 'passed'}")
    return 1 if violations else 0


def _run(directory: Path, dice: random.Random, count: int, pairs: int) -> list[str]:
    """Start a deployment whose stores log every statement, and attack it. The violations."""
    settings = {"fsync": "off", "log_statement": "all"}
    postgres, valkey = Postgres(directory / "postgres", settings=settings), Valkey(directory / "valkey")
    postgres.start(timeout=120)
    valkey.start(timeout=120)
    signing = new_signing_key()
    try:
        remember(postgres)
        postgres.ensure_database("hostile")
        migrate(postgres.url("hostile"))
        known = {"HMAC_KEYS": f"{KEY_ID}:{b64encode(signing).decode()}", "LOG_LEVEL": "DEBUG"}
        stack = Stack(directory, postgres.url("hostile"), valkey.url(), **known)
        try:
            return _attack(stack, dice, signing, count, pairs)
        finally:
            stack.stop()
    finally:
        valkey.stop()
        postgres.stop()


def _attack(stack: Stack, dice: random.Random, signing: bytes, count: int, pairs: int) -> list[str]:
    web = stack.web()
    material = collect(stack.resources, SECRET, signing)
    attack = Attack(web, material)
    began = time.monotonic()
    attack.run(dice, count)
    print(f"{count} hostile requests in {time.monotonic() - began:.0f} s")
    attack.check(stack.directory)
    print(attack.report())
    return [*attack.violations, *_measure(stack, web.url, attack, dice, pairs)]


def _measure(stack: Stack, url: str, attack: Attack, dice: random.Random, pairs: int) -> list[str]:
    """Print each measurement; those that tell a pair apart."""
    print("medians: existing, unknown, difference; p of a signed-rank test")
    told = []
    works = timing.lookups(stack.resources, attack.material, dice) | timing.requests(url, attack.material, dice)
    for name, pair in works.items():
        found = timing.verdict(pair, pairs, dice)
        print(f"  {name:18} {found}", flush=True)
        if timing.tells(found):
            told.append(f"{name}: the time tells that a credential exists")
    return told


if __name__ == "__main__":
    sys.exit(main())
