"""The limit on a user's streams, counted over processes that start and die."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from threading import Event

import pytest

from app.domain.errors import LogDown, Overloaded, TooManyStreams
from app.eventlog import expiring_members
from app.eventlog.expiring_members import ExpiringMembers
from app.relay import stream_quota
from app.relay.stream_quota import StreamQuota
from tests.fakes.proxy import TcpProxy
from tests.fakes.relay import NAMESPACE, client_of
from tests.stack import until

opened: list[StreamQuota] = []


def places(url: str, *, limit: int = 100, limit_per_user: int = 2, patience: float = 10) -> StreamQuota:
    """The stream quota of one process, which waits ``patience`` seconds for Redis."""
    opened.append(StreamQuota(ExpiringMembers.of_streams(client_of(url, patience), NAMESPACE), limit, limit_per_user))
    return opened[-1]


@pytest.fixture(autouse=True)
def _no_process_outlives_its_test() -> Iterator[None]:
    yield
    while opened:
        opened.pop().close()


def take_soon(where: StreamQuota, user: str) -> None:
    def taken() -> bool:
        with suppress(TooManyStreams):
            where.acquire(user)
            return True
        return False

    until(taken, step=0.02)


def counted(url: str, user: str) -> list[float]:
    """The expiry of each of the user's places."""
    with client_of(url) as client:
        return [score for _, score in client.zrange(f"{NAMESPACE}:streams:{user}", 0, -1, withscores=True)]


def test_the_limit_of_a_user_holds_over_all_processes(redis_url: str) -> None:
    here, there = places(redis_url), places(redis_url)
    here.acquire("alice")
    there.acquire("alice")
    with pytest.raises(TooManyStreams):
        here.acquire("alice")
    here.acquire("bob")


def test_a_place_given_back_is_free_at_once_here_and_soon_elsewhere(redis_url: str) -> None:
    here, there = places(redis_url), places(redis_url)
    first = here.acquire("alice")
    here.acquire("alice")
    here.release("alice", first)
    again = here.acquire("alice")
    here.release("alice", again)
    take_soon(there, "alice")


def test_the_places_of_a_process_that_died_come_free(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expiring_members, "TTL_SECONDS", 0.3)
    dead, alive = places(redis_url), places(redis_url)
    dead.acquire("alice")
    dead.acquire("alice")
    dead.close()
    time.sleep(0.4)
    alive.acquire("alice")


def test_a_place_that_is_held_stays_counted(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_quota, "RENEW_SECONDS", 0.1)
    here, there = places(redis_url), places(redis_url)
    here.acquire("alice")
    here.acquire("alice")
    before = max(counted(redis_url, "alice"))
    until(lambda: min(counted(redis_url, "alice")) > before + 500, what="the renewal of both")
    with pytest.raises(TooManyStreams):
        there.acquire("alice")


def test_a_refusal_leaves_nothing_behind(redis_url: str) -> None:
    here, there = places(redis_url), places(redis_url)
    names = [here.acquire("alice"), here.acquire("alice")]
    for _ in range(5):
        with pytest.raises(TooManyStreams):
            there.acquire("alice")
    for name in names:
        here.release("alice", name)
    take_soon(there, "alice")
    there.acquire("alice")


def test_an_end_that_could_not_be_told_is_told_later(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = places(redis_url), places(redis_url)
    names = [here.acquire("alice"), here.acquire("alice")]
    renew = ExpiringMembers.renew
    failures: list[str] = []

    def fail_once(book: ExpiringMembers, user: str, *rest: Sequence[str]) -> None:
        if not failures:
            failures.append(user)
            raise LogDown
        renew(book, user, *rest)

    monkeypatch.setattr(ExpiringMembers, "renew", fail_once)
    for name in names:
        here.release("alice", name)
    take_soon(there, "alice")
    there.acquire("alice")
    assert failures == ["alice"]


def test_an_end_that_is_just_being_told_is_known_to_whoever_asks(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = places(redis_url)
    first = here.acquire("alice")
    here.acquire("alice")
    renew, telling, told = ExpiringMembers.renew, Event(), Event()

    def slowly(book: ExpiringMembers, user: str, *rest: Sequence[str]) -> None:
        telling.set()
        assert told.wait(60)
        renew(book, user, *rest)

    monkeypatch.setattr(ExpiringMembers, "renew", slowly)
    here.release("alice", first)
    assert telling.wait(60)
    try:
        here.acquire("alice")
    finally:
        told.set()
    until(lambda: len(counted(redis_url, "alice")) == 2)


def test_without_redis_each_process_counts_alone() -> None:
    alone = places("redis://127.0.0.1:1/0")
    alone.acquire("alice")
    alone.acquire("alice")
    with pytest.raises(TooManyStreams):
        alone.acquire("alice")
    alone.acquire("bob")


def test_a_place_that_was_asked_for_and_not_taken_is_given_back(redis_url: str) -> None:
    here, there = places(redis_url), places(redis_url)
    for _ in range(5):
        here.reserve("alice").release()
    asked = here.reserve("alice")
    assert not asked.acquired
    asked.acquire()
    assert asked.acquired
    asked.release()
    take_soon(there, "alice")
    take_soon(there, "alice")


def test_a_place_that_is_asked_for_counts_before_it_is_taken(redis_url: str) -> None:
    here, there = places(redis_url), places(redis_url)
    waiting = [here.reserve("alice"), here.reserve("alice")]
    until(lambda: len(counted(redis_url, "alice")) == 2)
    refused = there.reserve("alice")
    with pytest.raises(TooManyStreams):
        refused.acquire()
    refused.release()
    names = [asked.acquire() for asked in waiting]
    assert len(set(names)) == 2


def test_what_redis_forgot_is_told_it_again(redis_url: str) -> None:
    here = places(redis_url)
    with client_of(redis_url) as client:
        client.script_flush()
    here.acquire("alice")
    here.acquire("alice")
    with pytest.raises(TooManyStreams):
        here.acquire("alice")


@pytest.mark.parametrize("act", ["cut", "black_hole"])
def test_a_redis_that_goes_away_between_question_and_answer_refuses_nobody(redis_url: str, act: str) -> None:
    with TcpProxy.before(redis_url) as proxy:
        here = places(proxy.url(redis_url), patience=1)
        here.release("alice", here.acquire("alice"))
        proxy.delay(0.3)
        asked = here.reserve("alice")
        getattr(proxy, act)()
        asked.acquire()
        asked.release()
        proxy.cut()
        proxy.pass_()
        assert here.acquire("alice")
        here.close()


def test_a_redis_that_hangs_is_tried_once_for_each_question(redis_url: str) -> None:
    with TcpProxy.before(redis_url) as proxy, client_of(proxy.url(redis_url), 3) as client:
        book = ExpiringMembers.of_streams(client, NAMESPACE)
        assert book.reserve("alice", "one", 9)()
        proxy.black_hole()
        for expected in (0, 1, 1):
            before = proxy.connections
            with pytest.raises(LogDown):
                book.reserve("alice", "two", 9)()
            assert proxy.connections - before == expected
        proxy.pass_()
        assert book.reserve("alice", "two", 9)()


def test_a_place_is_counted_though_the_connection_was_closed_since_the_last(redis_url: str) -> None:
    with TcpProxy.before(redis_url) as proxy:
        here, there = places(proxy.url(redis_url)), places(redis_url)
        here.acquire("alice")
        proxy.cut()
        until(lambda: not proxy.open)
        proxy.pass_()
        here.acquire("alice")
        with pytest.raises(TooManyStreams):
            there.acquire("alice")


def test_a_full_process_says_so(redis_url: str) -> None:
    full = places(redis_url, limit=3)
    for user in ("a", "b", "c"):
        full.acquire(user)
    with pytest.raises(Overloaded) as refusal:
        full.acquire("d")
    assert not isinstance(refusal.value, TooManyStreams)
