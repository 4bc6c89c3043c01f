"""All cuts of all pairs of kinds: ``python -m tests.failover [--pairs openai-gemini,…] [--every N]``.

A breaker that never opens keeps each first target in the way. It prints what became of the cases, by pair.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dev.postgres import Postgres
from dev.valkey import Valkey
from tests.failover.cases import Case, every_case, run
from tests.failover.rig import Rig, rig
from tests.logins import migrate, remember

AT_ONCE = 8
SETTINGS = {"BREAKER_FAILURES": 1000, "MAX_STREAMS_PER_USER": 1000}


def main() -> int:
    """Run the cases. Returns 1 when one has failed."""
    parser = argparse.ArgumentParser(description="Cut a target at every event, for all pairs of kinds")
    parser.add_argument("--pairs", default="", help="such as openai-gemini,gemini-openai; all without it")
    parser.add_argument("--every", type=int, default=1, help="only every so many cases, from a random one on")
    parser.add_argument("--seed", type=int, default=random.randrange(2**31))
    asked = parser.parse_args()
    cases = [
        case for case in every_case() if not asked.pairs or f"{case.first}-{case.second}" in asked.pairs.split(",")
    ]
    cases = cases[random.Random(asked.seed).randrange(asked.every) :: asked.every]
    print(f"{len(cases)} cases, --seed {asked.seed}", flush=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        went = _run_all(Path(directory), cases)
    for (pair, outcome), many in sorted(went.items()):
        print(f"{pair:24} {outcome:10} {many}")
    print(f"{time.monotonic() - began:.0f} s")
    return 1 if any(outcome == "FAILED" for _, outcome in went) else 0


def _run_all(directory: Path, cases: list[Case]) -> Counter[tuple[str, str]]:
    """The number of cases by pair and outcome, on servers of their own."""
    postgres, valkey = Postgres(directory / "postgres", settings={"fsync": "off"}), Valkey(directory / "valkey")
    postgres.start(timeout=120)
    valkey.start(timeout=120)
    try:
        remember(postgres)
        postgres.ensure_database("failover")
        migrate(postgres.url("failover"))
        with rig(directory, postgres.url("failover"), valkey.url(), **SETTINGS) as made:
            made.stack.worker()
            url = made.stack.web().url
            with ThreadPoolExecutor(AT_ONCE) as threads:
                return Counter(threads.map(lambda case: _outcome(made, case, url), cases))
    finally:
        valkey.stop()
        postgres.stop()


def _outcome(made: Rig, case: Case, url: str) -> tuple[str, str]:
    pair = f"{case.first} {case.second}"
    try:
        return pair, run(made, case, url)
    except Exception as error:  # the other cases go on
        print(f"{case}: {error!r}"[:1000], file=sys.stderr, flush=True)
        return pair, "FAILED"


if __name__ == "__main__":
    sys.exit(main())
