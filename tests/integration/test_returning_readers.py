"""Readers come back to a real web process, many at once: each gets its stream, and nothing but it."""

from __future__ import annotations

import json
import re
import socket
from contextlib import ExitStack
from uuid import uuid4

from app.domain.events import Snapshot, Token, encode
from tests.stack import Stack, Web, until

READERS = 150
LAST = "id: 1-3\n"
# Headers that differ between two requests.
OWN = re.compile(
    r"(?im)^(x-request-id|date|ratelimit|x-ratelimit-remaining-requests|x-ratelimit-reset-requests):.*\r\n"
)
LONG = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n"


class Reader:
    """A connection of a user."""

    def __init__(self, web: Web, token: str) -> None:
        self._token = token
        port = int(web.url.rpartition(":")[2])
        self.sock = socket.create_connection(("127.0.0.1", port), 60)
        self.received = ""

    def send(self, path: str, more: str = "", version: str = "1.1") -> Reader:
        head = f"GET {path} HTTP/{version}\r\nHost: test\r\nAuthorization: Bearer {self._token}\r\n{more}\r\n"
        self.sock.sendall(head.encode())
        return self

    def until(self, text: str) -> str:
        while text not in self.received:
            data = self.sock.recv(65536).decode()
            assert data, self.received
            self.received += data
        return self.received

    @property
    def head(self) -> str:
        return self.until("\r\n\r\n").partition("\r\n\r\n")[0] + "\r\n"


def begun(stack: Stack) -> str:
    """A running answer with three events behind its snapshot."""
    generation_id = stack.start("Hello", model="offline").generation.id
    stack.resources.log.open(generation_id, 1)
    events = [encode(Snapshot("", "start", 1)), *(encode(Token(f" {n}")) for n in range(3))]
    with stack.resources.database.system() as tx:
        tx.exec_driver_sql("UPDATE generations SET epoch = 1 WHERE id = %(id)s", {"id": generation_id})
    stack.resources.log.append(generation_id, 1, 0, events)
    return generation_id


def test_readers_that_come_back_together_get_their_streams_and_their_heads(stack: Stack) -> None:
    path, token = f"/api/v1/generations/{begun(stack)}/stream", stack.token()
    web = stack.web(workers=1, MAX_STREAMS_PER_USER=1000)
    with ExitStack() as closing:

        def reader() -> Reader:
            made = Reader(web, token)
            closing.callback(made.sock.close)
            return made

        first = reader().send(path)
        assert LAST in first.until(LAST), "the token is known from here on"
        readers = [reader() for _ in range(READERS)]
        for n, one in enumerate(readers):
            one.send(path, f"x-request-id: r{n}\r\n")
        bodies = {one.until(LAST).partition("\r\n\r\n")[2] for one in readers}
        assert len(bodies) == 1
        long = reader().send(path, LONG)
        assert LAST in long.until(LAST)
        assert {OWN.sub("", one.head) for one in readers} == {OWN.sub("", long.head)}
        for n, one in enumerate(readers):
            assert f"x-request-id: r{n}\r\n" in one.head

        # The connection of a request that is handed on goes on.
        again = reader().send(f"/api/v1/generations/{uuid4()}/stream", "x-request-id: none\r\n")
        assert again.head.startswith("HTTP/1.1 404 ")
        again.until("/problems/not-found")
        again.received = ""
        assert LAST in again.send(path).until(LAST)

        old = reader().send(path, version="1.0")
        assert "Transfer-Encoding" not in old.head
        assert LAST in old.until(LAST)

    def answered() -> dict[str, dict[str, object]]:
        lines = [json.loads(line) for line in web.log().splitlines() if '"request answered"' in line]
        return {str(line["request_id"]): line for line in lines}

    lines = until(lambda: len(found := answered()) >= READERS + 5 and found)
    assert {lines[f"r{n}"]["status"] for n in range(READERS)} == {200}
    assert lines["none"]["status"] == 404

    def ends() -> int:
        return sum('"stream ended"' in line for line in web.log().splitlines())

    until(lambda: ends() == READERS + 4, what="the end of each stream")
    held = f"{stack.namespace}:streams:{stack.user.id}"
    until(lambda: stack.resources.redis.zcard(held) == 0, what="every place given back")
