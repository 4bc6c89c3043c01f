"""The hub with a real Valkey: sockets receive every event once and in order, also while Redis fails."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from signal import SIGCONT, SIGSTOP

import pytest

from app.domain import sse
from app.domain.cursor import START, Cursor
from app.domain.events import Token, encode
from app.relay import backfill, topics
from app.relay.connections import DRAIN_SECONDS
from app.relay.fan_out import PIECE
from app.relay.housekeeping import TICK_SECONDS
from app.relay.hub import Hub
from app.relay.log_cursor import Render
from app.relay.stream_connection import Closed, ConnectionState, StreamConnection
from app.relay.substreams import Multiplexer
from dev.valkey import Valkey
from tests.fakes.hub import Place
from tests.fakes.relay import client_of
from tests.stack import until


@pytest.fixture
def place(redis_url: str, tmp_path: Path) -> Iterator[Place]:
    with ExitStack() as stack:
        yield Place(redis_url, tmp_path, stack)


@pytest.fixture
def own_valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """A Valkey of this module's own: its tests kill, empty and freeze it."""
    server = Valkey(tmp_path_factory.mktemp("own"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def frail(own_valkey: Valkey, tmp_path: Path) -> Iterator[Place]:
    with ExitStack() as stack:
        yield Place(own_valkey.url(), tmp_path, stack)


def later(action: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=action)
    thread.start()
    return thread


def test_a_reader_from_the_start_gets_replay_and_live_and_a_clean_end(place: Place) -> None:
    writer, hub = place.writer(), place.hub()
    writer.begin()
    writer.tokens(20)
    watcher = place.watch(hub)
    assert watcher.take(21) == writer.ids()
    writer.tokens(5)
    writer.end()
    assert watcher.rest() == writer.ids(Cursor(1, 20))
    assert watcher.complete
    assert watcher.sock.recv(1) == b"", "the connection is closed behind the last chunk"


def test_a_resumed_reader_gets_exactly_what_is_past_its_cursor(place: Place) -> None:
    writer, hub = place.writer(), place.hub()
    writer.begin()
    writer.tokens(50)
    watchers = [place.watch(hub, after=Cursor(1, n)) for n in (40, 3, 50, 0)] + [place.watch(hub)]
    writer.tokens(10)
    writer.end()
    for watcher, after in zip(watchers, [Cursor(1, 40), Cursor(1, 3), Cursor(1, 50), Cursor(1, 0), START], strict=True):
        assert watcher.rest() == writer.ids(after)
        assert watcher.complete


def test_the_payload_is_what_the_worker_wrote_byte_for_byte(place: Place) -> None:
    writer, hub = place.writer(), place.hub()
    writer.begin()
    writer.write(Token("ü\n\r\u2028\u0000 'quoted' \\ 🦉"))
    writer.end()
    watcher = place.watch(hub)
    assert [json.loads(event.data) for event in watcher.events()] == [json.loads(e.payload) for e in writer.log]


def test_a_reader_of_a_queued_generation_hears_its_place_and_then_the_answer(place: Place) -> None:
    writer, hub = place.writer(), place.hub()
    place.shelf.add("g", [])
    place.shelf.queue("g", 3)
    watcher = place.watch(hub)
    events = watcher.events()
    assert json.loads(next(events).data) == {"type": "queued", "position": 3}
    place.shelf.queue("g", 2)
    assert json.loads(next(events).data) == {"type": "queued", "position": 2}
    writer.begin()
    writer.end()
    assert [event.id for event in events] == ["1-0", "1-1"]


def test_a_takeover_shows_the_end_of_the_old_revision_to_every_reader(place: Place) -> None:
    writer, hub = place.writer(), place.hub()
    writer.begin()
    writer.tokens(5)
    watchers = [place.watch(hub), place.watch(hub, after=Cursor(1, 2))]
    assert watchers[0].take(6) == writer.ids()
    assert watchers[1].take(3) == writer.ids(Cursor(1, 2))
    writer.begin()
    writer.tokens(3)
    writer.end()
    for watcher in watchers:
        assert watcher.rest() == ["2-0", "2-1", "2-2", "2-3", "2-4"]


def test_a_lost_notification_is_read_from_the_log(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    writer, hub = place.writer(), place.hub()
    writer.begin()
    watcher = place.watch(hub)
    assert watcher.take(1) == ["1-0"]
    until(lambda: place.settled(hub))
    hear = hub.registry.on_message

    def lose_one(channel: bytes, message: bytes) -> None:
        if not message.startswith(b"1-1 "):
            hear(channel, message)

    monkeypatch.setattr(hub.registry, "on_message", lose_one)
    writer.tokens(3)
    writer.end()
    assert watcher.rest() == ["1-1", "1-2", "1-3", "1-4"]
    assert hub.stats.resyncs > 0


def test_a_thousand_followers_get_every_event_exactly_once(place: Place) -> None:
    writer, hub = place.writer(), place.hub()
    writer.begin()
    watchers = [place.watch(hub) for _ in range(1000)]
    until(lambda: hub.streams_open == 1000)
    for _ in range(20):
        writer.tokens(2)
        time.sleep(0.01)
    writer.end()
    for watcher in watchers:
        assert watcher.rest() == writer.ids()
        assert watcher.complete
    until(lambda: hub.streams_open == 0)
    assert hub.stats.frames_sent == 1000 * len(writer.log)


def blocked(hub: Hub) -> list[StreamConnection]:
    """The connections whose client does not read."""
    return [one for one in list(hub.connections.open.values()) if one.state is ConnectionState.BLOCKED]


def costs_nothing(blocked: list[StreamConnection]) -> bool:
    """True if some reader is blocked, and each blocked one keeps no more than the rest of an event."""
    return bool(blocked) and all(len(reader.rest) < 2000 and reader.page is None for reader in blocked)


def test_a_slow_reader_is_given_everything_and_costs_next_to_nothing(place: Place) -> None:
    writer, hub = place.writer(), place.hub()
    writer.begin()
    slow, quick = place.watch(hub), place.watch(hub)
    reading = later(quick.rest)
    for _ in range(150):
        writer.tokens(100, size=500)
    topic = hub.registry.topics[b"test:{g}:live"]
    # The quick reader may still be catching up, with pages of its own.
    until(lambda: topic.end == writer.log[-1].cursor and topic.tail.size <= backfill.TAIL_BYTES)
    until(
        lambda: costs_nothing(
            [one for one in list(hub.connections.open.values()) if one.state is ConnectionState.BLOCKED]
        )
    )
    writer.end()
    assert slow.rest() == writer.ids()
    assert slow.complete
    reading.join()


def test_a_reader_the_tail_does_not_reach_catches_up_from_the_log(place: Place) -> None:
    writer, hub = place.writer(), place.hub()
    writer.begin()
    writer.tokens(3000, size=500)
    resumed = place.watch(hub, after=Cursor(1, 2990))
    assert len(resumed.take(10)) == 10
    early = [place.watch(hub) for _ in range(3)]
    reading = [later(lambda watcher=watcher: watcher.take(3001)) for watcher in early[1:]]
    assert early[0].take(3001) == writer.ids()
    for thread in reading:
        thread.join()
    writer.end()
    for watcher in [*early, resumed]:
        assert watcher.rest() == ["1-3001"]


def test_a_cursor_ahead_of_the_log_waits_and_spoils_nothing_for_others(place: Place) -> None:
    writer, hub = place.writer(), place.hub()
    writer.begin()
    writer.tokens(5)
    ahead = place.watch(hub, after=Cursor(1, 8))
    until(lambda: hub.streams_open == 1)
    ordinary = place.watch(hub)
    assert ordinary.take(6) == writer.ids()
    writer.tokens(5)
    writer.end()
    assert ahead.rest() == ["1-9", "1-10", "1-11"]
    assert ordinary.rest() == writer.ids(Cursor(1, 5))


def test_a_deleted_generation_breaks_its_streams(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics, "IDLE_SECONDS", 0.5)
    writer, hub = place.writer(), place.hub()
    writer.begin()
    watcher = place.watch(hub)
    assert watcher.take(1) == ["1-0"]
    (place.shelf.directory / "g").unlink()
    assert watcher.rest() == []
    assert not watcher.complete


def test_the_end_is_found_though_nobody_published_it(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics, "IDLE_SECONDS", 0.5)
    writer, hub = place.writer(), place.hub()
    writer.begin()
    watcher = place.watch(hub)
    assert watcher.take(1) == ["1-0"]
    until(lambda: place.settled(hub))
    monkeypatch.setattr(hub.registry, "on_message", lambda channel, message: None)
    writer.end()
    assert watcher.rest() == ["1-1"]
    assert watcher.complete


def test_what_nobody_published_is_found_before_the_end(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics, "IDLE_SECONDS", 0.5)
    writer, hub = place.writer(), place.hub()
    writer.begin()
    watcher = place.watch(hub)
    assert watcher.take(1) == ["1-0"]
    until(lambda: place.settled(hub))
    monkeypatch.setattr(hub.registry, "on_message", lambda channel, message: None)
    writer.tokens(3)
    assert watcher.take(3) == ["1-1", "1-2", "1-3"]


def test_a_quiet_stream_gets_heartbeats_that_no_parser_takes_for_an_event(place: Place) -> None:
    writer, hub = place.writer(), place.hub(keepalive=1.0)
    writer.begin()
    watcher = place.watch(hub)
    assert watcher.take(1) == ["1-0"]
    began = time.monotonic()
    assert next(watcher.chunks()) == b": ka\n"
    assert next(watcher.chunks()) == b": ka\n"
    writer.end()
    assert watcher.rest() == ["1-1"]
    # One heartbeat may have been on its way, and the hub looks for due ones only once per tick.
    assert watcher.raw.count(b": ka\n") <= 2 + (time.monotonic() - began) / (1.0 - TICK_SECONDS)


def test_a_stream_whose_token_expires_says_so_and_is_broken(place: Place) -> None:
    writer, hub = place.writer(), place.hub()
    writer.begin()
    watcher = place.watch(hub, expires_at=time.time() + 0.7)
    *said, last = [json.loads(event.data)["type"] for event in watcher.events()]
    assert (said in ([], ["snapshot"]), last) == (True, "auth")
    assert not watcher.complete


def test_a_revoked_stream_says_so_and_is_broken_and_others_go_on(place: Place) -> None:
    closed: list[Closed] = []
    writer, hub = place.writer(), place.hub()
    writer.begin()
    proved_at = time.monotonic()
    revoked = place.watch(hub, revocables=frozenset({"user 1", "key 1"}), on_close=closed.append)
    other = place.watch(hub, revocables=frozenset({"user 1", "key 2"}))
    assert revoked.take(1) == other.take(1)
    hub.revoker.revoke(frozenset({"key 1", "key 3"}))
    assert [json.loads(event.data) for event in revoked.events()] == [{"type": "auth", "detail": "access ended"}]
    assert not revoked.complete
    assert [one.reason for one in closed] == ["revoked"]
    late = place.watch(hub, revocables=frozenset({"user 1", "key 1"}), proved_at=proved_at, on_close=closed.append)
    assert [json.loads(event.data)["type"] for event in late.events()] == ["auth"]
    assert [one.reason for one in closed] == ["revoked", "revoked"]
    # Proved afterwards: a token, for one, that was issued after all earlier ones were ended.
    again = place.watch(hub, revocables=frozenset({"user 1", "key 1"}))
    assert again.take(1)
    writer.end()
    assert other.rest()
    assert other.complete
    hub.revoker.revoke_everything()
    until(lambda: hub.streams_open == 0)


def test_the_head_comes_first_and_the_report_last(place: Place) -> None:
    closed: list[Closed] = []
    writer, hub = place.writer(), place.hub()
    writer.begin()
    writer.tokens(3)
    watcher = place.watch(hub, prefix=b"5\r\nhello\r\n", on_close=closed.append)
    chunks = watcher.chunks()
    assert next(chunks) == b"hello"
    until(lambda: len(hub.registry.topics) == 1 and bool(hub.registry.topics[b"test:{g}:live"].live))
    writer.tokens(2)
    writer.end()
    received = b"hello" + b"".join(chunks)
    until(lambda: bool(closed))
    report = closed[0]
    assert (report.generation_id, report.reason, report.events) == ("g", "done", 7)
    assert report.bytes >= len(received)


def test_a_client_that_leaves_is_forgotten_at_once(place: Place) -> None:
    closed: list[Closed] = []
    writer, hub = place.writer(), place.hub()
    writer.begin()
    watcher = place.watch(hub, on_close=closed.append)
    watcher.take(1)
    watcher.sock.close()
    # The hub notices the closed socket long before a heartbeat fails.
    until(lambda: closed, 10)
    assert ([report.reason for report in closed], hub.streams_open) == (["gone"], 0)


def test_draining_breaks_every_stream_within_a_second_and_every_later_one_at_once(place: Place) -> None:
    writer, hub = place.writer(), place.hub()
    writer.begin()
    watchers = [place.watch(hub) for _ in range(100)]
    for watcher in watchers:
        watcher.take(1)
    begun = time.monotonic()
    hub.drain()
    ends = []
    for watcher in watchers:
        assert watcher.rest() == []
        assert not watcher.complete
        ends.append(time.monotonic() - begun)
    # The bound is wider than DRAIN_SECONDS, for a busy machine.
    assert DRAIN_SECONDS < 1
    assert max(ends) < 10
    assert hub.drained.wait(30)
    late = place.watch(hub, prefix=b"2\r\nhi\r\n")
    assert next(late.chunks()) == b"hi"
    assert late.rest() in ([], ["1-0"])
    assert not late.complete


def test_another_protocol_gets_its_own_form_from_the_same_hub(place: Place) -> None:
    writer, hub = place.writer(), place.hub()
    writer.begin()
    writer.tokens(3)

    def render(cursor: Cursor, payload: bytes) -> bytes:
        return b"data: %d\n\n" % cursor.n if cursor.n % 2 else b""

    watcher = place.watch(hub, render=render)
    chunks = watcher.chunks()
    assert next(chunks) == b"data: 1\n\ndata: 3\n\n"
    writer.tokens(2)
    assert next(chunks) == b"data: 5\n\n"
    writer.end()
    assert list(chunks) == []
    assert watcher.complete


def test_a_slow_reader_of_another_form_misses_nothing_and_gets_nothing_twice(place: Place) -> None:
    writer, hub = place.writer(), place.hub()
    writer.begin()

    def render(cursor: Cursor, payload: bytes) -> bytes:
        return b"%d:%b;" % (cursor.n, b"x" * 30_000)

    watcher = place.watch(hub, render=render)
    chunks = watcher.chunks()
    heard = next(chunks)
    for _ in range(60):
        # The events exceed the socket's buffer, and the reader does not read.
        writer.tokens(1)
    quick = place.watch(hub)
    writer.end()
    assert quick.rest() == writer.ids()
    told = b"".join([heard, *chunks])
    assert [int(part.partition(b":")[0]) for part in told.split(b";")[:-1]] == list(range(len(writer.ids())))
    assert watcher.complete


def test_a_tail_without_readers_goes_away_and_its_channel_with_it(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(topics, "LINGER_SECONDS", 0.2)
    writer, hub = place.writer(), place.hub()
    writer.begin()
    watcher = place.watch(hub)
    watcher.take(1)
    client = client_of(place.url)
    until(lambda: client.pubsub_channels("test:{g}:*") == [b"test:{g}:live"])
    watcher.sock.close()
    until(lambda: not hub.registry.topics)
    until(lambda: client.pubsub_channels("test:{g}:*") == [])
    again = place.watch(hub)
    writer.end()
    assert again.rest() == writer.ids()


# Redis comes and goes


def test_a_killed_subscription_is_rebuilt_and_nothing_is_missing(place: Place) -> None:
    writer, hub = place.writer(), place.hub()
    writer.begin()
    watcher = place.watch(hub)
    watcher.take(1)
    client = client_of(place.url)
    for _ in range(3):
        client.client_kill_filter(_type="pubsub")
        for _ in range(5):
            writer.tokens(2)
            time.sleep(0.02)
    until(lambda: hub.subscriber.connected and hub.stats.redis_reconnects > 0)
    writer.end()
    assert watcher.rest() == writer.ids(Cursor(1, 0))


def test_redis_killed_and_restarted_costs_no_event(own_valkey: Valkey, frail: Place) -> None:
    writer, hub = frail.writer(), frail.hub()
    writer.begin()
    writer.tokens(10)
    watchers = [frail.watch(hub), frail.watch(hub, after=Cursor(1, 4))]
    watchers[0].take(11)
    own_valkey.kill()
    writer.tokens(10, quiet=True)
    assert watchers[0].take(10) == writer.ids(Cursor(1, 10)), "from the second store, within its pace"
    own_valkey.start()
    writer.tokens(10)
    until(lambda: hub.subscriber.connected)
    writer.tokens(10)
    writer.end()
    assert watchers[0].rest() == writer.ids(Cursor(1, 20))
    assert watchers[1].rest() == writer.ids(Cursor(1, 4))


def test_an_emptied_redis_costs_no_event(place: Place) -> None:
    writer, hub = place.writer(), place.hub()
    writer.begin()
    writer.tokens(10)
    watcher = place.watch(hub)
    watcher.take(11)
    client_of(place.url).flushall()
    late = place.watch(hub, after=Cursor(1, 2))
    writer.tokens(10)
    writer.end()
    assert watcher.rest() == writer.ids(Cursor(1, 10))
    assert late.rest() == writer.ids(Cursor(1, 2))


@pytest.mark.slow
def test_a_frozen_redis_is_noticed_by_the_canary_and_costs_no_event(own_valkey: Valkey, frail: Place) -> None:
    writer, hub = frail.writer(), frail.hub()
    writer.begin()
    watcher = frail.watch(hub)
    watcher.take(1)
    # The first event may come from a read of the log before there is a subscription.
    until(lambda: hub.subscriber.confirmed)
    assert own_valkey.process is not None
    os.kill(own_valkey.process.pid, SIGSTOP)
    try:
        until(lambda: hub.stats.canary_failures > 0)
        entries = [Token(f"while frozen {n}") for n in range(3)]
        frail.shelf.add("g", [])
        writer.write(*entries, quiet=True)
        assert watcher.take(3) == ["1-1", "1-2", "1-3"]
    finally:
        os.kill(own_valkey.process.pid, SIGCONT)
    until(lambda: hub.subscriber.connected)
    writer.tokens(5)
    writer.end()
    assert watcher.rest() == writer.ids(Cursor(1, 3))


def test_without_redis_from_the_first_moment_streams_are_served_from_the_second_store(tmp_path: Path) -> None:
    with ExitStack() as stack:
        place = Place("redis://127.0.0.1:1/0", tmp_path, stack)
        place.shelf.add("g", [])
        watcher = place.watch(place.hub())
        writer = place.writer()
        writer.log = []
        writer.epoch = 1
        writer.write(Token("a"), Token("b"), quiet=True)
        assert watcher.take(2) == ["1-0", "1-1"]
        writer.end(quiet=True)
        assert watcher.rest() == ["1-2"]
        assert watcher.complete


def test_messages_of_strangers_on_the_channel_do_no_harm(place: Place) -> None:
    writer, hub = place.writer(), place.hub()
    writer.begin()
    watcher = place.watch(hub)
    watcher.take(1)
    client = client_of(place.url)
    for message in (b"", b"nonsense", b"1-x {}", b"9-0 {}", b"1-7 " + encode(Token("false"))):
        client.publish("test:{g}:live", message)
    writer.tokens(3)
    writer.end()
    assert watcher.rest()[:3] == ["1-1", "1-2", "1-3"]


def test_a_notice_is_sent_beside_the_log_and_only_to_those_who_read_it_as_it_is(place: Place) -> None:
    writer, hub = place.writer(), place.hub()
    writer.begin()
    plain, other = place.watch(hub), place.watch(hub, render=lambda cursor, payload: b"data: %d\n\n" % cursor.n)
    plain.take(1)
    next(other.chunks())
    until(lambda: place.settled(hub))
    client_of(place.url).publish("test:{g}:live", b'!data: {"type":"title","title":"Tides"}\n\n')
    writer.tokens(3)
    writer.end()
    events = list(plain.events())
    assert [event.id for event in events if event.id] == writer.ids(Cursor(1, 0))
    assert [json.loads(event.data) for event in events if not event.id] == [{"type": "title", "title": "Tides"}]
    assert b"title" not in b"".join(other.chunks())
    assert hub.stats.resyncs == 0


# Several logs on one socket


def several_logs(hub: Hub, begun: list[tuple[str, Cursor]]) -> Multiplexer:
    """A multiplexer over logs with names; a token ``+name`` of the first log adds the log of that name."""

    def show(key: str) -> Render:
        return lambda cursor, payload: b"data: %b\nid: %b %d-%d\n\n" % (payload, key.encode(), *cursor)

    def leads(payload: bytes) -> str | None:
        content = str(json.loads(payload).get("content", ""))
        return content[1:] if content.startswith("+") else None

    return Multiplexer(hub.log_type, show, leads, begun)


def by_log(ids: list[str]) -> dict[str, list[str]]:
    """The cursors of each log in the order of their arrival; the key of the reader's own log is an empty text."""
    found: dict[str, list[str]] = {}
    for id in ids:
        key, _, cursor = id.rpartition(" ")
        found.setdefault(key, []).append(cursor)
    return found


def test_substreams_go_out_beside_their_readers_log_each_whole_and_in_order(place: Place) -> None:
    own, early, late = place.writer("own"), place.writer("early"), place.writer("late")
    hub = place.hub()
    for writer in (own, early, late):
        writer.begin()
    early.tokens(5)
    watcher = place.watch(hub, "own", render=sse.frame, multiplexer=several_logs(hub, [("early", Cursor(1, 2))]))
    # A log that was given at the start may be added once more.
    own.write(Token("+early"), Token("+late"))
    for _ in range(20):
        early.tokens(1)
        late.tokens(2)
        own.tokens(1)
    early.end()
    late.end()
    ids = watcher.take(23 + 24 + 42)
    assert by_log(ids) == {"": own.ids(), "early": early.ids(Cursor(1, 2)), "late": late.ids()}
    assert ids.index("1-2") < ids.index("late 1-0"), "it comes behind what told of it"
    until(lambda: sum(topic.readers for topic in list(hub.registry.topics.values())) == 1)


def test_a_slow_reader_of_several_logs_misses_nothing_and_its_substreams_cost_nothing(place: Place) -> None:
    own, one, two = place.writer("own"), place.writer("one"), place.writer("two")
    hub = place.hub()
    for writer in (own, one, two):
        writer.begin()
    multiplexer = several_logs(hub, [("one", START), ("two", START)])
    slow = place.watch(hub, "own", render=sse.frame, multiplexer=multiplexer)
    until(lambda: len(multiplexer.carried) == 2)
    for _ in range(150):
        one.tokens(50, size=1000)
        two.tokens(50, size=1000)
        own.tokens(1)
    [reader] = hub.connections.open.values()
    until(lambda: reader.state is ConnectionState.BLOCKED)
    until(lambda: all(not one.rest and one.page is None for one in list(multiplexer.carried.values())))
    assert len(reader.rest) <= 2 * PIECE
    one.end()
    two.end()
    ids = slow.take(sum(len(writer.ids()) for writer in (own, one, two)))
    assert by_log(ids) == {"": own.ids(), "one": one.ids(), "two": two.ids()}


def test_a_reader_of_several_logs_that_leaves_leaves_all_of_them(place: Place) -> None:
    own, one = place.writer("own"), place.writer("one")
    hub = place.hub()
    own.begin()
    one.begin()
    watcher = place.watch(hub, "own", render=sse.frame, multiplexer=several_logs(hub, [("one", START)]))
    watcher.take(2)
    watcher.sock.close()
    until(lambda: sum(topic.readers for topic in list(hub.registry.topics.values())) == 0)
    one.tokens(3)
    until(lambda: hub.streams_open == 0)


def test_several_logs_survive_an_emptied_redis(place: Place) -> None:
    own, one = place.writer("own"), place.writer("one")
    hub = place.hub()
    own.begin()
    one.begin()
    watcher = place.watch(hub, "own", render=sse.frame, multiplexer=several_logs(hub, [("one", START)]))
    one.tokens(10)
    assert len(watcher.take(12)) == 12
    client_of(place.url).flushall()
    one.tokens(10)
    own.tokens(1)
    one.end()
    assert by_log(watcher.take(12)) == {"": ["1-1"], "one": one.ids(Cursor(1, 10))}


def test_a_quiet_reader_of_several_logs_gets_heartbeats_and_the_end_of_its_token(place: Place) -> None:
    own, one = place.writer("own"), place.writer("one")
    hub = place.hub(keepalive=0.2)
    own.begin()
    one.begin()
    quiet = place.watch(hub, "own", render=sse.frame, multiplexer=several_logs(hub, [("one", START)]))
    assert b": ka\n" in quiet.chunks()
    brief = place.watch(
        hub, "own", render=sse.frame, multiplexer=several_logs(hub, [("one", START)]), expires_at=time.time() + 1
    )
    told = b"".join(brief.chunks())
    assert told.endswith(b'data: {"type":"auth","detail":"token expired"}\n\n')
    assert not brief.complete
