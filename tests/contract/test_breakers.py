"""One contract for both kinds of breakers: those in memory pass every test that those in Redis pass."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
import redis
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from app.domain.breaker import MOST_OPEN_SECONDS, PROBE_SECONDS, Admission, BreakerRules, Refusal
from app.domain.errors import LogDown
from app.eventlog.breakers import Breakers, MemoryBreakers, RedisBreakers
from app.eventlog.client import redis_client
from dev.server import free_port

RULES = BreakerRules(failures=3, window=60, open_for=30)
KEYS = ("a/one", "b/two")


class Clock:
    """A clock that a test sets, in milliseconds."""

    def __init__(self) -> None:
        self.now = 1_790_000_000_000

    def __call__(self) -> int:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += round(seconds * 1000)


Make = Callable[[Clock], Breakers]


@pytest.fixture(params=["memory", "redis"])
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    if request.param == "memory":
        yield lambda clock: MemoryBreakers(RULES, clock)
        return
    client = redis_client(request.getfixturevalue("valkey").url())
    yield lambda clock: RedisBreakers(client, uuid4().hex, RULES, clock)
    client.close()


def admit(breakers: Breakers, *keys: str) -> Admission:
    admission = breakers.admit(keys or KEYS)
    assert isinstance(admission, Admission)
    return admission


def fail(breakers: Breakers, key: str = "a/one", times: int = 3, retry_after: float | None = None) -> list[bool]:
    return [breakers.report(key, "failed", admit(breakers, key).openings, retry_after) for _ in range(times)]


def test_failures_in_a_row_open_a_breaker_and_the_next_target_is_admitted(make: Make) -> None:
    breakers = make(Clock())
    assert admit(breakers).key == "a/one"
    assert fail(breakers) == [False, False, True]
    assert [admit(breakers).key for _ in range(20)] == ["b/two"] * 20
    assert breakers.read(KEYS)["a/one"][:2] == ("open", 3)


def test_a_success_between_failures_keeps_a_breaker_closed(make: Make) -> None:
    breakers = make(Clock())
    for _ in range(5):
        assert fail(breakers, times=2) == [False, False]
        assert not breakers.report("a/one", "ok", admit(breakers).openings)
    assert breakers.read(KEYS)["a/one"][:2] == ("closed", 0)


def test_failures_of_another_window_do_not_count(make: Make) -> None:
    clock = Clock()
    breakers = make(clock)
    for _ in range(4):
        assert fail(breakers, times=2) == [False, False]
        clock.wait(RULES.window + 0.001)


def test_half_open_there_is_one_probe_and_its_success_closes(make: Make) -> None:
    clock = Clock()
    breakers = make(clock)
    fail(breakers)
    clock.wait(RULES.open_for)
    probe, *others = (admit(breakers) for _ in range(10))
    assert (probe.key, probe.openings, probe.is_probe) == ("a/one", 1, True)
    assert {other.key for other in others} == {"b/two"}
    breakers.report("a/one", "ok", probe.openings)
    admitted = admit(breakers)
    assert (admitted.key, admitted.openings, admitted.is_probe) == ("a/one", 1, False)


def test_a_failed_probe_opens_again_and_a_released_one_makes_room(make: Make) -> None:
    clock = Clock()
    breakers = make(clock)
    fail(breakers)
    clock.wait(RULES.open_for)
    breakers.report("a/one", "released", admit(breakers).openings)
    assert breakers.report("a/one", "failed", admit(breakers, "a/one").openings)
    assert breakers.admit(["a/one"]) == Refusal(RULES.open_for)


def test_a_probe_whose_worker_died_holds_the_others_back_for_a_minute(make: Make) -> None:
    clock = Clock()
    breakers = make(clock)
    fail(breakers)
    clock.wait(RULES.open_for)
    lost = admit(breakers)
    assert breakers.admit(["a/one"]) == Refusal(PROBE_SECONDS)
    clock.wait(PROBE_SECONDS)
    assert admit(breakers, "a/one").is_probe
    # A slow probe is as good as a quick one.
    breakers.report("a/one", "ok", lost.openings)
    assert breakers.read(KEYS)["a/one"].state == "closed"


def test_a_retry_after_opens_at_once_and_until_then(make: Make) -> None:
    clock = Clock()
    breakers = make(clock)
    assert fail(breakers, times=1, retry_after=6.5) == [True]
    assert breakers.admit(["a/one"]) == Refusal(6.5)
    clock.wait(6.5)
    assert admit(breakers, "a/one").is_probe
    assert breakers.report("a/one", "failed", 1, 1e12)
    assert breakers.admit(["a/one"]) == Refusal(MOST_OPEN_SECONDS)


def test_results_of_calls_from_before_an_opening_change_nothing(make: Make) -> None:
    breakers = make(Clock())
    slow = [admit(breakers, "a/one") for _ in range(3)]
    fail(breakers)
    assert not breakers.report("a/one", "ok", slow[0].openings)
    assert not breakers.report("a/one", "failed", slow[1].openings, 99)
    assert not breakers.report("a/one", "failed", None)
    assert breakers.read(KEYS)["a/one"] == ("open", 3, RULES.open_for)


def test_no_breaker_admits_and_the_soonest_is_named(make: Make) -> None:
    clock = Clock()
    breakers = make(clock)
    fail(breakers, "a/one")
    clock.wait(10)
    fail(breakers, "b/two")
    assert breakers.admit(KEYS) == Refusal(RULES.open_for - 10)


class Machine(RuleBasedStateMachine):
    """Any calls, results and pauses: both kinds of breakers do what the words of the rules say."""

    calls = Bundle("calls")

    def __init__(self, make_redis: Make) -> None:
        super().__init__()
        self.clock = Clock()
        self.both = (MemoryBreakers(RULES, self.clock), make_redis(self.clock))
        self.open_until: dict[str, int] = {}  # of breakers that are not closed
        self.probing: dict[str, int] = {}  # until when

    @rule(target=calls, keys=st.sampled_from((KEYS, KEYS[:1], KEYS[1:], KEYS[::-1])))
    def admit(self, keys: tuple[str, ...]) -> object:
        ours, theirs = (breakers.admit(keys) for breakers in self.both)
        assert ours == theirs
        now = self.clock.now
        blocked = {key: max(self.open_until.get(key, 0), self.probing.get(key, 0)) for key in keys}
        if isinstance(ours, Refusal):
            assert ours.seconds == (min(blocked.values()) - now) / 1000 > 0
            return multiple()
        assert ours.key == next(key for key in keys if blocked[key] <= now)
        assert ours.is_probe == (ours.key in self.open_until)
        if ours.is_probe:
            self.probing[ours.key] = now + round(PROBE_SECONDS * 1000)
        return ours

    @rule(
        call=consumes(calls),
        result=st.sampled_from(["ok", "failed", "failed", "failed", "released"]),
        retry_after=st.sampled_from([None, None, None, 0.5, 45, 10**6]),
    )
    def report(self, call: Admission, result: str, retry_after: float | None) -> None:
        self._report(call.key, result, call.openings, retry_after)

    @rule(key=st.sampled_from(KEYS), result=st.sampled_from(["ok", "failed"]))
    def report_without_admission(self, key: str, result: str) -> None:
        self._report(key, result, None, None)

    def _report(self, key: str, result: str, openings: int | None, retry_after: float | None) -> None:
        before = self.both[0].read([key])[key].state
        told = [b.report(key, result, openings, retry_after) for b in self.both]  # type: ignore[arg-type]
        assert told[0] == told[1]
        after = self.both[0].read([key])[key]
        if told[0]:
            assert (result, after.state) == ("failed", "open")
            self.open_until[key] = self.clock.now + round(after.seconds * 1000)
            self.probing.pop(key, None)
            assert after.seconds >= min(retry_after or RULES.open_for, MOST_OPEN_SECONDS)
        elif before != "closed" and after.state == "closed":
            assert (result, before) == ("ok", "half_open")
            del self.open_until[key]
            self.probing.pop(key, None)
        elif result == "released" and not after.seconds:
            self.probing.pop(key, None)

    @rule(seconds=st.sampled_from([0.001, 0.5, 15, 29.999, 30, 60, 61, 3600]))
    def wait(self, seconds: float) -> None:
        self.clock.wait(seconds)

    @invariant()
    def both_look_alike(self) -> None:
        ours, theirs = (breakers.read(KEYS) for breakers in self.both)
        assert ours == theirs
        for key, seen in ours.items():
            if key not in self.open_until:
                assert seen.state == "closed"
                assert seen.failures < RULES.failures
            else:
                assert seen.state == ("open" if self.clock.now < self.open_until[key] else "half_open")


def test_any_course_of_calls(valkey: object) -> None:
    client = redis_client(valkey.url())  # type: ignore[attr-defined]
    try:
        run_state_machine_as_test(
            lambda: Machine(lambda clock: RedisBreakers(client, uuid4().hex, RULES, clock)),
            settings=settings(max_examples=30, stateful_step_count=25, deadline=None),
        )
    finally:
        client.close()


def _probes(url: str, namespace: str, calls: int) -> int:
    """The number of probes that a process of its own is admitted to, of calls in eight threads."""
    client = redis_client(url)
    breakers = RedisBreakers(client, namespace, RULES, lambda: 1_790_000_100_000)
    with ThreadPoolExecutor(8) as threads:
        admissions = list(threads.map(lambda _: breakers.admit(KEYS), range(calls)))
    client.close()
    return sum(isinstance(admission, Admission) and admission.is_probe for admission in admissions)


def test_of_many_processes_and_threads_one_is_the_probe(valkey: object) -> None:
    url, namespace = valkey.url(), uuid4().hex  # type: ignore[attr-defined]
    client = redis_client(url)
    fail(RedisBreakers(client, namespace, RULES, lambda: 1_790_000_000_000))
    client.close()
    with multiprocessing.get_context("spawn").Pool(2) as processes:
        found = processes.starmap(_probes, [(url, namespace, 100)] * 2)
    assert sum(found) == 1


def test_the_clock_of_the_server_counts_without_another(valkey: object) -> None:
    client = redis_client(valkey.url())  # type: ignore[attr-defined]
    breakers = RedisBreakers(client, uuid4().hex, RULES)
    fail(breakers)
    seen = breakers.read(KEYS)["a/one"]
    assert seen.state == "open"
    assert RULES.open_for - 10 < seen.seconds <= RULES.open_for
    client.close()


def test_a_redis_that_is_away_is_an_error_of_the_log() -> None:
    breakers = RedisBreakers(redis.Redis(port=free_port(), retry=None), "x", RULES)
    for work in (lambda: breakers.admit(KEYS), lambda: breakers.report("a", "ok", 0), lambda: breakers.read(KEYS)):
        with pytest.raises(LogDown):
            work()
