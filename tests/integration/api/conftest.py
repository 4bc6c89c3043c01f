"""The application with real stores behind it, driven through its WSGI door; and a hand that does a worker's work."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import jwt
import pytest
import redis
from flask.testing import FlaskClient
from flask_openapi3.openapi import OpenAPI
from sqlalchemy import text
from werkzeug.test import TestResponse

from app.api import limits
from app.api.application import create_app
from app.api.process import EXTENSION, WebProcess
from app.config import Settings
from app.domain.cursor import Cursor
from app.domain.events import Event, Mark, Snapshot, Token, encode
from app.domain.transcript import Transcript
from app.eventlog.log import FINISHED_TTL_MS
from app.services.finishing import Ending
from app.services.leases import Leases
from app.store.leases import Checkpoint, Claimed
from app.wiring import Resources
from dev.valkey import Valkey

SECRET = "a secret of more than thirty-two bytes for tests"
PREVIOUS = "the secret from before the last rotation of keys"
OWNED = ("conversations", "messages", "generations")
# A busy machine is no Redis that is away: then each process would count alone, and from the beginning.
limits._REDIS_OPTIONS["socket_timeout"] = 10.0


def token(subject: str = "alice", secret: str = SECRET, drop: tuple[str, ...] = (), **claims: Any) -> str:
    """A token as the owner of the secret makes them; ``claims`` replace the ordinary ones, ``drop`` takes some out."""
    now = int(time.time())
    whole = {"sub": subject, "iat": now, "exp": now + 600, "aud": "unbroken", "iss": "unbroken", **claims}
    return jwt.encode({k: v for k, v in whole.items() if k not in drop}, secret, algorithm="HS256")


@dataclass
class Person:
    """Somebody with a token, asking."""

    client: FlaskClient
    subject: str
    headers: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.headers = {"Authorization": f"Bearer {token(self.subject)}", **self.headers}

    def get(self, path: str, **options: Any) -> TestResponse:
        return self._ask("GET", path, options)

    def post(self, path: str, **options: Any) -> TestResponse:
        return self._ask("POST", path, options)

    def patch(self, path: str, **options: Any) -> TestResponse:
        return self._ask("PATCH", path, options)

    def delete(self, path: str, **options: Any) -> TestResponse:
        return self._ask("DELETE", path, options)

    def start(self, message: str = "hello", **body: Any) -> dict[str, Any]:
        """Send a message; the objects that were made."""
        answer = self.post("/api/v1/generations", json={"message": message, **body})
        assert answer.status_code == 202, answer.text
        found: dict[str, Any] = answer.json
        return found

    def _ask(self, method: str, path: str, options: dict[str, Any]) -> TestResponse:
        headers = {**self.headers, **options.pop("headers", {})}
        return self.client.open(path, method=method, headers=headers, **options)


class Hand:
    """Does by hand what a worker does, one step at a time."""

    def __init__(self, resources: Resources, generation_id: str) -> None:
        self.resources = resources
        self.id = generation_id
        self.leases = Leases(resources.database, "hand", 30, 600)
        claimed = self.leases.claim(generation_id)
        assert claimed is not None, "somebody else has it"
        self.claimed: Claimed = claimed
        self.payloads: list[bytes] = []
        self.saved = 0
        self.transcript = Transcript()
        resources.log.open(generation_id, self.epoch)
        self.say(Snapshot("", "start", 1))

    @property
    def epoch(self) -> int:
        return self.claimed.lease.epoch

    def say(self, *events: Event) -> None:
        """Append to the log."""
        first = len(self.payloads)
        for event in events:
            self.transcript.add(Cursor(self.epoch, len(self.payloads)), event)
            self.payloads.append(encode(event))
        self.resources.log.append(self.id, self.epoch, first, self.payloads[first:])

    def save(self) -> None:
        """Checkpoint what was said."""
        from app.domain.events import pack

        body = pack(self.payloads[self.saved :])
        lease, user = self.claimed.lease, self.claimed.user_id
        held = self.leases.renew([Checkpoint(lease, user, self.saved, len(self.payloads) - 1, body, 0.0)])
        assert held == {self.id}
        self.saved = len(self.payloads)

    def finish(self) -> None:
        """Commit the end, then say so."""
        usage = {"input_tokens": 3, "output_tokens": 5}
        self.say(Mark("stop", usage))
        ending = Ending("completed", "stop", usage)
        done = self.resources.finisher.finish(self.claimed, self.payloads, self.transcript, ending, [])
        self.resources.log.append(self.id, self.epoch, len(self.payloads), [done], FINISHED_TTL_MS)

    def run(self, *words: str) -> None:
        """A whole short life."""
        self.say(*(Token(word) for word in words))
        self.save()
        self.finish()


def make_settings(database_url: str, redis_url: str, **changes: Any) -> Settings:
    """Settings with limits that tests do not meet by accident."""
    defaults = {
        "jwt_secret": SECRET,
        "jwt_secret_previous": PREVIOUS,
        "ratelimit_new_conversations": "10000/minute",
        "ratelimit_generations": "10000/minute",
        "ratelimit_reads": "100000/minute",
        "sweep_seconds": 3600,
        "redis_namespace": f"test-{uuid4().hex[:8]}",
    }
    return Settings(database_url=database_url, redis_url=redis_url, **{**defaults, **changes})


@pytest.fixture(scope="module")
def settings(module_database_url: str, valkey: Valkey) -> Settings:
    return make_settings(module_database_url, valkey.url())


@pytest.fixture(scope="module")
def app(settings: Settings) -> Iterator[OpenAPI]:
    """The application of this module's tests, on a database of its own."""
    app = create_app(settings)
    yield app
    app.extensions[EXTENSION].close()


@pytest.fixture
def make_app(database_url: str, redis_url: str) -> Iterator[Any]:
    """Makes applications with settings of their own, on an empty database."""
    made: list[OpenAPI] = []

    def make(**changes: Any) -> OpenAPI:
        made.append(create_app(make_settings(database_url, changes.pop("redis_url", redis_url), **changes)))
        return made[-1]

    yield make
    for app in made:
        app.extensions[EXTENSION].close()


@pytest.fixture(scope="module")
def process(app: OpenAPI) -> WebProcess:
    found: WebProcess = app.extensions[EXTENSION]
    return found


@pytest.fixture(scope="module")
def resources(process: WebProcess) -> Resources:
    return process.resources


@pytest.fixture
def alice(app: OpenAPI) -> Person:
    return Person(app.test_client(), f"alice-{uuid4().hex[:8]}")


@pytest.fixture
def bob(app: OpenAPI) -> Person:
    return Person(app.test_client(), f"bob-{uuid4().hex[:8]}")


@pytest.fixture
def anybody(app: OpenAPI) -> FlaskClient:
    return app.test_client()


def row_counts(resources: Resources) -> dict[str, int]:
    """How many rows there are of everything a request may write."""
    with resources.database.system() as tx:
        return {table: tx.execute(text(f"SELECT count(*) FROM {table}")).scalar_one() for table in OWNED}


def flush(url: str) -> None:
    """Empty Redis, as an accident would."""
    with redis.Redis.from_url(url, socket_timeout=30) as client:
        client.flushall()
