"""The short way of readers that come back, beside the long way: no request may see a difference."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask, request_started
from hypothesis import settings as runs
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from werkzeug.test import TestResponse

from app.api.auth.tokens import LEEWAY_SECONDS
from app.api.web_process import EXTENSION, WebProcess
from app.config import Settings
from app.eventlog import allowance
from app.store import access
from app.wiring import Resources
from tests.factories import owner
from tests.stack import until

from .conftest import SECRET, Hand, Person, token
from .test_access import digest_of

# A header that the short way leaves to the long one, and that changes nothing in a response.
LONG = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
# Headers that differ between two requests.
OF_ONE_REQUEST = ("x-request-id", "RateLimit", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests", "Date")
POSITIONS = (
    "",
    "?after=0-0",
    "?after=1-1",
    "?after=1-3",
    "?after=7-0",
    "?after=x",
    "?after=1-1&after=1-2",
    "?after=01-1",
)


@contextmanager
def long_ways(app: Flask) -> Iterator[list[str]]:
    """The requests that Flask gets meanwhile."""
    seen: list[str] = []

    def note(sender: Flask, **_: Any) -> None:
        seen.append(sender.name)

    with request_started.connected_to(note, app):
        yield seen


def path_of(made: dict[str, Any]) -> str:
    return f"/api/v1/generations/{made['generation']['id']}/stream"


def head_of(answer: TestResponse) -> tuple[int, list[tuple[str, str]]]:
    return answer.status_code, [pair for pair in answer.headers if pair[0] not in OF_ONE_REQUEST]


def closed(answer: TestResponse) -> TestResponse:
    """The response, and its place given back."""
    answer.close()
    return answer


@pytest.fixture
def ended(alice: Person, resources: Resources) -> str:
    """The path of the stream of an answer that has ended."""
    made = alice.start()
    Hand(resources, made["generation"]["id"]).run("a", "b")
    return path_of(made)


def test_a_known_token_gets_the_response_of_the_long_way_without_flask(app: Flask, alice: Person, ended: str) -> None:
    alice.get("/api/v1/me")
    for query in ("", "?after=0-0", "?after=1-2"):
        with long_ways(app) as seen:
            short = alice.get(ended + query)
        assert seen == []
        long = alice.get(ended + query, headers=LONG)
        assert head_of(short) == head_of(long)
        assert short.data == long.data


def test_a_header_with_the_position_wins_on_both_ways(app: Flask, alice: Person, ended: str) -> None:
    alice.get("/api/v1/me")
    position = {"Last-Event-ID": "1-2"}
    with long_ways(app) as seen:
        short = alice.get(f"{ended}?after=1-0", headers=position)
    assert seen == []
    assert short.data == alice.get(f"{ended}?after=1-0", headers={**position, **LONG}).data


@pytest.mark.parametrize("change", [
    {"headers": {"Last-Event-ID": "nowhere"}},
    {"headers": {"Content-Length": "3"}, "data": b"abc"},
    {"headers": {"Origin": "https://elsewhere.example"}},
    {"headers": {"Host": "a b"}},
    {"headers": {"Host": "a..b"}},
    {"headers": {"Host": f"{'a' * 64}.b"}},
    {"headers": {"Connection": "Upgrade", "Upgrade": "websocket"}},
    {"query_string": "after=1-0&ticket=none"},
])  # fmt: skip
def test_a_request_with_anything_else_takes_the_long_way(
    app: Flask, alice: Person, ended: str, change: dict[str, Any]
) -> None:
    alice.get("/api/v1/me")
    with long_ways(app) as seen:
        closed(alice.get(ended, **change))
    assert len(seen) == 1


def test_a_fault_of_the_service_is_a_problem_under_the_id_of_the_request(
    alice: Person, ended: str, settings: Settings, logged: Callable[[], str]
) -> None:
    """A table that is away is no outage of PostgreSQL: the error is one that nothing expects."""
    alice.get("/api/v1/me")
    with owner(settings.database_url) as cursor:
        cursor.execute("ALTER TABLE generations RENAME TO generations_away")
    try:
        answer = closed(alice.get(ended, headers={"x-request-id": "fault"}))
    finally:
        with owner(settings.database_url) as cursor:
            cursor.execute("ALTER TABLE generations_away RENAME TO generations")
    assert (answer.status_code, answer.headers["x-request-id"]) == (500, "fault")
    assert answer.json["type"].endswith("/problems/internal")
    lines = [json.loads(line) for line in logged().splitlines()]
    failed = [line["event"] for line in lines if line.get("request_id") == "fault" and line["level"] == "error"]
    assert failed == ["short way failed", "request failed"]


def test_a_token_that_is_new_here_is_verified_on_the_short_way(app: Flask, alice: Person, ended: str) -> None:
    other = Person(alice.client, alice.subject, {"Authorization": f"Bearer {token(alice.subject, jti='new')}"})
    with long_ways(app) as seen:
        assert closed(other.get(ended)).status_code == 200
        assert closed(other.get(ended)).status_code == 200
    assert seen == []
    forged = Person(alice.client, alice.subject, {"Authorization": f"Bearer {token(alice.subject, SECRET[::-1])}"})
    with long_ways(app) as seen:
        assert forged.get(ended).status_code == 401
    assert len(seen) == 1


@pytest.mark.parametrize("position", [{}, {"Last-Event-ID": "0-0"}])
def test_both_ways_leave_the_log_line_and_the_counts_of_one_request(
    alice: Person, ended: str, logged: Callable[[], str], position: dict[str, str]
) -> None:
    alice.get("/api/v1/me")

    def counts() -> dict[str, float]:
        lines = alice.get("/metrics").text.splitlines()
        names = (
            "unbroken_http_requests_total{",
            "unbroken_http_request_seconds_count{",
            "unbroken_stream_connects_total{",
        )
        wanted = [line.rpartition(" ") for line in lines if line.startswith(names)]
        return {name: float(value) for name, _, value in wanted if "/stream" in name or "position" in name}

    changes = []
    for headers in ({}, LONG):
        before = counts()
        closed(alice.get(f"{ended}?after=1-1", headers={**headers, **position, "x-request-id": f"n{len(changes)}"}))
        changes.append({name: value - before.get(name, 0) for name, value in counts().items()})
    assert changes[0] == changes[1]
    assert sum(changes[0].values()) == 3
    lines = [json.loads(line) for line in logged().splitlines() if '"request answered"' in line]
    short, long = (next(line for line in lines if line.get("request_id") == name) for name in ("n0", "n1"))
    differing = {"time", "seconds", "request_id", "trace_id", "span_id"}
    assert {k: v for k, v in short.items() if k not in differing} == {
        k: v for k, v in long.items() if k not in differing
    }


def test_a_request_counts_once_whichever_way_it_ends(make_app: Any) -> None:
    app = make_app(ratelimit_reads="6/hour")
    person = Person(app.test_client(), "counted")
    path = path_of(person.start())
    left = []
    # The first verifies the token; the second is handed on, because nobody has this answer.
    for wanted in (path, f"/api/v1/generations/{uuid4()}/stream", path, f"{path}?after=9-0", path, path):
        answer = closed(person.get(wanted))
        left.append((answer.status_code, answer.headers["x-ratelimit-remaining-requests"]))
    assert left == [(200, "5"), (404, "4"), (200, "3"), (400, "2"), (200, "1"), (200, "0")]
    refused = person.get(path)
    assert (refused.status_code, refused.json["type"]) == (429, "/problems/too-many-requests")
    assert int(refused.headers["Retry-After"]) >= 1


def test_a_request_that_is_handed_on_has_the_rest_of_its_time_for_redis(make_app: Any) -> None:
    app = make_app(redis_seconds_per_request=7)
    rest: list[float | None] = []
    app.before_request(lambda: rest.append(allowance.left()))
    person = Person(app.test_client(), "patient")
    person.get("/api/v1/me")
    rest.clear()
    assert person.get(f"/api/v1/generations/{uuid4()}/stream").status_code == 404
    [seconds] = rest
    assert seconds is not None
    assert 0 < seconds < 7
    assert allowance.left() is None


class Machine(RuleBasedStateMachine):
    """Two users, their answers and what may end their access. Each request goes the long way and then the short one."""

    app: Flask
    workers: Resources

    @initialize()
    def begin(self) -> None:
        self.people = [Person(self.app.test_client(), f"user-{uuid4().hex[:8]}") for _ in range(2)]
        self.ids: list[str] = [person.get("/api/v1/me").json["id"] for person in self.people]
        self.answers: list[dict[str, Any]] = []
        self.answer(0)

    # One rule for all moves: Hypothesis leaves whole rules out of many runs.
    @rule(
        move=st.sampled_from(["answer", "read", "read", "read", "delete", "token", "tokens", "block", "expire"]),
        who=st.integers(0, 1),
        which=st.integers(0, 5),
        position=st.sampled_from(POSITIONS),
    )
    def move(self, move: str, who: int, which: int, position: str) -> None:
        answer = self.answers[-1 - which % len(self.answers)]
        if move == "read":
            self.compare(who, answer, position)
            return
        getattr(self, f"end_{move}" if move in ("token", "tokens", "block", "expire") else move)(who)
        for person in range(2):
            self.compare(person, answer, position)

    def answer(self, who: int) -> None:
        sent = self.people[who].post("/api/v1/generations", json={"message": "hello"})
        if sent.status_code == 202:
            self.answers.append(sent.json)
            Hand(self.workers, sent.json["generation"]["id"]).run("a")

    def delete(self, who: int) -> None:
        for answer in self.answers:
            self.people[who].delete(f"/api/v1/conversations/{answer['conversation']['id']}")

    def end_token(self, who: int) -> None:
        with self.process.resources.database.user(self.ids[who]) as tx:
            access.end_token(tx, digest_of(self.people[who]), time.time() + 600)
        self.until_read()
        self.compare(who, self.answers[-1], "")
        self.renew(who)

    def end_tokens(self, who: int) -> None:
        with self.process.resources.database.user(self.ids[who]) as tx:
            access.end_tokens(tx, self.ids[who])
        self.until_read()

    def end_block(self, who: int) -> None:
        with self.process.resources.database.operator() as tx:
            access.block(tx, self.ids[who])
        self.until_read()

    def end_expire(self, who: int) -> None:
        """Present a token that expires within a second, and wait for its end."""
        person, exp = self.people[who], int(time.time()) - LEEWAY_SECONDS + 1
        person.headers["Authorization"] = f"Bearer {token(person.subject, exp=exp)}"
        person.get("/api/v1/me")
        until(lambda: time.time() > exp + LEEWAY_SECONDS + 0.01)

    def renew(self, who: int) -> None:
        person = self.people[who]
        person.headers["Authorization"] = f"Bearer {token(person.subject, jti=uuid4().hex)}"
        person.get("/api/v1/me")

    def until_read(self) -> None:
        """Wait until the process has read what was revoked so far: a few times a second."""
        revocations = self.process.resources.revocations
        now = revocations.clock()
        until(lambda: revocations.clock() - revocations.age > now, what="a read of the revocations")

    def compare(self, who: int, answer: dict[str, Any], position: str) -> None:
        """Both ways answer a request alike."""
        person, path = self.people[who], path_of(answer) + position
        long, short = closed(person.get(path, headers=LONG)), closed(person.get(path))
        assert short.status_code == long.status_code
        if short.status_code >= 400:
            assert {**short.json, "request_id": ""} == {**long.json, "request_id": ""}

    @property
    def process(self) -> WebProcess:
        found: WebProcess = self.app.extensions[EXTENSION]
        return found


def test_the_short_way_opens_nothing_that_the_long_way_refuses(app: Flask, resources: Resources) -> None:
    machine = type("OnThisApplication", (Machine,), {"app": app, "workers": resources})
    run_state_machine_as_test(machine, settings=runs(max_examples=12, stateful_step_count=12, deadline=None))


def test_each_way_takes_one_place_and_gives_it_back(alice: Person, resources: Resources, settings: Settings) -> None:
    path = path_of(alice.start())
    held = f"{settings.redis_namespace}:streams:{alice.get('/api/v1/me').json['id']}"
    opened = [alice.get(path, headers=headers) for headers in ({}, LONG, {}, LONG, {})]
    assert resources.redis.zcard(held) == len(opened)
    assert alice.get(f"/api/v1/generations/{uuid4()}/stream").status_code == 404
    assert alice.get(f"{path}?after=9-0").status_code == 400
    until(lambda: resources.redis.zcard(held) == len(opened), what="the places of the refused given back")
    # The client's end of a connection is closed when nothing refers to its response any more.
    opened.clear()
    until(lambda: resources.redis.zcard(held) == 0, what="every place given back")
