"""Faults of one reader, one event or one log line cost the other readers nothing."""

from __future__ import annotations

import errno
import logging
import os
import socket
import threading
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from app.connections.parking import block
from app.domain.cursor import START, Cursor
from app.relay import housekeeping
from app.relay.encoded_log import chunk
from app.relay.event_stream import EventStream, StreamBroken
from app.relay.hub import Hub
from app.relay.sender import RENDERED_BLOCK
from app.relay.stream_connection import Closed, ConnectionState, Reason, StreamConnection, StreamRequest
from app.relay.stream_wait import SILENCE, StreamWait, mark
from app.relay.thread_pool import Job
from tests.fakes.hub import Pause, Place, fill, live_reader
from tests.fakes.relay import client_of
from tests.stack import until

TITLE = b'!data: {"type":"title","title":"Tides"}\n\n'


@pytest.fixture
def place(redis_url: str, tmp_path: Path) -> Iterator[Place]:
    with ExitStack() as stack:
        yield Place(redis_url, tmp_path, stack)


# Held and delivered are two positions


def test_a_notice_behind_undelivered_events_skips_none_for_a_reader_whose_socket_is_full(place: Place) -> None:
    writer, hub = place.writer(), place.hub()
    writer.begin()
    watcher = place.watch_locally(hub)
    assert watcher.take(1) == ["1-0"]
    reader = live_reader(hub)
    until(lambda: place.settled(hub))
    with Pause(hub):
        fill(reader)
        writer.tokens(2)
        client_of(place.url).publish("test:{g}:live", TITLE)
    writer.end()
    assert watcher.rest() == writer.ids(Cursor(1, 0))
    assert watcher.complete
    assert b"".join(watcher.raw).count(b'"Tides"') <= 1


def test_a_notice_stands_behind_the_events_published_before_it(place: Place) -> None:
    writer, hub = place.writer(), place.hub()
    writer.begin()
    watcher = place.watch(hub)
    assert watcher.take(1) == ["1-0"]
    until(lambda: place.settled(hub))
    with Pause(hub):
        writer.tokens(2)
        client_of(place.url).publish("test:{g}:live", TITLE)
        writer.tokens(1)
    body = b"".join(next(chunks) for chunks in [watcher.chunks()] for _ in range(4))
    assert body.index(b"id: 1-2") < body.index(b"Tides") < body.index(b"id: 1-3")


# A failure costs only the reader it belongs to


def test_a_reader_that_fails_leaves_the_others_of_its_round_alone(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[Closed] = []
    writer, hub = place.writer(), place.hub()
    writer.begin()
    watchers = [place.watch(hub, on_close=closed.append) for _ in range(20)]
    stays = place.watch(hub)
    for watcher in [*watchers, stays]:
        assert watcher.take(1) == ["1-0"]
    until(lambda: hub.streams_open == 21 and place.settled(hub))
    close, failures = hub.connections.close, iter(range(1))

    def fail_once(connection: StreamConnection, reason: Reason) -> None:
        for _ in failures:
            raise RuntimeError("a planted failure")
        close(connection, reason)

    monkeypatch.setattr(hub.connections, "close", fail_once)
    with Pause(hub):
        for watcher in watchers:
            watcher.sock.close()
    until(lambda: len(closed) == 20)
    assert sorted(report.reason for report in closed) == ["failed"] + 19 * ["gone"]
    assert hub.stats.failures == 1
    writer.end()
    assert stays.rest() == ["1-1"]


def test_a_posted_call_that_fails_keeps_none_of_the_others_from_being_made(place: Place) -> None:
    writer, hub = place.writer(), place.hub()
    writer.begin()
    place.watch(hub).take(1)

    def fail() -> None:
        raise RuntimeError("a planted failure")

    with Pause(hub):
        hub.loop.post(fail)
        watcher = place.watch(hub)
    writer.end()
    assert watcher.rest() == writer.ids()
    until(lambda: hub.stats.failures == 1)


def test_a_reader_that_cannot_join_is_closed_and_reported(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[Closed] = []
    hub = place.hub()

    def fail(*_: object) -> None:
        raise RuntimeError("a planted failure")

    monkeypatch.setattr(hub.registry, "join", fail)
    watcher = place.watch(hub, on_close=closed.append)
    assert watcher.rest() == []
    assert not watcher.complete
    until(lambda: [report.reason for report in closed] == ["failed"])
    assert hub.streams_open == 0


# One deadline for a whole wait


def wait_for_an_event(hub: Hub, seconds: float) -> bool:
    """Block the thread until an event arrives, as a poll does. False after ``seconds`` without one."""
    request = StreamRequest("g", START, render=mark, heartbeat=SILENCE)
    wait = StreamWait(EventStream(hub, request), "event", time.monotonic() + seconds)
    try:
        block(wait)
        return wait.has_event
    finally:
        wait.close()


def test_a_wait_longer_than_the_heartbeats_ends_at_its_time(place: Place) -> None:
    hub = place.hub(keepalive=0.6)
    place.shelf.add("g", [])
    began = time.monotonic()
    assert wait_for_an_event(hub, 2.0) is False
    assert 2.0 <= time.monotonic() - began < 10
    until(lambda: hub.streams_open == 0)


def test_many_waits_longer_than_the_heartbeats_all_end(place: Place) -> None:
    hub = place.hub(keepalive=0.6)
    place.shelf.add("g", [])
    outcomes: list[bool] = []
    waits = [threading.Thread(target=lambda: outcomes.append(wait_for_an_event(hub, 2.5))) for _ in range(24)]
    for wait in waits:
        wait.start()
    for wait in waits:
        wait.join(20)
    assert outcomes == [False] * 24


# Nothing in the hub's thread blocks


def test_a_log_that_takes_no_lines_stops_no_stream(place: Place) -> None:
    writer, hub = place.writer(), place.hub()
    writer.begin()
    reading, writing = os.pipe()
    handler = logging.StreamHandler(os.fdopen(writing, "w", buffering=1))
    logger = logging.getLogger("tests.stalled")
    logger.addHandler(handler)
    logger.propagate = False

    def write_much(closed: Closed) -> None:
        logger.warning("x" * 100_000)

    leaving = [place.watch(hub, report=write_much) for _ in range(10)]
    stays = place.watch(hub)
    try:
        for watcher in [*leaving, stays]:
            assert watcher.take(1) == ["1-0"]
        for watcher in leaving:
            watcher.sock.close()
        until(lambda: hub.streams_open == 1)
        writer.tokens(3)
        writer.end()
        stays.sock.settimeout(10)
        assert stays.rest() == writer.ids(Cursor(1, 0))
    finally:
        # A thread that still writes to the pipe gets an error, and ends.
        os.close(reading)
        logger.removeHandler(handler)


# A reader that takes nothing


def test_many_blocked_readers_cost_no_more_than_the_rest_of_an_event_each(place: Place) -> None:
    writer, hub = place.writer(), place.hub()
    writer.begin()
    writer.tokens(3000, size=500)
    # A reader with an output format of its own may keep one block of encoded events.
    plain = [place.watch_locally(hub) for _ in range(100)]
    forms = [place.watch_locally(hub, render=lambda cursor, payload: payload + b"\n\n") for _ in range(50)]
    until(lambda: sum(one.state is ConnectionState.BLOCKED for one in connections(hub)) == len(plain + forms))
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        writer.tokens(300, size=500)
        topic = hub.registry.topics[b"test:{g}:live"]
        until(lambda: topic.end == writer.log[-1].cursor)
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 2_000_000, "what is written meanwhile costs the tail, not each reader"
    for connection in connections(hub):
        assert connection.page is None
        assert len(connection.rest) < (2 * RENDERED_BLOCK if connection.render else 1_000)
    writer.end()
    assert plain[0].rest() == writer.ids()
    assert plain[0].complete


def test_a_page_that_comes_for_a_blocked_reader_is_not_kept(place: Place) -> None:
    writer, hub = place.writer(), place.hub()
    writer.begin()
    writer.tokens(3000, size=500)
    first = place.watch(hub, after=Cursor(1, 2990))
    assert len(first.take(10)) == 10
    go = threading.Event()
    read = place.source.read
    place.source.read = lambda key, after, limit: (go.wait(30), read(key, after, limit))[1]  # type: ignore[method-assign]
    late = place.watch_locally(hub)
    until(lambda: len(hub.connections.open) == 2 and connections(hub)[1].state is ConnectionState.BACKFILLING)
    connection = connections(hub)[1]
    fill(connection)
    hub.loop.post(hub.sender.send_notice, connection, chunk(b": ka\n"))
    until(lambda: connection.state is ConnectionState.BLOCKED)
    go.set()
    until(lambda: not hub.backfill._waiting)
    assert connection.page is None
    writer.end()
    assert late.rest() == writer.ids()


def test_a_reader_that_takes_nothing_for_a_minute_is_cut_and_its_place_is_free(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert housekeeping.STALL_SECONDS == 60.0
    # Longer than a busy machine keeps this test from its next step.
    monkeypatch.setattr(housekeeping, "STALL_SECONDS", 5.0)
    writer, hub = place.writer(), place.hub()
    writer.begin()
    closed: list[Closed] = []
    stalled = place.watch_locally(hub, on_close=closed.append)
    slow = place.watch_locally(hub)
    writer.tokens(200, size=500)
    until(lambda: sum(one.state is ConnectionState.BLOCKED for one in connections(hub)) == 2)
    # A reader that takes a little now and then is not disconnected.
    received: list[str] = []
    for _ in range(15):
        received += slow.take(5)
        time.sleep(0.4)
    until(lambda: [report.reason for report in closed] == ["stalled"])
    assert hub.streams_open == 1
    assert hub.stats.stalled == 1
    writer.end()
    assert received + slow.rest() == writer.ids()
    ids = stalled.rest()
    assert ids == writer.ids()[: len(ids)]
    assert not stalled.complete


def connections(hub: Hub) -> list[StreamConnection]:
    return list(hub.connections.open.values())


# Reservations are released


def test_a_place_is_given_back_when_no_socket_can_be_had(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    released: list[str] = []
    hub = place.hub()
    stream = EventStream(hub, StreamRequest("g", START), release=lambda: released.append("place"))

    def none_left(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(socket, "socketpair", none_left)
        with pytest.raises(OSError, match="Too many open files"):
            iter(stream)
    assert released == ["place"]
    stream.close()
    del stream
    assert released == ["place"], "once"


def test_a_place_is_given_back_when_the_hub_cannot_start(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    released: list[str] = []
    hub = place.hub()
    ours, theirs = socket.socketpair()

    def none_left(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "eventfd", none_left)
    stream = EventStream(hub, StreamRequest("g", START), release=lambda: released.append("place"))
    with pytest.raises(OSError, match="Too many open files"):
        stream.adopt(theirs, b"HTTP/1.1 200 OK\r\n\r\n")
    assert released == ["place"]
    assert ours.recv(100) == b"", "its client is not left alone with an open socket"
    ours.close()


def test_a_place_is_given_back_when_a_stream_runs_out_of_descriptors_in_the_hub(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    released: list[str] = []
    hub = place.hub()

    def fail(*_: object) -> None:
        raise RuntimeError("a planted failure")

    monkeypatch.setattr(hub.registry, "join", fail)
    stream = EventStream(hub, StreamRequest("g", START), release=lambda: released.append("place"))
    with pytest.raises(StreamBroken):
        list(stream)
    until(lambda: released == ["place"])


def test_without_threads_a_read_fails_and_is_tried_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    writer, hub = place.writer(), place.hub()
    writer.begin()
    hub.start()
    submit, refusals = hub.reader.readings.submit, iter(range(2))

    def refuse(job: Job) -> None:
        for _ in refusals:
            raise RuntimeError("can't start new thread")
        submit(job)

    monkeypatch.setattr(hub.reader.readings, "submit", refuse)
    watcher = place.watch(hub)
    writer.end()
    assert watcher.rest() == writer.ids()
