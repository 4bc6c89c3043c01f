"""How many streams a user may have, counted over processes that come and go."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from threading import Event

import pytest

from app.domain.errors import LogDown, Overloaded, TooManyStreams
from app.eventlog import places as shared_places
from app.eventlog.places import PlaceBook
from app.relay import places as relay_places
from app.relay.places import Places
from tests.fakes.proxy import TcpProxy
from tests.fakes.relay import NAMESPACE, client_of
from tests.stack import until

opened: list[Places] = []


def places(url: str, *, limit: int = 100, limit_per_user: int = 2, patience: float = 10) -> Places:
    """One process's count. ``patience``: how long it waits for Redis."""
    opened.append(Places(PlaceBook(client_of(url, patience), NAMESPACE), limit, limit_per_user))
    return opened[-1]


@pytest.fixture(autouse=True)
def _no_process_outlives_its_test() -> Iterator[None]:
    yield
    while opened:
        opened.pop().close()


def take_soon(where: Places, user: str) -> None:
    def taken() -> bool:
        with suppress(TooManyStreams):
            where.take(user)
            return True
        return False

    until(taken, step=0.02)


def counted(url: str, user: str) -> list[float]:
    """Until when each of the user's places counts."""
    with client_of(url) as client:
        return [score for _, score in client.zrange(f"{NAMESPACE}:streams:{user}", 0, -1, withscores=True)]


def test_the_limit_of_a_user_holds_over_all_processes(redis_url: str) -> None:
    here, there = places(redis_url), places(redis_url)
    here.take("alice")
    there.take("alice")
    with pytest.raises(TooManyStreams):
        here.take("alice")
    here.take("bob")


def test_a_place_given_back_is_free_at_once_here_and_soon_elsewhere(redis_url: str) -> None:
    here, there = places(redis_url), places(redis_url)
    first = here.take("alice")
    here.take("alice")
    here.leave("alice", first)
    again = here.take("alice")
    here.leave("alice", again)
    take_soon(there, "alice")


def test_the_places_of_a_process_that_died_come_free(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_places, "TTL_SECONDS", 0.3)
    dead, alive = places(redis_url), places(redis_url)
    dead.take("alice")
    dead.take("alice")
    dead.close()
    time.sleep(0.4)
    alive.take("alice")


def test_a_place_that_is_held_stays_counted(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_places, "RENEW_SECONDS", 0.1)
    here, there = places(redis_url), places(redis_url)
    here.take("alice")
    here.take("alice")
    before = max(counted(redis_url, "alice"))
    until(lambda: min(counted(redis_url, "alice")) > before + 500, what="the renewal of both")
    with pytest.raises(TooManyStreams):
        there.take("alice")


def test_a_refusal_leaves_nothing_behind(redis_url: str) -> None:
    here, there = places(redis_url), places(redis_url)
    names = [here.take("alice"), here.take("alice")]
    for _ in range(5):
        with pytest.raises(TooManyStreams):
            there.take("alice")
    for name in names:
        here.leave("alice", name)
    take_soon(there, "alice")
    there.take("alice")


def test_an_end_that_could_not_be_told_is_told_later(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = places(redis_url), places(redis_url)
    names = [here.take("alice"), here.take("alice")]
    renew = PlaceBook.renew
    failures: list[str] = []

    def fail_once(book: PlaceBook, user: str, *rest: Sequence[str]) -> None:
        if not failures:
            failures.append(user)
            raise LogDown
        renew(book, user, *rest)

    monkeypatch.setattr(PlaceBook, "renew", fail_once)
    for name in names:
        here.leave("alice", name)
    take_soon(there, "alice")
    there.take("alice")
    assert failures == ["alice"]


def test_an_end_that_is_just_being_told_is_known_to_whoever_asks(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = places(redis_url)
    first = here.take("alice")
    here.take("alice")
    renew, telling, told = PlaceBook.renew, Event(), Event()

    def slowly(book: PlaceBook, user: str, *rest: Sequence[str]) -> None:
        telling.set()
        assert told.wait(60)
        renew(book, user, *rest)

    monkeypatch.setattr(PlaceBook, "renew", slowly)
    here.leave("alice", first)
    assert telling.wait(60)
    try:
        here.take("alice")
    finally:
        told.set()
    until(lambda: len(counted(redis_url, "alice")) == 2)


def test_without_redis_each_process_counts_alone() -> None:
    alone = places("redis://127.0.0.1:1/0")
    alone.take("alice")
    alone.take("alice")
    with pytest.raises(TooManyStreams):
        alone.take("alice")
    alone.take("bob")


def test_a_place_that_was_asked_for_and_not_taken_is_given_back(redis_url: str) -> None:
    here, there = places(redis_url), places(redis_url)
    for _ in range(5):
        here.ask("alice").drop()
    asked = here.ask("alice")
    assert not asked.taken
    asked.take()
    assert asked.taken
    asked.drop()
    take_soon(there, "alice")
    take_soon(there, "alice")


def test_a_place_that_is_asked_for_counts_before_it_is_taken(redis_url: str) -> None:
    here, there = places(redis_url), places(redis_url)
    waiting = [here.ask("alice"), here.ask("alice")]
    until(lambda: len(counted(redis_url, "alice")) == 2)
    refused = there.ask("alice")
    with pytest.raises(TooManyStreams):
        refused.take()
    refused.drop()
    names = [asked.take() for asked in waiting]
    assert len(set(names)) == 2


def test_what_redis_forgot_is_told_it_again(redis_url: str) -> None:
    here = places(redis_url)
    with client_of(redis_url) as client:
        client.script_flush()
    here.take("alice")
    here.take("alice")
    with pytest.raises(TooManyStreams):
        here.take("alice")


@pytest.mark.parametrize("act", ["cut", "black_hole"])
def test_a_redis_that_goes_away_between_question_and_answer_refuses_nobody(redis_url: str, act: str) -> None:
    with TcpProxy.before(redis_url) as proxy:
        here = places(proxy.url(redis_url), patience=1)
        here.leave("alice", here.take("alice"))
        proxy.delay(0.3)
        asked = here.ask("alice")
        getattr(proxy, act)()
        asked.take()
        asked.drop()
        proxy.cut()
        proxy.pass_()
        assert here.take("alice")
        here.close()


def test_a_redis_that_hangs_is_tried_once_for_each_question(redis_url: str) -> None:
    with TcpProxy.before(redis_url) as proxy, client_of(proxy.url(redis_url), 1) as client:
        book = PlaceBook(client, NAMESPACE)
        assert book.ask("alice", "one", 9)()
        proxy.black_hole()
        for expected in (0, 1, 1):
            before = proxy.connections
            with pytest.raises(LogDown):
                book.ask("alice", "two", 9)()
            assert proxy.connections - before == expected
        proxy.pass_()
        assert book.ask("alice", "two", 9)()


def test_a_place_is_counted_though_the_connection_was_closed_since_the_last(redis_url: str) -> None:
    with TcpProxy.before(redis_url) as proxy:
        here, there = places(proxy.url(redis_url)), places(redis_url)
        here.take("alice")
        proxy.cut()
        until(lambda: not proxy.open)
        proxy.pass_()
        here.take("alice")
        with pytest.raises(TooManyStreams):
            there.take("alice")


def test_a_full_process_says_so(redis_url: str) -> None:
    full = places(redis_url, limit=3)
    for user in ("a", "b", "c"):
        full.take(user)
    with pytest.raises(Overloaded) as refusal:
        full.take("d")
    assert not isinstance(refusal.value, TooManyStreams)
