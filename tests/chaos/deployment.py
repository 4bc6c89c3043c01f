"""A deployment under load: its stores, members that can be ended and started again, questions past every proxy.

The chaos rig, the fleet and the soak are such deployments.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self
from uuid import uuid4

import jwt
import psycopg2
import redis

from dev.postgres import ADMINISTRATOR, OWNER, WEB, WORKER, Postgres
from dev.process import CannotRun, Process, Program, last_lines
from dev.server import HOST
from dev.valkey import Valkey
from tests.chaos.load import USERS

DATABASE = "unbroken"
# Stands in a command line for the number of the process's life.
LIFE = "{life}"
# Seconds for a start on a busy machine.
START_SECONDS = 180.0
LIMITS = dict.fromkeys(
    ("RATELIMIT_NEW_CONVERSATIONS", "RATELIMIT_GENERATIONS", "RATELIMIT_IMPORTS", "RATELIMIT_READS"),
    "1000000/minute",
) | {"MAX_STREAMS_PER_USER": "10000", "MAX_STREAMS": "10000", "TITLES": "words", "MAX_QUEUED_PER_USER": "1000"}
SHORT = {"LEASE_SECONDS": "5", "HEARTBEAT_SECONDS": "1", "SWEEP_SECONDS": "1", "KEEPALIVE_SECONDS": "3"}
_NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Member:
    """A process of the service that can be ended and started again, on one port and with one set of hops.

    ``source``: the directory whose code the next start runs.
    """

    def __init__(self, name: str, program: Program, port: int = 0, host: str = HOST) -> None:
        self.name = name
        self.host = host
        self.port = port
        self.source = program.directory
        self.process: Process | None = None
        self._program = program
        self.expected: set[int] = set()
        self.lives = 0  # the number of starts

    def start(self) -> None:
        self.expected.clear()
        self.lives += 1
        self._program.log.parent.mkdir(parents=True, exist_ok=True)
        self._log_from = self._program.log.stat().st_size if self._program.log.exists() else 0
        argv = tuple(word.replace(LIFE, str(self.lives)) for word in self._program.argv)
        self.process = replace(self._program, argv=argv, directory=self.source).start()

    @property
    def pid(self) -> int:
        return self.process.pid if self.process else 0

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def children(self) -> list[int]:
        """A web group's worker processes."""
        with suppress(OSError):
            return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]
        return []

    def signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def kill(self) -> None:
        """kill -9 of the whole group."""
        if self.process:
            self.expect_end()
            self.process.kill()

    def expect_end(self) -> None:
        """Expect the end of all present processes: the rig causes it."""
        self.expected |= {self.pid, *self.children}

    @property
    def code(self) -> int | None:
        """The exit code; None while the process runs."""
        return self.process.poll() if self.process else None

    @property
    def ready(self) -> bool:
        if self.port:
            return serves(f"http://{self.host}:{self.port}/readyz")
        with self._program.log.open("rb") as log:
            log.seek(self._log_from)
            return b" ready" in log.read()

    def tail(self) -> str:
        return last_lines(self._program.log, 20)


class Deployment:
    """``async with Deployment(directory) as deployment``. Everything it starts dies with it.

    ``_make_stores`` and ``_start`` of a subclass make and start its parts, ``_end`` ends them, also after half a start.
    """

    postgres: Postgres
    valkey: Valkey
    kind: ClassVar[str]
    # Limits of a question to PostgreSQL.
    connect_seconds: ClassVar[int] = 2
    statement_ms: ClassVar[int] = 3000

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.namespace = f"{self.kind}{uuid4().hex[:8]}"
        self.secret = uuid4().hex + uuid4().hex

    async def __aenter__(self) -> Self:
        self.directory.mkdir(parents=True, exist_ok=True)
        try:
            await self._start()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._end()
        for server in (getattr(self, "valkey", None), getattr(self, "postgres", None)):
            if server is not None:
                server.kill()

    async def _start(self) -> None:
        """Start everything, the stores first."""
        self._make_stores()
        self.valkey.start(timeout=120)
        self.postgres.start(timeout=120)
        self.postgres.ensure_database(DATABASE)
        logins = {"MIGRATION_DATABASE_URL": OWNER, "DATABASE_URL": WEB, "WORKER_DATABASE_URL": WORKER}
        self.run("app.ops.migrate", **{name: self.postgres.url(DATABASE, login) for name, login in logins.items()})

    def _make_stores(self) -> None:
        raise NotImplementedError

    def _end(self) -> None:
        """End the members and everything that is no store."""
        raise NotImplementedError

    def run(self, module: str, *argv: str, **environment: str) -> None:
        """Run a command of the service to its end."""
        log = self.directory / f"{module}.log"
        Program(module, (sys.executable, "-m", module, *argv), log, {**os.environ, **environment}).run(START_SECONDS)

    async def until_ready(
        self, members: Iterable[Member], timeout: float = START_SECONDS, *, again: bool = False
    ) -> None:
        """Wait for members. Raises CannotRun when one is late or has ended. ``again``: restart ended ones."""
        until = time.monotonic() + timeout
        for member in members:
            while not await asyncio.to_thread(lambda member=member: member.ready):
                if time.monotonic() > until or not (member.alive or again):
                    raise CannotRun(f"{member.name} is not ready:\n{member.tail()}")
                if not member.alive:
                    member.start()
                await asyncio.sleep(0.1)

    # --- settings

    def settings(self, login: str) -> dict[str, str]:
        """The settings of a process with one of the logins of PostgreSQL."""
        return {
            **os.environ,
            "PYTHONUNBUFFERED": "1",
            **SHORT,
            **LIMITS,
            "JWT_SECRET": self.secret,
            "REDIS_NAMESPACE": self.namespace,
            "DATABASE_URL": self.postgres.url(DATABASE, login),
            "REDIS_URL": self.valkey.url(),
        }

    def worker_argv(self, name: str, concurrency: int, door: str = "worker.celery_app") -> tuple[str, ...]:
        """The command of a worker. ``door`` is the module of its Celery application."""
        celery = ("celery", "--app", door, "worker", "--pool", "threads", "--concurrency", str(concurrency))
        own = ("--hostname", f"{name}@{self.namespace}", "--loglevel", "INFO", "--without-gossip", "--without-mingle")
        return (sys.executable, "-m", *celery, *own)

    # --- clients and questions

    def tokens(self, seconds: float = 14_400) -> dict[str, str]:
        """A token for each user of the load, valid for ``seconds``, also for a member whose clock is an hour off."""
        now = int(time.time())
        claims = {"iat": now - 7200, "exp": now + int(seconds), "aud": "unbroken", "iss": "unbroken"}
        return {
            user: jwt.encode({**claims, "sub": user, "jti": uuid4().hex}, self.secret, algorithm="HS256")
            for user in USERS
        }

    def committed(self, generation: str) -> str | None:
        """The present status of a generation; None when PostgreSQL does not reply."""
        with suppress(psycopg2.Error):
            rows = self.query("SELECT status FROM generations WHERE id = %s", generation)
            return rows[0][0] if rows else "missing"
        return None

    def query(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Run a statement as the administrator, past every proxy."""
        limits = {"connect_timeout": self.connect_seconds, "options": f"-c statement_timeout={self.statement_ms}"}
        with closing(psycopg2.connect(self.dsn, **limits)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement, values)
                return list(cursor.fetchall()) if cursor.description else []

    @property
    def dsn(self) -> str:
        port, password = self.postgres.port, self.postgres.passwords[ADMINISTRATOR]
        return f"host={self.postgres.host} port={port} user={ADMINISTRATOR} password={password} dbname={DATABASE}"

    def redis(self) -> redis.Redis:
        """A client of Redis past every proxy."""
        return redis.Redis.from_url(self.valkey.url(), socket_timeout=5, socket_connect_timeout=2)


def serves(url: str) -> bool:
    """True when a web process can serve requests, by its /readyz. Workers are members of their own."""
    try:
        try:
            with _NO_PROXY.open(url, timeout=5) as response:
                checks = json.load(response)["checks"]
        except urllib.error.HTTPError as error:
            checks = json.load(error)["checks"]
    except (OSError, ValueError, KeyError, http.client.HTTPException):
        return False
    return bool(checks.get("database") == "ok" and checks.get("hub") == "ok")
