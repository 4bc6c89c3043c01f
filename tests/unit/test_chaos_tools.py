"""The rig's own tools: what they claim to see and to do, they see and do."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg2
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from tests.chaos.evidence import read_provider_log
from tests.chaos.http import EventParser
from tests.chaos.lanes import may_have_been_late
from tests.chaos.proxy import LOST_COMMIT, Proxies, Proxy
from tests.chaos.rig import Build, Rig
from tests.chaos.runner import Outcome


@pytest.fixture
def echo() -> Iterator[int]:
    """A server that answers everything with itself."""
    server = socket.create_server(("127.0.0.1", 0))

    def talk(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            while data := connection.recv(1000):
                connection.sendall(data)

    def serve() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=talk, args=(server.accept()[0],), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    yield server.getsockname()[1]
    server.close()


@pytest.fixture
def proxy(echo: int) -> Iterator[Proxy]:
    with Proxies() as proxies:
        yield proxies.add("test", echo, {b"FENCED": "fenced"})


def connect(proxy: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=60)


def ask(client: socket.socket, data: bytes = b"hello") -> bytes:
    client.sendall(data)
    return client.recv(1000)


def test_what_passes_is_counted(proxy: Proxy) -> None:
    with connect(proxy) as client:
        assert ask(client, b"FENCED and FENCED") == b"FENCED and FENCED"
    assert proxy.counts["fenced"] == 2


def test_a_lost_reply_breaks_the_connection_after_the_server_had_the_request(proxy: Proxy) -> None:
    proxy.lose_replies = 1.0
    with connect(proxy) as client, pytest.raises(ConnectionResetError):
        ask(client, b"COMMIT")
    assert proxy.counts[LOST_COMMIT] == 1


def test_a_cut_resets_what_is_open_and_welcomes_what_comes(proxy: Proxy) -> None:
    with connect(proxy) as client:
        ask(client)
        proxy.cut()
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    with connect(proxy) as client:
        assert ask(client) == b"hello"


def test_a_stalled_connection_looks_alive_and_goes_on(proxy: Proxy) -> None:
    with connect(proxy) as client:
        ask(client)
        proxy.stall()
        client.settimeout(0.3)
        with pytest.raises(TimeoutError):
            ask(client, b"more")
        proxy.flow()
        client.settimeout(60)
        assert client.recv(1000) == b"more"


def test_after_a_black_hole_its_connections_are_dead(proxy: Proxy) -> None:
    with connect(proxy) as client:
        ask(client)
        proxy.stall()
        client.sendall(b"lost")
        proxy.heal()
        with pytest.raises(ConnectionResetError):
            client.recv(1000)


EVENTS = (
    b': ka\ndata: {"type":"open"}\n\ndata: {"n":1}\nid: 1-0\n\n: ka\ndata: {"n":"\xc3\xa9"}\nid: 1-1\n\ndata: {"cut'
)


@given(st.lists(st.integers(0, len(EVENTS)), max_size=8).map(sorted))
def test_how_a_stream_is_split_changes_nothing(cuts: list[int]) -> None:
    parser, events = EventParser(), []
    for start, end in zip([0, *cuts], [*cuts, len(EVENTS)], strict=True):
        events += parser.feed(EVENTS[start:end])
    assert events == [(None, b'{"type":"open"}'), ("1-0", b'{"n":1}'), ("1-1", b'{"n":"\xc3\xa9"}')]


@pytest.mark.parametrize(
    ("scenario", "verdict", "rules", "again"),
    [
        ("worker-killed", "failed", ["recovery"], True),
        ("web-killed", "failed", ["promise"], True),
        ("redis-flushed", "no coverage", [], True),
        ("worker-killed", "failed", ["recovery", "rewinds"], False),
        ("redis-flushed", "failed", ["promise"], False),
        ("worker-killed", "failed", [], False),
        ("plant no-fence", "failed", [], False),
        ("worker-killed", "passed", [], False),
    ],
)
def test_only_a_run_that_kept_every_rule_is_tried_again(
    scenario: str, verdict: str, rules: list[str], again: bool
) -> None:
    assert may_have_been_late(Outcome(scenario, 1, "", 1, verdict, rules=rules)) is again


def test_a_store_that_is_not_back_yet_is_asked_until_it_answers(tmp_path: Path) -> None:
    troubles: list[Exception] = [psycopg2.OperationalError("starting up"), redis.BusyLoadingError("loading")]

    def ask() -> str:
        if troubles:
            raise troubles.pop()
        return "answered"

    assert asyncio.run(Rig(tmp_path, 1, Build()).insist(ask)) == "answered"
    assert troubles == []


def test_a_line_the_provider_has_only_half_written_is_not_read(tmp_path: Path) -> None:
    asked = {"event": "begin", "number": 1, "started": 5.0, "first_index": 0, "body": {"messages": []}}
    log = tmp_path / "provider.log"
    log.write_bytes(json.dumps(asked).encode() + b'\n{"event": "begin", "number": 2, "body": "caf\xc3')
    assert [call.number for call in read_provider_log(log, 1)] == [1]
