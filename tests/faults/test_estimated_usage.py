"""Usage that a provider did not report is estimated, so that no kind of end evades a quota."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from app.domain.errors import QuotaUsed
from app.domain.models import ModelSpec
from app.store import budgets
from app.store.database import fetch_one
from app.store.generations import Generation
from dev.valkey import Valkey
from tests.fakes.upstream import FakeUpstream
from tests.stack import Stack, until

TOKENS = 1500
# Longer than a busy machine stops a process: no lease ends, and no call is given up, but those that a test ends.
TIMES = {"LEASE_SECONDS": 6, "HEARTBEAT_SECONDS": 0.5, "FIRST_TOKEN_TIMEOUT": 6, "TOKEN_TIMEOUT": 6}


@pytest.fixture(scope="module")
def upstream() -> Iterator[FakeUpstream]:
    with FakeUpstream() as upstream:
        yield upstream


@pytest.fixture
def stack(tmp_path: Path, database_url: str, redis_url: str, upstream: FakeUpstream) -> Iterator[Stack]:
    stack = Stack(tmp_path, database_url, redis_url, OPENAI_BASE_URL=upstream.base_url, **TIMES)
    yield stack
    stack.stop()


@pytest.fixture(scope="module")
def served(
    tmp_path_factory: pytest.TempPathFactory, module_database_url: str, valkey: Valkey, upstream: FakeUpstream
) -> Iterator[Stack]:
    """A deployment with a worker, for all tests that need no other one."""
    directory, url = tmp_path_factory.mktemp("served"), upstream.base_url
    stack = Stack(directory, module_database_url, valkey.url(), OPENAI_BASE_URL=url, **TIMES)
    try:
        stack.worker()
        yield stack
    finally:
        stack.stop()


def message(**behaviour: Any) -> str:
    """A message of exactly 6,000 characters, whose upstream behaves as given."""
    said = json.dumps({"fake": {"key": uuid4().hex, **behaviour}})
    return said + " " * (6000 - len(said) - 1) + "."


def ask(stack: Stack, model: str = "fake", parameters: dict[str, Any] | None = None, **behaviour: Any) -> str:
    return stack.start(message(**behaviour), model=model, parameters=parameters or {}).generation.id


def spoken(stack: Stack, generation: str, events: int = 3) -> None:
    until(lambda: len(stack.log(generation)) >= events, 30)


def cancelled(stack: Stack, generation: str) -> Generation:
    return stack.resources.generations.cancel(stack.user, generation).row


def used(stack: Stack) -> int:
    with stack.resources.database.user(stack.user.id) as tx:
        return budgets.spending(tx, stack.user.id, None, "USD").spent["user"].tokens_per_day


def test_a_cancelled_answer_counts_its_prompt_and_what_it_said(served: Stack) -> None:
    before = used(served)
    generation = ask(served, tokens=1000, rate=30)
    spoken(served, generation)
    row = cancelled(served, generation)
    assert row.usage is not None
    assert (row.usage["input_tokens"], row.usage["estimated"]) == (TOKENS, True)
    assert row.usage["output_tokens"] > 0
    assert used(served) - before == TOKENS + row.usage["output_tokens"]
    waiting = served.start(message(), model="offline").generation.id
    served.finished(waiting)


def test_one_that_nobody_was_asked_for_counts_nothing(stack: Stack) -> None:
    assert cancelled(stack, ask(stack)).usage is None
    assert used(stack) == 0


def test_a_cancel_before_the_first_token_counts_the_prompt(served: Stack, upstream: FakeUpstream) -> None:
    before = len(upstream.calls)
    generation = ask(served, first_delay=60)
    until(lambda: len(upstream.calls) > before, 20)
    row = cancelled(served, generation)
    assert row.usage == {
        "input_tokens": TOKENS,
        "output_tokens": 0,
        "reasoning_tokens": 0,
        "cached_tokens": 0,
        "estimated": True,
    }


def test_all_that_was_sent_is_counted(served: Stack) -> None:
    """The estimate counts history, the model's prompt, instructions and tools."""
    prompt = ModelSpec.model_validate({"provider": "openai", "upstream_name": "fake", "system_prompt": "p" * 4000})
    served.resources.model_admin.put("prompted", prompt)
    first = served.start(message(tokens=10, rate=0), model="prompted")
    answer = len(served.transcript(served.finished(first.generation.id).id).text)
    tools = [{"type": "function", "function": {"name": "f", "description": "d" * 2000, "parameters": {}}}]
    parameters = {"instructions": "i" * 800, "tools": tools}
    again = message(tokens=500, rate=20)
    second = served.start(again, model="prompted", conversation_id=first.conversation.id, parameters=parameters)
    spoken(served, second.generation.id)
    row = cancelled(served, second.generation.id)
    assert row.usage is not None
    chars = 2 * 6000 + answer + 4000 + 800 + 2000
    assert chars / 4 <= row.usage["input_tokens"] <= chars / 4 + 100


def test_the_call_of_a_lost_worker_is_counted(stack: Stack) -> None:
    worker = stack.worker()
    generation = ask(stack, tokens=60, rate=20)
    spoken(stack, generation, 10)
    worker.kill()
    stack.worker()
    row = stack.finished(generation)
    lost, finished = row.attempts
    assert (lost["outcome"], lost["usage"]["input_tokens"], lost["usage"]["estimated"]) == ("lost", TOKENS, True)
    assert row.usage is not None
    assert row.usage["input_tokens"] == TOKENS + finished["usage"]["input_tokens"]
    assert row.usage["estimated"] is True


def test_failed_calls_count_when_the_provider_had_read_them(served: Stack) -> None:
    silent = served.finished(ask(served, first_delay=30, once=True, tokens=5, rate=0))
    assert [attempt["outcome"] for attempt in silent.attempts] == ["first_token_timeout", "finished"]
    assert silent.attempts[0]["usage"] == {"input_tokens": TOKENS, "output_tokens": 0, "estimated": True}
    refused = served.finished(ask(served, status=400))
    assert [(attempt["outcome"], attempt["usage"]) for attempt in refused.attempts] == [("upstream_rejected", None)]
    assert refused.usage is None
    cut = served.finished(ask(served, tokens=50, rate=0, cut_after=20, once=True))
    assert cut.attempts[0]["usage"]["input_tokens"] == TOKENS
    assert cut.attempts[0]["usage"]["output_tokens"] > 10


def test_a_provider_that_does_not_count_is_counted_for(served: Stack) -> None:
    row = served.finished(ask(served, tokens=20, rate=0, usage=False))
    assert row.usage is not None
    assert (row.usage["input_tokens"], row.usage["estimated"]) == (TOKENS, True)
    assert row.usage["output_tokens"] == -(-len(served.transcript(row.id).text) // 4)
    told = served.finished(ask(served, tokens=20, rate=0))
    assert told.usage is not None
    assert "estimated" not in told.usage


def test_each_call_of_an_answer_with_tools_is_counted(served: Stack, upstream: FakeUpstream) -> None:
    spec = {"provider": "openai", "upstream_name": "fake", "tools": ["word_count"]}
    served.resources.model_admin.put("tooled", ModelSpec.model_validate(spec))
    tool = {"name": "word_count", "arguments": {"text": "a b"}}
    before = len(upstream.calls)
    generation = ask(served, "tooled", tool_call=tool, tool_rounds=3, tokens=10**4, rate=20, finish="tool_calls")
    spoken(served, generation)
    # The first call ends now, and the second one lasts until the cancel.
    upstream.calls[before].enough = True
    until(lambda: len([t for t in served.transcript(generation).tool_views() if t["state"] == "finished"]) == 1, 30)
    until(lambda: len(upstream.calls) == before + 2, what="the second call")
    row = cancelled(served, generation)
    assert [attempt["outcome"] for attempt in row.attempts] == ["cancelled"] * 2
    assert row.usage is not None
    assert row.usage["input_tokens"] >= 2 * TOKENS


def test_the_quota_is_not_gone_round_by_cancelling(
    tmp_path: Path, database_url: str, redis_url: str, upstream: FakeUpstream
) -> None:
    stack = Stack(tmp_path, database_url, redis_url, OPENAI_BASE_URL=upstream.base_url, TOKEN_QUOTA_PER_DAY=2 * TOKENS)
    try:
        stack.worker()
        for _ in range(2):
            generation = ask(stack, tokens=1000, rate=30)
            spoken(stack, generation)
            cancelled(stack, generation)
        with pytest.raises(QuotaUsed):
            ask(stack)
    finally:
        stack.stop()


def test_calls_for_titles_are_counted(
    tmp_path: Path, database_url: str, redis_url: str, upstream: FakeUpstream
) -> None:
    titles = {"TITLES": "model", "OPENAI_BASE_URL": upstream.base_url}
    stack = Stack(tmp_path, database_url, redis_url, **titles)
    try:
        stack.worker()
        started = stack.start(message(tokens=20, rate=0), model="fake")
        row = stack.finished(started.generation.id)
        assert row.usage is not None
        answer = row.usage["input_tokens"] + row.usage["output_tokens"]
        until(lambda: used(stack) > answer, 20, "the title's tokens")
        [call] = [one for one in upstream.calls if started.message.content[:40] in str(one.body)][1:]
        assert call.model == "fake"
        with stack.resources.database.system() as tx:
            day = fetch_one(tx, "SELECT generations FROM usage_days")
        assert day is not None
        assert day.generations == 1
    finally:
        stack.stop()
