"""The rig's tools observe and do the things that their names promise."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg2
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from dev.process import Program, wait_until
from tests.chaos.__main__ import settles
from tests.chaos.deployment import Member
from tests.chaos.evidence import read_provider_log
from tests.chaos.exits import ExitWatch
from tests.chaos.history import Exit
from tests.chaos.http import EventParser
from tests.chaos.lanes import may_have_been_late
from tests.chaos.proxy import LOST_COMMIT, Proxies, Proxy
from tests.chaos.rig import Build, Rig
from tests.chaos.runner import Outcome


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that sends every byte back."""
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


def test_a_request_that_is_held_arrives_when_it_flows_again(proxy: Proxy) -> None:
    held = proxy.hold(lambda data: b"write" in data)
    with connect(proxy) as client:
        assert ask(client, b"read") == b"read"
        client.settimeout(0.3)
        with pytest.raises(TimeoutError):
            ask(client, b"write")
        assert held.is_set()
        proxy.flow()
        client.settimeout(60)
        assert client.recv(1000) == b"write"
        assert ask(client, b"write again") == b"write again"


def test_only_an_end_that_the_rig_did_not_cause_is_reported_and_once(tmp_path: Path) -> None:
    exits: list[Exit] = []
    program = Program("sleeper", (sys.executable, "-c", "import time; time.sleep(60)"), tmp_path / "log")
    killed, died = Member("killed", program), Member("died", program)
    watch = ExitWatch(lambda: [killed, died], exits.append)
    for member in (killed, died):
        member.start()
    watch.look()
    assert exits == []
    killed.kill()
    assert died.process
    os.kill(died.pid, signal.SIGKILL)
    died.process.wait(60)
    for _ in range(2):
        watch.look()
    assert [exit_.process for exit_ in exits] == [f"died#{died.pid}"]
    assert "exit code -9" in exits[0].how


def test_a_web_process_that_ends_under_its_master_is_reported(tmp_path: Path) -> None:
    exits: list[Exit] = []
    # A master that reaps its two children and stays.
    master_code = "import os, signal; os.wait(); os.wait(); signal.pause()"
    argv = ("sh", "-c", 'sleep 60 & sleep 61 & exec "$0" -c "$1"', sys.executable, master_code)
    master = Member("web", Program("master", argv, tmp_path / "log"), port=1)
    watch = ExitWatch(lambda: [master], exits.append)
    master.start()
    try:
        assert wait_until(lambda: len(master.children) == 2, 60)
        watch.look()
        ours, other = master.children
        master.expected.add(ours)
        for pid in (ours, other):
            os.kill(pid, signal.SIGKILL)
        assert wait_until(lambda: watch.look() or bool(exits), 10)
        assert [exit_.process for exit_ in exits] == [f"web#{other}"]
    finally:
        master.kill()


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
        ("mix", "no coverage", [], True),
        ("mix-failover", "failed", ["promise"], False),
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


@pytest.mark.parametrize(
    ("outcome", "settled"),
    [
        (Outcome("plant", 100, "", 1, "passed", rules=["rewinds"], figures={"recoveries": []}), True),
        (Outcome("plant", 100, "", 1, "failed", figures={"recoveries": []}), False),
        (Outcome("plant", 100, "", 1, "failed", violations=["web-a is not ready"]), True),
    ],
    ids=["found", "found by nobody", "the rig broke"],
)
def test_only_a_planted_bug_that_nothing_found_is_run_again(outcome: Outcome, settled: bool) -> None:
    assert settles(outcome) is settled
