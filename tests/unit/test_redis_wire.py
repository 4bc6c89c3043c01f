"""Replies reach their commands for every split of the bytes. test_outbox has the tests with a real server."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app.eventlog.redis_wire import RedisWire, Reply


class Wire(asyncio.Transport):
    """The socket's side: it records the bytes sent and the abort of the connection."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[bytes] = []
        self.broken = False

    def write(self, data: Any) -> None:
        self.sent.append(bytes(data))

    def abort(self) -> None:
        self.broken = True


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
def pipe(wire: Wire) -> RedisWire:
    pipe = RedisWire(lambda: None)
    pipe.connection_made(wire)
    return pipe


ANSWER = b"$3\r\n1-1\r\n$-1\r\n-ERR no\r\n:5\r\n*2\r\n$2\r\nOK\r\n:7\r\n"


@pytest.mark.parametrize("length", [1, 2, 7, 11, len(ANSWER)])
def test_each_write_gets_its_own_replies_in_order(pipe: RedisWire, wire: Wire, length: int) -> None:
    first: list[Reply] = []
    second: list[Reply] = []
    pipe.write([b"a", b"b", b"c"], 3, first.extend)
    pipe.write([b"d", b"e"], 2, second.extend)
    for start in range(0, len(ANSWER), length):
        pipe.data_received(ANSWER[start : start + length])
    assert wire.sent == [b"abc", b"de"]
    assert [*map(str, first)] == ["b'1-1'", "None", "ERR no"]
    assert second == [5, [b"OK", 7]]
    assert not wire.broken


def test_who_hears_a_reply_may_write_at_once(pipe: RedisWire, wire: Wire) -> None:
    heard: list[Reply] = []

    def receive(replies: list[Reply]) -> None:
        heard.extend(replies)
        pipe.write([b"b"], 1, heard.extend)

    pipe.write([b"a"], 1, receive)
    pipe.data_received(b":1\r\n")
    pipe.data_received(b":2\r\n")
    assert heard == [1, 2]
    assert wire.sent == [b"a", b"b"]


def test_what_came_before_nonsense_is_still_heard(pipe: RedisWire, wire: Wire) -> None:
    heard: list[Reply] = []
    pipe.write([b"a", b"b"], 2, heard.extend)
    pipe.data_received(b":1\r\nnonsense\r\n")
    assert heard == [1]
    assert wire.broken


def test_a_reply_nobody_asked_for_breaks_the_connection(pipe: RedisWire, wire: Wire) -> None:
    pipe.data_received(b":1\r\n")
    assert wire.broken
