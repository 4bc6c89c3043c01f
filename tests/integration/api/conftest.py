"""The application with real stores, called over WSGI, and a hand that does a worker's work step by step."""

from __future__ import annotations

import io
import logging
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import jwt
import pytest
import redis
import structlog
from flask.testing import FlaskClient
from flask_openapi3.openapi import OpenAPI
from sqlalchemy import text
from werkzeug.test import TestResponse

from app import logs
from app.api import limits
from app.api.application import create_app
from app.api.web_process import EXTENSION, WebProcess
from app.config import Settings
from app.domain.cursor import Cursor
from app.domain.events import Event, Mark, Snapshot, Token, encode
from app.domain.lease import Claimed
from app.domain.transcript import Transcript
from app.eventlog.log import FINISHED_TTL_MS
from app.services.finishing import Ending
from app.services.leases import Leases
from app.store.checkpoints import Checkpoint
from app.wiring import Resources, build
from dev.postgres import WEB
from dev.valkey import Valkey
from tests.logins import as_login

# The key of the workers' settings in the configuration of an application of `make_app`.
WORKERS = "unbroken.workers"
SECRET = "a secret of more than thirty-two bytes for tests"
PREVIOUS = "the secret from before the last rotation of keys"
# The files of this test process, gone with it.
FILES = tempfile.TemporaryDirectory(prefix="unbroken-files-")
OWNED = ("conversations", "messages", "generations")
# A process that gives Redis up counts alone, from zero. A busy machine must not look like a Redis that is away.
limits._REDIS_OPTIONS["socket_timeout"] = 10.0


def token(subject: str = "alice", secret: str = SECRET, drop: tuple[str, ...] = (), **claims: Any) -> str:
    """A token signed with ``secret``; ``claims`` replace the usual claims, and ``drop`` names claims to leave out."""
    now = int(time.time())
    whole = {"sub": subject, "iat": now, "exp": now + 600, "aud": "unbroken", "iss": "unbroken", **claims}
    return jwt.encode({k: v for k, v in whole.items() if k not in drop}, secret, algorithm="HS256")


@dataclass
class Person:
    """A client that sends requests with the token of one user."""

    client: FlaskClient
    subject: str
    headers: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.headers = {"Authorization": f"Bearer {token(self.subject)}", **self.headers}

    def get(self, path: str, **options: Any) -> TestResponse:
        return self._ask("GET", path, options)

    def post(self, path: str, **options: Any) -> TestResponse:
        return self._ask("POST", path, options)

    def put(self, path: str, **options: Any) -> TestResponse:
        return self._ask("PUT", path, options)

    def patch(self, path: str, **options: Any) -> TestResponse:
        return self._ask("PATCH", path, options)

    def delete(self, path: str, **options: Any) -> TestResponse:
        return self._ask("DELETE", path, options)

    def start(self, message: str = "hello", **body: Any) -> dict[str, Any]:
        """Send a message. Returns the objects that the service made for it."""
        answer = self.post("/api/v1/generations", json={"message": message, **body})
        assert answer.status_code == 202, answer.text
        found: dict[str, Any] = answer.json
        return found

    def _ask(self, method: str, path: str, options: dict[str, Any]) -> TestResponse:
        headers = {**self.headers, **options.pop("headers", {})}
        return self.client.open(path, method=method, headers=headers, **options)


class Hand:
    """Makes an answer by hand like a worker, one step at a time."""

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
        """Append events to the log."""
        first = len(self.payloads)
        for event in events:
            self.transcript.add(Cursor(self.epoch, len(self.payloads)), event)
            self.payloads.append(encode(event))
        self.resources.log.append(self.id, self.epoch, first, self.payloads[first:])

    def save(self) -> None:
        """Save the events so far in a checkpoint."""
        from app.domain.events import pack

        body = pack(self.payloads[self.saved :])
        lease, user = self.claimed.lease, self.claimed.user_id
        held = self.leases.renew([Checkpoint(lease, user, self.saved, len(self.payloads) - 1, body, 0.0)])
        assert held == {self.id}
        self.saved = len(self.payloads)

    def finish(self) -> None:
        """Append the mark, commit the end, and append done."""
        usage = {"input_tokens": 3, "output_tokens": 5}
        self.say(Mark("stop", usage))
        ending = Ending("completed", "stop", usage)
        done = self.resources.finisher.finish(self.claimed, self.payloads, self.transcript, ending, [])
        self.resources.log.append(self.id, self.epoch, len(self.payloads), [done], FINISHED_TTL_MS)

    def run(self, *words: str) -> None:
        """Append one token per word, save them, and finish the answer."""
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
        "ratelimit_imports": "10000/minute",
        "ratelimit_exports": "10000/minute",
        "ratelimit_uploads": "10000/minute",
        "files_url": f"file:{FILES.name}",
        "ratelimit_reads": "100000/minute",
        "sweep_seconds": 3600,
        # A busy machine must not look like a Redis that is away.
        "redis_seconds_per_request": 10,
        "max_queued_per_user": 100_000,
        "max_running_per_user": 100_000,
        "redis_namespace": f"test-{uuid4().hex[:8]}",
    }
    return Settings(database_url=database_url, redis_url=redis_url, **{**defaults, **changes})


def of_web(settings: Settings) -> Settings:
    """A copy of the settings with the login of the web processes."""
    return settings.model_copy(update={"database_url": as_login(settings.database_url, WEB)})


@pytest.fixture(scope="module")
def settings(module_database_url: str, valkey: Valkey) -> Settings:
    return make_settings(module_database_url, valkey.url())


@pytest.fixture(scope="module")
def app(settings: Settings) -> Iterator[OpenAPI]:
    """The application of this module's tests, on a database of its own."""
    app = create_app(of_web(settings))
    yield app
    app.extensions[EXTENSION].close()


@pytest.fixture
def make_app(database_url: str, redis_url: str) -> Iterator[Any]:
    """A function that makes applications with settings of their own, on an empty database."""
    made: list[OpenAPI] = []

    def make(**changes: Any) -> OpenAPI:
        settings = make_settings(database_url, changes.pop("redis_url", redis_url), **changes)
        made.append(create_app(of_web(settings)))
        made[-1].extensions[WORKERS] = settings
        return made[-1]

    yield make
    for app in made:
        app.extensions[EXTENSION].close()


@pytest.fixture
def of_workers() -> Iterator[Callable[[OpenAPI], Resources]]:
    """A function that builds the services with the workers' login, beside an application of `make_app`."""
    built: list[Resources] = []

    def beside(app: OpenAPI) -> Resources:
        built.append(build(app.extensions[WORKERS]))
        return built[-1]

    yield beside
    for resources in built:
        resources.close()


@pytest.fixture(scope="module")
def process(app: OpenAPI) -> WebProcess:
    found: WebProcess = app.extensions[EXTENSION]
    return found


@pytest.fixture(scope="module")
def resources(settings: Settings) -> Iterator[Resources]:
    """The services with the login of the workers, beside those of the application."""
    resources = build(settings)
    yield resources
    resources.close()


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
    """The number of rows in each table that a request may write."""
    with resources.database.system() as tx:
        return {table: tx.execute(text(f"SELECT count(*) FROM {table}")).scalar_one() for table in OWNED}


def flush(url: str) -> None:
    """Delete every key in Redis, like an accident."""
    with redis.Redis.from_url(url, socket_timeout=30) as client:
        client.flushall()


@pytest.fixture
def logged() -> Iterator[Callable[[], str]]:
    """A function that returns the log lines of this process, as a deployment writes them."""
    root, before, lines = logging.getLogger(), structlog.get_config(), io.StringIO()
    handlers, level = root.handlers[:], root.level
    logs.configure()
    [handler] = root.handlers
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(lines)
    # A logger that keeps this form would write it in later tests, too.
    structlog.configure(cache_logger_on_first_use=False)
    yield lines.getvalue
    structlog.configure(**before)
    root.handlers[:] = handlers
    root.setLevel(level)
