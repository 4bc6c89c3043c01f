"""The peers of the benchmark: their clients, what a run leaves out, and figures without a target."""

from __future__ import annotations

import http.client
import json
import re
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from bench import connects, relay, resume
from bench.designs import DESIGNS
from bench.figures import Figure, Run
from bench.publishers import Appends, tnetstring
from bench.pushpin import origin
from bench.stores import CannotMeasure, Stores

ROOT = Path(__file__).resolve().parents[2]
LATER = {"pushpin", "durable-streams", "granian wsgi", "granian rsgi hub"}
STORES = Stores("", "", 0, "", Path(), 0, 0)
ACCEPTED = b"HTTP/1.1 204 No Content\r\nStream-Next-Offset: 0_1\r\n\r\n"


def test_a_message_for_pushpin_names_the_length_of_each_part() -> None:
    assert tnetstring(b"data: 1") == b"7:data: 1,"
    assert tnetstring({b"channel": b"3", b"formats": {b"a": b""}}) == b"34:7:channel,1:3,7:formats,7:1:a,0:,}}"


def test_the_application_behind_pushpin_holds_a_request_on_the_channel_of_its_path() -> None:
    with origin() as port, closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request("GET", "/17")
        reply = connection.getresponse()
        assert (reply.headers["Grip-Hold"], reply.headers["Grip-Channel"], reply.read()) == (
            "stream",
            "17",
            b": hi\n\n",
        )


class Accepting:
    """The server's end of one connection of Appends."""

    def __init__(self, listening: socket.socket) -> None:
        self.listening = listening
        self.port = str(listening.getsockname()[1])

    def accept(self) -> None:
        self.connection, _ = self.listening.accept()
        self.connection.settimeout(10)
        self.text = b""

    def read(self) -> list[dict[str, int]]:
        """The messages of the next request."""
        while not (found := re.search(rb"Content-Length: (\d+)\r\n\r\n(.*)", self.text, re.DOTALL)):
            self.text += self.connection.recv(1000)
        body, length = found[2], int(found[1])
        while len(body) < length:
            body += self.connection.recv(1000)
        self.text = body[length:]
        return json.loads(body[:length])  # type: ignore[no-any-return]

    def reply(self, reply: bytes = ACCEPTED) -> None:
        self.connection.sendall(reply)

    def is_silent(self) -> bool:
        self.connection.setblocking(False)
        try:
            return not self.connection.recv(1000)
        except BlockingIOError:
            return True
        finally:
            self.connection.settimeout(10)


@pytest.fixture
def server() -> Iterator[Accepting]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        accepting = Accepting(listening)
        yield accepting
        accepting.connection.close()


def test_tokens_that_come_before_the_reply_are_appended_together_and_in_order(server: Accepting) -> None:
    appends = Appends(server.port, 1)
    server.accept()
    appends.send([(0, b'{"n":1}')])
    assert server.read() == [{"n": 1}]
    appends.send([(0, b'{"n":2}'), (0, b'{"n":3}')])
    appends.send([(0, b'{"n":4}')])
    assert server.is_silent()
    server.reply()
    while not server.text:
        appends.send([])
        server.text = _received(server)
    assert server.read() == [{"n": 2}, {"n": 3}, {"n": 4}]
    server.reply()
    appends.finish()
    assert server.is_silent()


def test_a_request_has_no_more_tokens_than_it_may(server: Accepting) -> None:
    appends = Appends(server.port, 1, most=1)
    server.accept()
    appends.send([(0, b'{"n":1}'), (0, b'{"n":2}')])
    assert server.read() == [{"n": 1}]
    assert server.is_silent()


def test_a_refused_append_ends_the_producer(server: Accepting) -> None:
    appends = Appends(server.port, 1)
    server.accept()
    appends.send([(0, b"1")])
    server.reply(b"HTTP/1.1 409 Conflict\r\n\r\n")
    with pytest.raises(ConnectionError, match="409"):
        appends.finish()


def _received(server: Accepting) -> bytes:
    server.connection.setblocking(False)
    try:
        return server.connection.recv(1000)
    except BlockingIOError:
        return b""
    finally:
        server.connection.settimeout(10)


def test_the_quick_form_leaves_out_the_peers_that_ci_cannot_afford() -> None:
    assert set(DESIGNS) >= LATER
    for case in relay.CASES:
        assert set(case.quick) <= set(DESIGNS) - LATER
    assert set(resume.QUICK_DESIGNS) <= set(resume.DESIGNS) - LATER
    assert set(connects.QUICK_DESIGNS) == {name for name in connects.DESIGNS if "granian" not in name}


def test_every_target_has_its_peer() -> None:
    for case in relay.CASES:
        assert {aim.peer for aim in case.aims} <= set(DESIGNS)
    assert set(resume.TARGETS) <= set(resume.DESIGNS)
    assert {f"{server}, empty" for server in connects.TARGETS} <= set(connects.DESIGNS)


def test_a_figure_without_a_target_is_a_comparison_and_fails_nothing() -> None:
    run = Run(STORES, quick=True, rounds_wanted=1)
    run.add(Figure("CPU per delivered token", [700.0], None, "pushpin"))
    [figure] = run.figures
    assert (figure.met, figure.bearable, figure.verdict) == (True, True, "")
    assert figure.line() == "700 of pushpin's"
    assert run.complaints == []


def test_a_run_measures_the_product_beside_the_peers_that_are_named() -> None:
    names = ["unbroken", "unbroken, finished", "granian wsgi", "granian rsgi hub", "nchan"]
    assert Run(STORES, False, 1).chosen(names) == names
    assert Run(STORES, False, 1, ("granian",)).chosen(names) == names[:4]


def test_a_peer_that_loses_tokens_is_left_out_with_the_reason() -> None:
    run = Run(STORES, quick=False, rounds_wanted=2)

    def measured(name: str) -> relay.Outcome:
        faults = 3 if name == "pushpin" else 0
        return relay.sound(relay.Outcome(name, 10, 10, faults, 1.0, 0.1, 1.0, 1.0, 1.0))

    assert list(run.rounds(["unbroken", "pushpin"], measured)) == ["unbroken"]
    assert run.left_out == {"pushpin": "3 tokens were lost, repeated or refused"}


def test_a_fault_of_the_product_is_no_reason_to_leave_it_out() -> None:
    own = relay.Outcome("unbroken", 10, 10, 1, 1.0, 0.1, 1.0, 1.0, 1.0)
    assert relay.sound(own) is own
    assert not own.exact
    with pytest.raises(CannotMeasure):
        relay.sound(relay.Outcome("c hub", 10, 10, 1, 1.0, 0.1, 1.0, 1.0, 1.0))


def test_every_package_of_the_peers_has_a_reason() -> None:
    reasons = (ROOT / "docs/dependencies.md").read_text()
    lines = (ROOT / "bench/requirements.txt").read_text().splitlines()
    python = [re.split(r"[\[=]", line)[0] for line in lines if not line.startswith("#")]
    node = json.loads((ROOT / "bench/peers/node/package.json").read_text())["dependencies"]
    assert [name for name in [*python, *node] if name not in reasons] == []
