"""The next target of an answer: whatever fails, in whichever order, calls are bounded and no target is forgotten."""

from __future__ import annotations

from typing import Any

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from app.domain.breaker import Admission, BreakerRules, Refusal
from app.domain.models import ModelSpec, changed
from app.domain.targets import Target
from app.domain.upstreams import Upstream
from app.eventlog.breakers import MemoryBreakers, RedisBreakers
from dev.server import free_port
from worker.providers.base import ProviderError
from worker.providers.offline.provider import Offline
from worker.providers.registry import Providers, UnknownProvider
from worker.retry_policy import VISIBLE_RETRIES, Rules
from worker.shared_breakers import SharedBreakers
from worker.target_call import Candidate
from worker.targets import after_failure, candidates, in_order, is_targets_fault

NAMES = ("a", "b", "c")
FOUND = tuple(Candidate(Target(name, "m"), Offline()) for name in NAMES)
RULES = Rules(5, ("continue", "restart", "error"), False)


def made(key: str, outcome: str = "upstream_connection", *, visible: bool = False) -> dict[str, Any]:
    return {"target": key, "outcome": outcome, "visible": visible, "usage": None}


def error(code: str = "upstream_connection", *, retryable: bool = True, status: int | None = None) -> ProviderError:
    return ProviderError(code, "no", retryable=retryable, upstream_status=status)


def keys(found: list[Candidate]) -> str:
    return "".join(one.target.upstream for one in found)


def test_targets_are_tried_in_order_and_again_when_each_has_failed() -> None:
    assert keys(in_order(FOUND, [])) == "abc"
    assert keys(after_failure(FOUND, "a/m", [made("a/m")], error(), RULES)) == "bca"
    assert keys(after_failure(FOUND, "b/m", [made("a/m"), made("b/m")], error(), RULES)) == "cab"
    each = [made("a/m"), made("b/m"), made("c/m")]
    assert keys(after_failure(FOUND, "c/m", each, error(), RULES)) == "abc"


def test_a_takeover_begins_with_the_target_of_the_lost_worker() -> None:
    assert keys(in_order(FOUND, [made("b/m", "lost")], "b/m")) == "bac"
    assert keys(in_order(FOUND, [made("b/m")], "b/m")) == "acb"


@pytest.mark.parametrize(
    ("failure", "again"),
    [
        (error("upstream_unauthorized", retryable=False), False),
        (error("upstream_quota", retryable=False), False),
        (error("upstream_rejected", retryable=False, status=404), False),
        (error("upstream_rejected", retryable=False, status=402), False),
        (error("upstream_unavailable"), True),
        (error("first_token_timeout"), True),
    ],
)
def test_a_target_whose_account_is_at_fault_is_called_once(failure: ProviderError, again: bool) -> None:
    left = after_failure(FOUND[:2], "a/m", [made("a/m", failure.code)], failure, RULES)
    assert keys(left) == ("ba" if again else "b")
    alone = after_failure(FOUND[:1], "a/m", [made("a/m", failure.code)], failure, RULES)
    assert keys(alone) == ("a" if again else "")


@pytest.mark.parametrize("code", ["upstream_rejected", "context_length", "answer_too_large", "generation_timeout"])
def test_a_request_that_is_at_fault_itself_ends_the_answer(code: str) -> None:
    failure = error(code, retryable=False, status=400)
    assert not is_targets_fault(failure)
    assert not after_failure(FOUND, "a/m", [made("a/m", code)], failure, RULES)


OUTCOMES = st.sampled_from(
    ["upstream_connection", "upstream_truncated", "upstream_malformed", "upstream_unauthorized", "token_timeout"]
)


@given(st.lists(st.tuples(OUTCOMES, st.booleans()), min_size=20, max_size=20), st.integers(1, 3), st.integers(1, 9))
def test_the_calls_of_an_answer_are_bounded_and_each_target_comes_before_a_repetition(
    course: list[tuple[str, bool]], targets: int, most: int
) -> None:
    found, rules = FOUND[:targets], Rules(most, RULES.on_interruption, False)
    attempts: list[dict[str, Any]] = []
    following = in_order(found, attempts)
    for outcome, visible in course:
        if not following:
            break
        called = following[0].key
        if any(attempt["target"] == called for attempt in attempts):
            assert {attempt["target"] for attempt in attempts} >= {one.key for one in following}
        attempts.append(made(called, outcome, visible=visible))
        failure = error(outcome, retryable=outcome != "upstream_unauthorized")
        following = after_failure(found, called, attempts, failure, rules)
    assert not following
    assert len(attempts) <= most
    assert sum(attempt["visible"] for attempt in attempts) <= VISIBLE_RETRIES + 1
    refused = [attempt["target"] for attempt in attempts if attempt["outcome"] == "upstream_unauthorized"]
    assert len(set(refused)) == len(refused)


def test_a_target_without_its_upstream_is_left_out() -> None:
    upstream = Upstream("a", "openai", "http://127.0.0.1:1/v1")
    providers = Providers([upstream])
    found = candidates([Target("gone", "m"), Target("a", "m"), Target("a", "n", {}, "none")], providers.get)
    assert [(one.key, one.continues) for one in found] == [("a/m", True), ("a/n", False)]
    with pytest.raises(UnknownProvider):
        candidates([Target("gone", "m")], providers.get)


def test_without_redis_the_memory_of_the_worker_opens_probes_and_closes() -> None:
    now = [0]
    rules = BreakerRules(failures=2, window=60, open_for=30)
    away = RedisBreakers(redis.Redis(port=free_port(), retry=None), "x", rules)
    breakers = SharedBreakers(away, MemoryBreakers(rules, lambda: now[0]), lambda: True)
    for _ in range(2):
        admitted = breakers.admit(["a/m"])
        assert isinstance(admitted, Admission)
        breakers.report("a/m", "failed", admitted, None)
    assert breakers.admit(["a/m"]) == Refusal(30)
    assert breakers.has_failures("a/m")
    now[0] = 30_000
    probe = breakers.admit(["a/m"])
    assert isinstance(probe, Admission)
    assert probe.is_probe
    assert isinstance(breakers.admit(["a/m"]), Refusal)
    breakers.report("a/m", "ok", probe, None)
    assert breakers.admit(["a/m"]) == probe._replace(is_probe=False)


def test_one_form_of_the_targets_takes_the_place_of_the_other() -> None:
    two = [{"upstream": "a", "name": "m"}, {"upstream": "b", "name": "n", "continuation": "prefill"}]
    spec = ModelSpec.model_validate({"targets": two})
    assert (spec.provider, spec.upstream_name) == ("a", "m")
    assert ModelSpec.model_validate(spec.model_dump()) == spec
    short = ModelSpec.model_validate(changed(spec, {"provider": "b"}))
    assert (short.provider, short.targets) == ("b", [])
    again = ModelSpec.model_validate(changed(short, {"targets": two[::-1]}))
    assert (again.provider, again.upstream_name, len(again.targets)) == ("b", "n", 2)
    assert ModelSpec.model_validate(changed(spec, {"label": "Two"})).targets == spec.targets


@pytest.mark.parametrize(
    "fields",
    [
        {"targets": []},
        {"targets": [{"upstream": "a"}]},
        {"targets": [{"upstream": "a", "name": "m", "parameters": {"n": 2}}]},
        {"targets": [{"upstream": "a", "name": "m", "continuation": "guess"}]},
        {"targets": [{"upstream": "a", "name": "m"}] * 2},
        {"targets": [{"upstream": "a", "name": str(n)} for n in range(9)]},
        {"targets": [{"upstream": "a", "name": "m"}], "provider": "b"},
    ],
)
def test_targets_that_mean_nothing_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"targets|provider"):
        ModelSpec.model_validate(fields)
