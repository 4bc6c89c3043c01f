"""A hundred connections over three processes end within a second of the end of what opened them, and others go on."""

from __future__ import annotations

import json
import selectors
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from app.domain.audit import SERVICE
from app.domain.commands import StartGeneration, User
from app.domain.session import SignIn
from app.store import access
from app.store.api_keys import KeyRights
from dev.server import free_port
from tests.stack import Stack, Web, until

CONNECTIONS = 100
# Connections of somebody else, beside them.
OTHERS = 12
PROMISED_SECONDS = 1.0
# A machine that runs other tests beside this one may be late by so much: the reader of a hundred connections and three
# processes share it with them. A connection that nobody ends would stay for ever. `make bench ARGS=revoke` measures
# the promised second.
SLACK_SECONDS = 8.0
NOTICE = b'data: {"type":"auth","detail":"access ended"}\n\n'


@pytest.fixture(scope="module")
def webs(module_stack: Stack) -> Iterator[list[Web]]:
    """Three web processes with ports of their own, so that each has its share of the connections."""
    ports = [free_port() for _ in range(3)]
    begin = partial(module_stack.web, 1, 8, MAX_STREAMS_PER_USER=1_000)
    # A process ends with the thread that has started it.
    with ThreadPoolExecutor(3) as pool:
        yield list(pool.map(lambda port: begin(port=port), ports))


@pytest.fixture
def held() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@dataclass(frozen=True)
class Request:
    """A request that stays open. ``object_id`` is the object that a ticket for it names; empty where none opens it."""

    path: str
    object_id: str = ""
    body: bytes = b""

    def text(self, header: str, ticket: str | None) -> bytes:
        """The request as it is sent. ``header`` has the credential; it is left out when there is a ticket."""
        path = self.path if ticket is None else f"{self.path}{'&' if '?' in self.path else '?'}ticket={ticket}"
        head = f"{'POST' if self.body else 'GET'} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        # A change by cookie names the page that sends it.
        head += f"{header}\r\nOrigin: http://localhost\r\n" if ticket is None else ""
        head += f"Content-Type: application/json\r\nContent-Length: {len(self.body)}\r\n" if self.body else ""
        return head.encode() + b"\r\n" + self.body


CHAT = b'{"model": "offline", "messages": [{"role": "user", "content": "hi"}]}'
RESPONSE = b'{"model": "offline", "input": "hi"}'
STREAMED = b'{"model": "offline", "input": "hi", "stream": true}'


@dataclass
class Person:
    """A user with a running answer, and what they present: a header, or a ticket for each object."""

    stack: Stack
    user: User
    header: str
    generation: str
    conversation: str
    tickets: dict[str, str] = field(default_factory=dict)

    @classmethod
    def begin(cls, stack: Stack) -> Person:
        name = f"p{uuid4().hex[:8]}"
        user = stack.resources.users.user(name, None)
        generation = stack.resources.starter.start(user, StartGeneration("hi", model="offline")).generation
        return cls(stack, user, bearer(stack.token(name)), generation.id, generation.conversation_id)

    def requests(self) -> list[Request]:
        """A request of each kind that stays open."""
        streams = [
            Request(f"/api/v1/generations/{self.generation}/stream", self.generation),
            Request(f"/api/v1/conversations/{self.conversation}/events", self.conversation),
            Request("/api/v1/feed", "feed"),
            Request("/api/v1/feed?generations=live", "feed"),
        ]
        if self.tickets:
            return streams
        return [
            *streams,
            Request(f"/api/v1/generations/{self.generation}?wait=30"),
            Request("/v1/chat/completions", body=CHAT),
            Request("/v1/responses", body=RESPONSE),
            Request("/v1/responses", body=STREAMED),
        ]


@dataclass
class Opened:
    """An open connection, and what it has received."""

    sock: socket.socket
    request: Request
    received: bytes = b""
    ended_at: float | None = None

    @property
    def is_stream(self) -> bool:
        """True for a connection whose response has begun."""
        return b"200 OK" in self.received.partition(b"\r\n")[0]

    @property
    def over(self) -> bool:
        """True when the connection is closed, or has a whole response in place of the one that it waited for."""
        return self.ended_at is not None


def connect(web: Web, person: Person, request: Request, held: ExitStack) -> Opened:
    sock = held.enter_context(closing(socket.create_connection(("127.0.0.1", urlsplit(web.url).port or 0), 30)))
    ticket = person.tickets.get(request.object_id)
    sock.sendall(request.text(person.header, ticket))
    return Opened(sock, request)


def open_all(webs: list[Web], person: Person, count: int, held: ExitStack) -> list[Opened]:
    """Open connections of every kind in every process; returns when each of them is open or waits."""
    kinds = person.requests()
    opened = [connect(webs[n % 3], person, kinds[n // 3 % len(kinds)], held) for n in range(count)]
    streams = [one for one in opened if one.request.object_id]
    read(opened, lambda: all(one.is_stream for one in streams))
    with_place = [one for one in opened if "wait=" not in one.request.path]
    until(lambda: streams_of(person) == len(with_place), what="a place for each connection")
    return opened


def streams_of(person: Person) -> int:
    resources = person.stack.resources
    keys = resources.redis.keys(f"{person.stack.namespace}:streams:*{person.user.id}*")
    return sum(resources.redis.zcard(key) for key in keys)


def read(opened: list[Opened], done: Callable[[], bool], seconds: float = 20.0) -> None:
    """Read from all connections until ``done``."""
    deadline = time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        for one in opened:
            if not one.over:
                selector.register(one.sock, selectors.EVENT_READ, one)
        while not done():
            assert time.monotonic() < deadline, [(one.request, one.received[-200:]) for one in opened if not one.over]
            for key, _ in selector.select(0.05):
                one: Opened = key.data
                try:
                    data = one.sock.recv(65536)
                except ConnectionResetError:
                    data = b""
                one.received += data
                if not data:
                    one.ended_at = time.monotonic()
                    selector.unregister(one.sock)


# --- what can end ----------------------------------------------------------------------------------------------------


def end_token(person: Person) -> None:
    digest = sha256(person.header.rpartition(" ")[2].encode()).hexdigest()
    with person.stack.resources.database.user(person.user.id) as tx:
        access.end_token(tx, digest, time.time() + 3600)


def end_tokens(person: Person) -> None:
    with person.stack.resources.database.user(person.user.id) as tx:
        access.end_tokens(tx, person.user.id)


def block(person: Person) -> None:
    with person.stack.resources.database.operator() as tx:
        assert access.block(tx, person.user.id)


def with_key(person: Person) -> Callable[[Person], None]:
    keys = person.stack.resources.api_keys
    made = keys.make(SERVICE, person.user.id, KeyRights("k", frozenset(("generate", "read"))))
    person.header = bearer(made.text)
    return lambda person: keys.end(SERVICE, person.user.id, made.key.id)


def with_session(person: Person) -> Callable[[Person], None]:
    sessions = person.stack.resources.sessions
    begun = sessions.begin(SignIn(person.user.id, "link"), SERVICE)
    person.header = f"Cookie: session={begun.secret}"

    def end(person: Person) -> None:
        assert sessions.end(person.user.id, begun.id, SERVICE)

    return end


def bearer(text: str) -> str:
    return f"Authorization: Bearer {text}"


def with_tickets(person: Person, web: Web, held: ExitStack) -> None:
    """Issue a ticket for each object of the person, for the credential that is presented now."""
    tickets = {}
    for name, wanted in (
        (person.generation, {"generation_id": person.generation}),
        (person.conversation, {"conversation_id": person.conversation}),
        ("feed", {"feed": True}),
    ):
        issued = connect(web, person, Request("/api/v1/stream-tickets", body=json.dumps(wanted).encode()), held)
        read([issued], lambda issued=issued: issued.over)  # type: ignore[misc]
        tickets[name] = json.loads(issued.received.partition(b"\r\n\r\n")[2])["ticket"]
    person.tickets = tickets


def prepare(kind: str, person: Person, web: Web, held: ExitStack) -> Callable[[Person], None]:
    """Give the person a credential of this kind. Returns the call that ends it."""
    credential = kind.removeprefix("ticket of a ")
    ends: dict[str, Callable[[Person], None]] = {"token": end_token, "tokens": end_tokens, "user": block}
    makes = {"key": with_key, "session": with_session}
    end = makes[credential](person) if credential in makes else ends[credential]
    if credential != kind:
        with_tickets(person, web, held)
    return end


KINDS = ["token", "tokens", "user", "key", "session", "ticket of a token", "ticket of a key", "ticket of a session"]


@pytest.mark.parametrize("kind", KINDS)
def test_everything_that_was_opened_ends_within_a_second_in_every_process(
    module_stack: Stack, webs: list[Web], held: ExitStack, kind: str
) -> None:
    person, other = Person.begin(module_stack), Person.begin(module_stack)
    end = prepare(kind, person, webs[0], held)
    opened = open_all(webs, person, CONNECTIONS, held)
    beside = open_all(webs, other, OTHERS, held)
    began = time.monotonic()
    end(person)
    committed = time.monotonic()
    read(opened, lambda: all(one.over for one in opened))
    took = sorted((one.ended_at or 0) - committed for one in opened)
    print(
        f"{kind}: {len(opened)} connections in 3 processes, first {took[0]:.3f} s, median {took[50]:.3f} s,"
        f" last {took[-1]:.3f} s after the commit, which took {committed - began:.3f} s"
    )
    assert took[-1] < PROMISED_SECONDS + SLACK_SECONDS
    for one in opened:
        if one.request.object_id:
            assert NOTICE in one.received, one
        assert b"\r\n0\r\n\r\n" not in one.received or not one.is_stream, "no body ends as if it were complete"
        assert one.is_stream or b" 401 " in one.received[:20], one.received[:300]
    read(beside, lambda: True)
    assert not any(one.over for one in beside)
    # Nothing opens any more, in any process.
    refused = [connect(web, person, person.requests()[0], held) for web in webs]
    read(refused, lambda: all(one.over for one in refused))
    expected = b" 403 " if kind == "user" else b" 401 "
    assert all(expected in one.received[:20] for one in refused), refused
