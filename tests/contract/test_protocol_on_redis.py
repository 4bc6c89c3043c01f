"""The protocol's model on the log in a real Redis: every schedule has the result that the log in memory gives."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from app.eventlog.client import redis_client
from tests.chaos.model import run
from tests.redis_log import ListenedLog

SCHEDULES = 40
# Schedules without these events prove nothing; a rare event may need more schedules.
PLACES = {"takeover", "fence", "gap", "lost"}
MOST = 1000


def test_schedules_go_on_redis_as_they_go_in_memory(redis_url: str, request: pytest.FixtureRequest) -> None:
    dice = Random(request.config.getoption("--hypothesis-seed", None))
    seen: Counter[str] = Counter()
    with redis_client(redis_url) as client:
        for number in range(MOST):
            if number >= SCHEDULES and set(seen) >= PLACES:
                break
            seed = dice.randrange(1 << 32)
            on_redis = run(seed, log=lambda listener, seed=seed: ListenedLog(client, f"model{seed}", listener))
            assert on_redis == run(seed), f"schedule {seed}"
            seen.update(on_redis)
    assert set(seen) >= PLACES
