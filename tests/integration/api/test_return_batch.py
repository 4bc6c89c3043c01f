"""Readers that come back together: the streams of one batch, beside the answers of the long way, one by one."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import settings as runs
from hypothesis import strategies as st
from werkzeug.test import EnvironBuilder, TestResponse

from app.api.auth.tokens import LEEWAY_SECONDS
from app.api.limits import READ_COUNTED
from app.api.short_way import REDIS_SECONDS, ShortWay
from app.api.streams import NOT_NOW
from app.api.web_process import EXTENSION
from app.config import Settings
from app.domain.errors import DatabaseDown
from app.relay.returns import Batch, Opened
from app.store import access
from app.wiring import Resources
from dev.valkey import Valkey
from tests.factories import owner
from tests.stack import until

from .conftest import WORKERS, Hand, Person, token
from .test_access import digest_of
from .test_short_way import LONG, long_ways, path_of


@dataclass
class Read:
    """The request of a person for a stream."""

    person: Person
    path: str
    query: str = ""

    def environ(self) -> dict[str, Any]:
        builder = EnvironBuilder(self.path, query_string=self.query, headers=self.person.headers)
        return builder.get_environ()


def way_of(app: Flask) -> ShortWay:
    found: ShortWay = app.extensions["short-way"]
    return found


def open_together(app: Flask, reads: Sequence[Read]) -> Batch:
    """The outcomes of requests that are all recognised."""
    requests = [way_of(app).recognise(read.environ()) for read in reads]
    assert None not in requests, "each has a token that is known here"
    return way_of(app).open_all([request for request in requests if request is not None])


def opened_of(outcome: Any) -> str | None:
    """The generation that an outcome has opened; None for a request that is handed on. Its place is given back."""
    if not isinstance(outcome, Opened):
        return None
    generation_id: str = json.loads(outcome.stream.opening.removeprefix(b"data: "))["generation_id"]
    outcome.stream.close()
    return generation_id


def long(read: Read) -> TestResponse:
    answer = read.person.get(f"{read.path}?{read.query}", headers=LONG)
    answer.close()
    return answer


def handed_on(read: Read, notes: dict[str, Any]) -> TestResponse:
    answer = read.person.get(f"{read.path}?{read.query}", environ_overrides=notes)
    answer.close()
    return answer


def known(app: Flask, name: str) -> Person:
    """A new user, whose token the application has verified."""
    person = Person(app.test_client(), f"{name}-{uuid4().hex[:8]}")
    assert person.get("/api/v1/me").status_code == 200
    return person


def same_problem(one: TestResponse, other: TestResponse) -> bool:
    return {**one.json, "request_id": ""} == {**other.json, "request_id": ""}


@pytest.fixture
def bounded(make_app: Any) -> Flask:
    """An application with small limits of each user."""
    made: Flask = make_app(ratelimit_reads="8/hour", max_streams_per_user=2)
    return made


def test_in_one_batch_each_request_gets_what_it_gets_alone(bounded: Flask, of_workers: Any) -> None:
    app, workers = bounded, of_workers(bounded)
    people = {name: known(app, name) for name in ("good", "foreign", "deleted", "ended", "blocked", "busy", "full")}
    made = {name: person.start() for name, person in people.items()}
    reads = {name: Read(person, path_of(made[name])) for name, person in people.items()}
    reads["foreign"].path = reads["good"].path
    people["deleted"].delete(f"/api/v1/conversations/{made['deleted']['conversation']['id']}")
    process = app.extensions[EXTENSION]
    ids = {name: people[name].get("/api/v1/me").json["id"] for name in ("ended", "blocked", "full")}
    with process.resources.database.user(ids["ended"]) as tx:
        access.end_token(tx, digest_of(people["ended"]), time.time() + 600)
    with process.resources.database.operator() as tx:
        access.block(tx, ids["blocked"])
    revocations = process.resources.revocations
    now = revocations.clock()
    until(lambda: revocations.clock() - revocations.age > now, what="a read of the revocations")
    while people["busy"].get("/api/v1/me").status_code == 200:
        pass
    # Streams of another process.
    held = f"{process.settings.redis_namespace}:streams:{ids['full']}"
    workers.redis.zadd(held, {"one": 1e15, "two": 1e15})

    names = list(reads)
    batch = open_together(app, [reads[name] for name in names])
    outcomes = dict(zip(names, batch.outcomes, strict=True))
    assert {name: opened_of(outcome) for name, outcome in outcomes.items()} == {
        name: made["good"]["generation"]["id"] if name == "good" else None for name in names
    }
    assert batch.behind is None
    counted = {name for name, outcome in outcomes.items() if READ_COUNTED in outcome}
    assert counted == {"foreign", "deleted", "full"}, "these have used one request of their limit"
    refusals = {name: handed_on(reads[name], outcomes[name]).status_code for name in names if name != "good"}
    assert refusals == {"foreign": 404, "deleted": 404, "ended": 401, "blocked": 403, "busy": 429, "full": 429}


def test_two_requests_of_one_user_in_one_batch_take_two_places_and_two_counts(bounded: Flask) -> None:
    person = known(bounded, "twice")
    read = Read(person, path_of(person.start()))
    batch = open_together(bounded, [read, read, read])
    # The user may have two streams.
    assert [isinstance(outcome, Opened) for outcome in batch.outcomes] == [True, True, False]
    left = [dict(outcome.headers)["x-ratelimit-remaining-requests"] for outcome in batch.outcomes[:2]]
    assert len(set(left)) == 2
    for outcome in batch.outcomes:
        opened_of(outcome)
    answer = handed_on(read, batch.outcomes[2])
    assert int(answer.headers["x-ratelimit-remaining-requests"]) == min(map(int, left)) - 1, "it was counted once"


class Crowd:
    """Some users with a running, an ended and a deleted answer each."""

    def __init__(self, app: Flask, resources: Resources) -> None:
        self.app = app
        self.people = [known(app, "crowd") for _ in range(3)]
        self.paths: list[str] = [f"/api/v1/generations/{uuid4()}/stream"]
        for person in self.people:
            running, ended, deleted = (person.start() for _ in range(3))
            Hand(resources, ended["generation"]["id"]).run("a")
            person.delete(f"/api/v1/conversations/{deleted['conversation']['id']}")
            self.paths += map(path_of, (running, ended, deleted))

    def check(self, reads: Sequence[Read]) -> None:
        """A batch opens exactly the streams that the long way opens, and each is the one that was requested."""
        outcomes = open_together(self.app, reads).outcomes
        for read, outcome in zip(reads, outcomes, strict=True):
            alone = long(read)
            wanted = read.path.split("/")[4] if alone.status_code == 200 else None
            assert opened_of(outcome) == wanted
            if not isinstance(outcome, Opened):
                refused = handed_on(read, outcome)
                assert refused.status_code == alone.status_code
                assert alone.status_code == 204 or same_problem(refused, alone)


def test_no_batch_gives_a_user_the_stream_of_another(app: Flask, resources: Resources) -> None:
    crowd = Crowd(app, resources)
    who, which = st.integers(0, len(crowd.people) - 1), st.sampled_from(crowd.paths)
    position = st.sampled_from(["", "after=0-0", "after=1-1", "after=1-9", "after=9-0"])

    @runs(max_examples=25, deadline=None)
    @given(st.lists(st.tuples(who, which, position), min_size=1, max_size=8))
    def batches(chosen: list[tuple[int, str, str]]) -> None:
        crowd.check([Read(crowd.people[n], path, query) for n, path, query in chosen])

    batches()


def test_a_batch_verifies_tokens_that_are_new_here_and_adds_their_users_once(app: Flask, settings: Settings) -> None:
    person = known(app, "somebody")
    path, exp = path_of(person.start()), int(time.time()) - LEEWAY_SECONDS + 1

    def bearer(*secret: str, **claims: object) -> Read:
        header = {"Authorization": f"Bearer {token(person.subject, *secret, **claims)}"}
        return Read(Person(app.test_client(), person.subject, header), path)

    late = bearer(exp=exp)
    late.person.get("/api/v1/me")
    until(lambda: time.time() > exp + LEEWAY_SECONDS + 0.01)
    reads = [bearer(jti="one"), bearer("another secret of more than thirty-two bytes"), bearer(jti="two"), late]
    fresh = f"fresh-{uuid4().hex[:8]}"
    strangers = [Person(app.test_client(), fresh, {"x-request-id": f"n{n}"}) for n in range(2)]
    reads += [Read(stranger, path) for stranger in strangers]
    outcomes = open_together(app, reads).outcomes
    wanted = path.split("/")[4]
    assert [opened_of(outcome) for outcome in outcomes] == [wanted, None, wanted, None, None, None]
    pairs = zip(reads, outcomes, strict=True)
    refused = [handed_on(read, outcome).status_code for read, outcome in pairs if isinstance(outcome, dict)]
    assert refused == [401, 401, 404, 404]
    with owner(settings.database_url) as cursor:
        cursor.execute("SELECT count(*) FROM users WHERE subject = %s", (fresh,))
        assert cursor.fetchone() == (1,)


def test_a_postgresql_that_does_not_answer_is_waited_for_once(make_app: Any) -> None:
    locked: Flask = make_app()
    person = known(locked, "locked")
    read = Read(person, path_of(person.start()))
    with owner(locked.extensions[WORKERS].database_url) as cursor:
        # A statement waits for it for three seconds.
        cursor.execute("LOCK TABLE generations IN ACCESS EXCLUSIVE MODE")
        batch = open_together(locked, [read, read])
        cursor.connection.rollback()
    assert [type(outcome[NOT_NOW]) for outcome in batch.outcomes] == [DatabaseDown, DatabaseDown]
    assert batch.behind is not None
    assert isinstance(batch.behind[NOT_NOW], DatabaseDown), "those behind it do not wait again"
    # PostgreSQL answers by now: the refusal is that of the wait before.
    with long_ways(locked) as seen:
        refused = handed_on(read, batch.outcomes[0])
        behind = handed_on(read, dict(batch.behind))
    assert (refused.status_code, behind.status_code, len(seen)) == (503, 503, 2)
    assert refused.json["detail"].startswith("PostgreSQL does not answer just now")
    assert refused.headers["Retry-After"] == "2"
    held = f"{locked.extensions[EXTENSION].settings.redis_namespace}:streams:*"
    redis = locked.extensions[EXTENSION].resources.redis
    until(lambda: not redis.keys(held), what="the places given back")


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[Valkey]:
    server = Valkey(tmp_path / "valkey")
    server.start()
    yield server
    server.stop()


def test_a_frozen_redis_is_waited_for_once_and_not_by_those_behind(own_valkey: Valkey, make_app: Any) -> None:
    app: Flask = make_app(redis_url=own_valkey.url(), redis_seconds_per_request=0.3)
    person = known(app, "frozen")
    read = Read(person, path_of(person.start()))
    assert own_valkey.process
    os.kill(own_valkey.process.pid, signal.SIGSTOP)
    try:
        batch = open_together(app, [read, read, read])
        assert not any(isinstance(outcome, Opened) for outcome in batch.outcomes)
        # The wait has spent the whole allowance.
        assert [outcome[REDIS_SECONDS] > 0 for outcome in batch.outcomes] == [False, False, False]
        assert batch.behind is not None
        assert batch.behind[REDIS_SECONDS] == batch.outcomes[0][REDIS_SECONDS]
        with long_ways(app) as seen:
            answers = [handed_on(read, outcome) for outcome in (*batch.outcomes, dict(batch.behind))]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 200], "this process counts alone"
        assert len(seen) == 4
    finally:
        os.kill(own_valkey.process.pid, signal.SIGCONT)


def test_a_redis_that_has_forgotten_its_scripts_gets_them_again(app: Flask) -> None:
    person = known(app, "flushed")
    read = Read(person, path_of(person.start()))
    app.extensions[EXTENSION].resources.redis.script_flush()
    batch = open_together(app, [read, read])
    assert [opened_of(outcome) is not None for outcome in batch.outcomes] == [True, True]


def test_a_request_that_is_handed_on_keeps_its_id_its_beginning_and_its_rest(app: Flask) -> None:
    person = known(app, "handed")
    read = Read(person, f"/api/v1/generations/{uuid4()}/stream")
    person.headers["x-request-id"] = "mine"
    (notes,) = open_together(app, [read]).outcomes
    assert isinstance(notes, dict)
    assert 0 < notes[REDIS_SECONDS] <= app.extensions[EXTENSION].settings.redis_seconds_per_request
    assert handed_on(read, notes).headers["x-request-id"] == "mine"
