"""Answers that clients do not take: their bytes have a bound, and the answer with the most unsent bytes is broken."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass

import pytest

from app.connections.outbox import Outbox
from app.connections.spool import Spool
from app.connections.watch import Watch


@dataclass(frozen=True)
class Connection:
    """A connection as the outbox knows it."""

    name: str
    sock: socket.socket


class Desk:
    """An outbox in which nothing is sent until its descriptors are looked at, and the names of broken connections."""

    def __init__(self, most_bytes: int, held: ExitStack) -> None:
        self.broken: list[str] = []
        poller = held.enter_context(selectors.DefaultSelector())
        self.outbox = Outbox(Watch(poller), lambda conn: self.broken.append(conn.name))
        self.outbox.most_bytes = most_bytes
        self._held = held

    def send(self, name: str, size: int) -> None:
        ours, theirs = socket.socketpair()
        self._held.enter_context(closing(ours))
        self._held.enter_context(closing(theirs))
        spool = Spool()
        spool.write(bytes(size))
        self.outbox.send(Connection(name, ours), spool, lambda: None)

    @property
    def bytes(self) -> int:
        return sum(one.size for one in self.outbox.sendings.values())


@pytest.fixture
def held() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def test_the_largest_of_too_many_unsent_bytes_is_broken(held: ExitStack) -> None:
    desk = Desk(10_000, held)
    for name, size in (("small", 1000), ("first", 4000), ("second", 4000), ("third", 4000)):
        desk.send(name, size)
    assert desk.broken == ["first"]
    assert desk.bytes == 9000


def test_any_number_of_unread_answers_stays_below_the_bound(held: ExitStack) -> None:
    desk = Desk(10_000, held)
    for n in range(50):
        desk.send(str(n), 3000)
        assert desk.bytes <= 10_000
    assert len(desk.broken) == 47


def test_an_answer_that_is_alone_may_be_larger(held: ExitStack) -> None:
    desk = Desk(1000, held)
    desk.send("alone", 5000)
    assert desk.broken == []
    desk.send("other", 500)
    assert desk.broken == ["alone"]
