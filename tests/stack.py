"""A whole deployment as real processes: Celery workers and gunicorn against the stores a test gives.

    stack.start(message="hi", model="offline")        # through the service, as the web process does; no web needed
    worker = stack.worker(concurrency=20)             # returns when it can work; settings as keywords
    web = stack.web(workers=2, MAX_QUEUED=5)          # returns when its stores answer; web.url
    worker.kill(); worker.terminate(); worker.signal(signal.SIGSTOP); worker.log()

Every stack has a namespace of its own, so several can share one Valkey. Its processes end with it or with the test run.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import jwt
from celery import Celery

from app.broker.application import producer
from app.config import Settings, WorkerSettings
from app.domain.commands import StartGeneration, User
from app.domain.cursor import START
from app.domain.events import Entry
from app.domain.transcript import Transcript
from app.services.generation_start import Started
from app.store import checkpoints, generations
from app.store.generations import Generation
from app.upstream_settings import is_of_worker_alone
from app.wiring import Resources, build
from dev.postgres import WEB
from dev.process import Process, Program, last_lines
from dev.server import free_port
from tests.logins import as_login

T = TypeVar("T")

SECRET = "for-tests-only-" + "s" * 32
# Short times: a takeover after seconds, not half a minute.
QUICK = {
    "LEASE_SECONDS": "5",
    "HEARTBEAT_SECONDS": "1",
    "SWEEP_SECONDS": "0.3",
    "KEEPALIVE_SECONDS": "2",
    # No call of a provider beside the answers': tests count those.
    "TITLES": "words",
    # One person does everything in most tests.
    "MAX_QUEUED_PER_USER": "100000",
    "MAX_RUNNING_PER_USER": "100000",
    "RATELIMIT_NEW_CONVERSATIONS": "100000/minute",
    "RATELIMIT_GENERATIONS": "100000/minute",
    "RATELIMIT_IMPORTS": "100000/minute",
    "RATELIMIT_EXPORTS": "100000/minute",
    "RATELIMIT_UPLOADS": "100000/minute",
    "RATELIMIT_READS": "100000/minute",
}
_NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def until(condition: Callable[[], T], timeout: float = 30.0, what: str = "the condition", step: float = 0.01) -> T:
    """The first true result of ``condition``. Fails after ``timeout`` seconds, naming ``what``."""
    deadline = time.monotonic() + timeout
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what} did not come true within {timeout} s"
        time.sleep(step)
    return found


class Running:
    """One process of the stack."""

    def __init__(self, process: Process, log: Path) -> None:
        self._process = process
        self._log = log
        self.pid = process.pid

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill the process and its children with SIGKILL."""
        self._process.kill()

    def terminate(self, timeout: float = 30) -> int | None:
        """Send SIGTERM and return the exit code; None when the process has not ended after ``timeout`` seconds."""
        self._process.ask_to_stop()
        return self._process.wait(timeout)

    def wait(self, timeout: float) -> int | None:
        return self._process.wait(timeout)

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def log_name(self) -> str:
        return self._log.name

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def tail(self, lines: int = 30) -> str:
        return last_lines(self._log, lines)


class Worker(Running):
    """A Celery worker; ``name`` is its node name."""

    name: str


class Web(Running):
    """gunicorn."""

    url: str


class Stack:
    """A deployment. ``settings`` are those of docs/settings.md, for every process and for ``resources``.

    ``database_url`` has the login of the workers; web processes get their own login.
    """

    def __init__(self, directory: Path, database_url: str, redis_url: str, **settings: Any) -> None:
        self.directory = directory
        self.namespace = f"t{uuid4().hex[:10]}"
        self.variables = {
            "FILES_URL": f"file:{directory}/files",
            **QUICK,
            "DATABASE_URL": database_url,
            "REDIS_URL": redis_url,
            "REDIS_NAMESPACE": self.namespace,
            "JWT_SECRET": SECRET,
            **{name: str(value) for name, value in settings.items()},
        }
        self._running: list[Running] = []

    # --- this process -------------------------------------------------------------------------------------------

    @cached_property
    def settings(self) -> Settings:
        return Settings(**{name.lower(): value for name, value in self.variables.items()})  # type: ignore[arg-type]

    @cached_property
    def resources(self) -> Resources:
        """The services, wired in this process as a web process wires them."""
        return build(self.settings)

    @cached_property
    def user(self) -> User:
        """The user alice, who does everything in most tests."""
        return self.resources.users.user("alice", None)

    def start(self, message: str = "Hello", **fields: Any) -> Started:
        """Send a message as alice."""
        return self.resources.starter.start(self.user, StartGeneration(message, **fields))

    def generation(self, generation_id: str) -> Generation:
        with self.resources.database.system() as tx:
            found = generations.get(tx, generation_id)
        assert found is not None, "it was created"
        return found

    def finished(self, generation_id: str, timeout: float = 90) -> Generation:
        """The generation, once it has reached its end. A failure shows the ends of the logs of all processes."""

        def ended() -> Generation | None:
            row = self.generation(generation_id)
            return row if row.final else None

        try:
            return until(ended, timeout, f"the end of {generation_id}", 0.02)  # type: ignore[return-value]
        except AssertionError as error:
            raise AssertionError(f"{error}; it is {self.generation(generation_id).status}\n{self.tails()}") from None

    def tails(self) -> str:
        """The last lines that each process of the stack has logged."""
        return "\n".join(f"{running.log_name}:\n{running.tail()}" for running in self._running)

    def log(self, generation_id: str) -> list[Entry]:
        """The entries of the log in Redis."""
        return self.resources.log.read(generation_id)

    def archive(self, generation_id: str) -> list[Entry]:
        """The entries of the archive in PostgreSQL."""
        with self.resources.database.system() as tx:
            return checkpoints.archived(tx, generation_id)

    def chunks(self, generation_id: str) -> list[Entry]:
        """The entries of the checkpoints in PostgreSQL."""
        with self.resources.database.system() as tx:
            return checkpoints.chunks(tx, generation_id)

    def read(self, generation_id: str) -> list[Entry]:
        """The whole log, as a reader gets it."""
        entries: list[Entry] = []
        while page := self.resources.reader.read(generation_id, entries[-1].cursor if entries else START):
            entries += page
        return entries

    def transcript(self, generation_id: str) -> Transcript:
        return Transcript.of(self.read(generation_id))

    def token(self, user: str = "alice", role: str | None = None, ttl: int = 3600) -> str:
        """A bearer token."""
        now = int(time.time())
        claims = {"sub": user, "iat": now, "exp": now + ttl, "aud": "unbroken", "iss": "unbroken", "jti": uuid4().hex}
        return jwt.encode({**claims, **({"role": role} if role else {})}, SECRET, algorithm="HS256")

    # --- other processes ----------------------------------------------------------------------------------------

    def worker(self, concurrency: int = 20, **settings: Any) -> Worker:
        """Start a worker and wait until it answers a ping."""
        return self.workers(1, concurrency, **settings)[0]

    def workers(self, count: int, concurrency: int = 20, **settings: Any) -> list[Worker]:
        """Start ``count`` workers at once: with enough processors they need no longer than one."""
        return self._answering([self._launch_worker(concurrency, settings) for _ in range(count)])

    def worker_named(self, name: str) -> Worker:
        """Start a worker with this node name, and wait until it answers a ping."""
        return self._answering([self._launch_worker(20, {}, name)])[0]

    def _answering(self, workers: list[Worker]) -> list[Worker]:
        app = producer(self.settings.broker_url, self.namespace)
        try:
            for worker in workers:
                self._await(worker, partial(_pings, app, worker.name), 180)
        finally:
            app.close()
        return workers

    def _launch_worker(self, concurrency: int, settings: dict[str, Any], name: str = "") -> Worker:
        name = name or f"w{uuid4().hex[:8]}@test"
        celery = ["celery", "--app", "worker.celery_app", "worker", "--pool", "threads", "--hostname", name]
        celery += ["--concurrency", str(concurrency), "--loglevel", "INFO", "--without-gossip", "--without-mingle"]
        worker: Worker = self._launch(Worker, name, celery, {"WORKER_CONCURRENCY": concurrency, **settings})
        worker.name = name
        return worker

    def web(self, workers: int = 1, threads: int = 16, port: int | None = None, **settings: Any) -> Web:
        """Start gunicorn and wait until it is ready. ``port``: the port of a killed one whose place it takes."""
        port = port or free_port()
        gunicorn = ["gunicorn", "-c", "gunicorn.conf.py", "wsgi:app"]
        own = {"PORT": port, "BIND": f"127.0.0.1:{port}", "WEB_CONCURRENCY": workers, "WEB_THREADS": threads}
        own["DATABASE_URL"] = as_login(str(settings.pop("DATABASE_URL", self.variables["DATABASE_URL"])), WEB)
        web: Web = self._launch(Web, f"web-{port}", gunicorn, {**own, **settings}, without=is_of_worker_alone)
        web.url = f"http://127.0.0.1:{port}"
        self._await(web, lambda: serves(web.url), 180)
        return web

    def stop(self) -> None:
        """Kill the running processes and close the connections of ``resources``."""
        for running in reversed(self._running):
            running.kill()
        if "resources" in self.__dict__:
            self.resources.close()

    def _launch(
        self,
        kind: type[Any],
        name: str,
        command: list[str],
        settings: dict[str, Any],
        without: Callable[[str], bool] = lambda name: False,
    ) -> Any:
        log = self.directory / f"{name.partition('@')[0]}.log"
        environment = {name: value for name, value in self._environment(settings).items() if not without(name)}
        program = Program(name, (sys.executable, "-m", *command), log, environment)
        running = kind(program.start(), log)
        self._running.append(running)
        return running

    def _environment(self, settings: dict[str, Any]) -> dict[str, str]:
        known = {name.upper() for name in WorkerSettings.model_fields}
        inherited = {n: value for n, value in os.environ.items() if n not in known and not is_of_worker_alone(n)}
        given = {name: str(value) for name, value in settings.items()}
        return {**inherited, "PYTHONUNBUFFERED": "1", **self.variables, **given}

    def _await(self, running: Running, ready: Callable[[], bool], timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while not ready():
            assert running.alive, f"it has ended:\n{running.tail()}"
            assert time.monotonic() < deadline, f"it is not ready:\n{running.tail()}"
            time.sleep(0.02)


def _pings(app: Celery, name: str) -> bool:
    return bool(app.control.ping(destination=[name], timeout=2))


def serves(url: str) -> bool:
    """True when a web process can answer requests. Workers are no part of that: many tests run without one."""
    try:
        with _NO_PROXY.open(f"{url}/readyz", timeout=10) as response:
            report = json.load(response)
    except urllib.error.HTTPError as error:
        report = json.load(error)
    except OSError:
        return False
    return bool(report["checks"].get("database") == "ok" and report["checks"].get("hub") == "ok")
