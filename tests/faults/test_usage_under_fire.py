"""Usage of a random mix of answers, with failovers, cancels and a killed worker, compared with the upstreams' logs."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

import pytest

from app.domain.commands import StartGeneration, User
from app.domain.credential import Credential
from app.store.database import fetch
from app.store.generations import Generation
from dev.valkey import Valkey
from tests.failover.rig import Rig, rig
from tests.fakes.upstream import TOKEN, Call
from tests.stack import until

ANSWERS = 30
KEYS = ("first-key", "second-key", None)
# More than the characters of any message and of what the service adds to it, in tokens of an estimate.
MOST_INPUT = 150
# The course of an answer at both targets. Each has its usage counted by the upstream, unless it says otherwise.
COURSES: tuple[dict[str, Any], ...] = (
    {"tokens": 20, "rate": 0},
    {"tokens": 60, "rate": 30},
    {"tokens": 30, "rate": 30, "cut_after": 12, "times": 1},
    {"tokens": 30, "rate": 60, "error_after": 6, "times": 1},
    {"tokens": 10, "rate": 0, "status": 503, "times": 1},
    {"tokens": 30, "rate": 30, "usage": False},
)


@pytest.fixture(scope="module")
def deployed(
    tmp_path_factory: pytest.TempPathFactory, module_database_url: str, valkey: Valkey
) -> Iterator[tuple[Rig, User]]:
    times = {"LEASE_SECONDS": 4, "HEARTBEAT_SECONDS": 0.5, "BREAKER_FAILURES": 1000}
    with rig(tmp_path_factory.mktemp("fire"), module_database_url, valkey.url(), **times) as made:
        made.model("both", ("a-openai", "fake"), ("b-openai", "fake"), price={"input": "1", "output": "2"})
        yield made, made.stack.resources.users.user("under-fire", None)


@dataclass(frozen=True)
class Asked:
    """An answer and its mark in the upstreams' logs."""

    id: str
    mark: str
    key: str | None


def test_usage_under_fire_is_that_of_the_upstreams(deployed: tuple[Rig, User]) -> None:
    made, user = deployed
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    doomed, _ = made.stack.workers(2)
    asked = [_ask(made, user, dice) for _ in range(ANSWERS)]
    # A slow one is not cancelled: it still runs when the worker is killed.
    slow = _ask(made, user, dice, {"tokens": 60, "rate": 10})
    for one in dice.sample(asked, ANSWERS // 5):
        time.sleep(dice.uniform(0, 0.1))
        made.stack.resources.generations.cancel(user, one.id)
    asked.append(slow)
    until(lambda: any(row.epoch > 0 and row.final is None for row in map(_row(made), asked)), 10, "a running answer")
    doomed.kill()
    rows = {one: made.stack.finished(one.id) for one in asked}
    for one, row in rows.items():
        judge(made, one, row)
    assert counted(made, user) == expected(rows)


def _ask(made: Rig, user: User, dice: random.Random, course: dict[str, Any] | None = None) -> Asked:
    mark, key = uuid4().hex, dice.choice(KEYS)
    message = json.dumps({"fake": {"key": mark, "linger": 0.1, **(course or dice.choice(COURSES))}})
    of_key = replace(user, credential=Credential("key", key)) if key else user
    started = made.stack.resources.starter.start(of_key, StartGeneration(message, model="both"))
    return Asked(started.generation.id, mark, key)


def _row(made: Rig) -> Any:
    return lambda one: made.stack.generation(one.id)


def judge(made: Rig, one: Asked, row: Generation) -> None:
    """Compare the usage of one ended answer with the calls that the upstreams had for it."""
    logged = [call for side in "ab" for call in made.fakes[f"{side}-openai"].calls if _is_of(call, one)]
    calls = [call for call in logged if call.status == 200]
    shown = (one, row.status, row.attempts, calls)
    charged = [attempt for attempt in row.attempts if attempt["usage"]]
    # Each call that an upstream accepted is counted once. A claim without a call is an estimate of input only.
    assert len(charged) >= len(calls), shown
    spare = [attempt for attempt in charged if attempt["usage"].get("estimated") and not attempt["visible"]]
    assert len(charged) - len(calls) <= len(spare), shown
    usage = row.usage or {"input_tokens": 0, "output_tokens": 0}
    for name in ("input_tokens", "output_tokens"):
        assert usage[name] == sum(attempt["usage"][name] for attempt in charged), shown
    # What was delivered is counted; an estimate is a quarter of the characters that the upstream has sent, at most.
    text = made.stack.transcript(row.id).text
    assert usage["output_tokens"] >= len(TOKEN.findall(text)), shown
    assert usage["output_tokens"] <= sum(max(call.tokens_sent, len(call.text) / 4 + 1) for call in calls), shown
    assert len(calls) <= usage["input_tokens"] <= MOST_INPUT * max(len(charged), 1), shown
    if row.status == "completed" and len(calls) == 1 == len(charged) and not charged[0]["usage"].get("estimated"):
        assert usage["output_tokens"] == calls[0].tokens_sent, shown


def _is_of(call: Call, one: Asked) -> bool:
    return one.mark in json.dumps(call.body)


def expected(rows: dict[Asked, Generation]) -> Counter[tuple[str | None, str]]:
    """The sums of the answers, of all credentials under ``all`` and of each key."""
    sums: Counter[tuple[str | None, str]] = Counter()
    for one, row in rows.items():
        for whose in {"all", one.key} - {None}:
            sums[whose, "generations"] += 1
            for name in ("input_tokens", "output_tokens"):
                sums[whose, name] += (row.usage or {}).get(name, 0)
    return sums


def counted(made: Rig, user: User) -> Counter[tuple[str | None, str]]:
    """The sums of the user's days."""
    names = ("generations", "input_tokens", "output_tokens")
    columns = ", ".join(names)
    with made.stack.resources.database.system() as tx:
        rows = fetch(
            tx,
            f"""SELECT 'all' AS whose, {columns} FROM usage_days WHERE user_id = :id
                UNION ALL SELECT key_id, {columns} FROM key_usage_days WHERE user_id = :id""",
            id=user.id,
        )
    sums: Counter[tuple[str | None, str]] = Counter()
    for row in rows:
        for name in names:
            sums[row.whose, name] += getattr(row, name)
    return sums
