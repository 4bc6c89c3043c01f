"""The deployment of a soak: PostgreSQL, Valkey, a web group, a stream group, workers with the built-in model.

``deploy`` replaces every process of the service, new ones first, as an operator's update does.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import jwt
import psycopg2
import redis

from dev.postgres import ADMINISTRATOR, OWNER, WEB, WORKER, Postgres
from dev.process import CannotRun, Program
from dev.server import HOST, free_port
from dev.valkey import Valkey
from tests.chaos.exits import ExitWatch
from tests.chaos.history import Exit
from tests.chaos.http import Address
from tests.chaos.load import USERS, Service
from tests.chaos.rig import LIMITS, SHORT, Member

DATABASE = "unbroken"
MODEL = "soak"
# The processes are replaced in this order: readers of a log before its writers.
KINDS = ("streams", "web", "worker")
# Seconds for a start on a busy machine, and from SIGTERM to the end of a process.
START_SECONDS, END_SECONDS = 180.0, 30.0
WORKERS = 2


@dataclass(frozen=True)
class Size:
    """The load of a soak and its pace. ``every``: seconds from the begin of a deploy to the next."""

    readers: int
    generations: int
    seconds: float
    tokens: int
    rate: float
    every: float


class Deployment:
    """``async with Deployment(directory, size, plant) as deployment``. Everything it starts dies with it."""

    def __init__(self, directory: Path, size: Size, plant: str | None = None) -> None:
        self.directory = directory
        self.size = size
        self.namespace = f"soak{uuid4().hex[:8]}"
        self.members: dict[str, list[Member]] = {kind: [] for kind in KINDS}
        self.exits: list[Exit] = []
        self.deploys: list[tuple[float, float]] = []
        self.addresses: dict[str, list[Address]] = {"web": [], "streams": []}  # those that clients use now
        self._plant = plant
        self._secret = uuid4().hex + uuid4().hex
        self._started = 0
        self._watch = ExitWatch(self.all, self.exits.append)

    async def __aenter__(self) -> Deployment:
        try:
            await self._start()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._watch.stop()
        for member in self.all():
            member.kill()
        for server in (getattr(self, "valkey", None), getattr(self, "postgres", None)):
            if server is not None:
                server.kill()

    async def _start(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.postgres = Postgres(self.directory / "postgres")
        self.valkey = Valkey(self.directory / "valkey")
        self.valkey.start(timeout=120)
        self.postgres.start(timeout=120)
        self.postgres.ensure_database(DATABASE)
        logins = {"MIGRATION_DATABASE_URL": OWNER, "DATABASE_URL": WEB, "WORKER_DATABASE_URL": WORKER}
        self._run("app.ops.migrate", **{name: self.postgres.url(DATABASE, login) for name, login in logins.items()})
        parameters = json.dumps({"tokens": self.size.tokens, "rate": self.size.rate})
        self._run("app.ops.models", "set", MODEL, "provider=offline", f"parameters={parameters}", **self._settings(WEB))
        await asyncio.gather(*(self._replace(kind) for kind in KINDS))
        self._watch.start()

    def _run(self, module: str, *argv: str, **environment: str) -> None:
        log = self.directory / f"{module}.log"
        Program(module, (sys.executable, "-m", module, *argv), log, {**os.environ, **environment}).run(START_SECONDS)

    def all(self) -> Sequence[Member]:
        """The members that serve now."""
        return [member for members in self.members.values() for member in members]

    # --- deploys

    async def deploy(self) -> None:
        """Replace every process of the service. Raises CannotRun."""
        began = time.time()
        for kind in KINDS:
            await self._replace(kind)
        self.deploys.append((began, time.time()))

    async def _replace(self, kind: str) -> None:
        """Start new members of a kind, give clients their addresses, and end the old members by SIGTERM."""
        old = self.members[kind]
        new = [self._member(kind) for _ in range(WORKERS if kind == "worker" else 1)]
        self.members[kind] = [*old, *new]
        for member in new:
            member.start()
        for member in new:
            await self._until_ready(member)
        if kind in self.addresses:
            self.addresses[kind][:] = [(HOST, member.port) for member in new]
        for member in old:
            member.expect_end()
        self.members[kind] = new
        await asyncio.gather(*(self._end(member) for member in old))

    async def _until_ready(self, member: Member) -> None:
        until = time.monotonic() + START_SECONDS
        while not await asyncio.to_thread(lambda: member.ready):
            if time.monotonic() > until or not member.alive:
                raise CannotRun(f"{member.name} is not ready:\n{member.tail()}")
            await asyncio.sleep(0.1)

    async def _end(self, member: Member) -> None:
        assert member.process
        member.process.ask_to_stop()
        if await asyncio.to_thread(member.process.wait, END_SECONDS) is None:
            self.exits.append(Exit(time.time(), member.name, f"did not end within {END_SECONDS:g} s of SIGTERM"))
        member.kill()

    # --- members

    def _member(self, kind: str) -> Member:
        self._started += 1
        name = f"{kind}-{self._started}"
        log = self.directory / f"{name}.log"
        if kind == "worker":
            argv = [sys.executable, "-m", "celery", "--app", "worker.celery_app", "worker", "--pool", "threads"]
            argv += ["--concurrency", str(self.size.generations), "--hostname", f"{name}@{self.namespace}"]
            argv += ["--loglevel", "INFO", "--without-gossip", "--without-mingle"]
            slots = {"WORKER_CONCURRENCY": str(self.size.generations)}
            return Member(name, Program(name, tuple(argv), log, self._settings(WORKER) | slots))
        port = free_port()
        door = "tests.soak.plants.web:app" if self._plant else "wsgi:app"
        program = (sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", door)
        own = {"BIND": f"{HOST}:{port}", "WEB_CONCURRENCY": "2", "WEB_THREADS": "16", "SOAK_PLANT": self._plant or ""}
        return Member(name, Program(name, program, log, self._settings(WEB) | own), port)

    def _settings(self, login: str) -> dict[str, str]:
        return {
            **os.environ,
            "PYTHONUNBUFFERED": "1",
            **SHORT,
            **LIMITS,
            "JWT_SECRET": self._secret,
            "REDIS_NAMESPACE": self.namespace,
            "DATABASE_URL": self.postgres.url(DATABASE, login),
            "REDIS_URL": self.valkey.url(),
            "FILES_URL": f"file:{self.directory}/files",
        }

    # --- clients and questions

    def service(self) -> Service:
        """The service for clients. Its lists of addresses follow the deploys."""
        tokens = {user: self._token(user) for user in USERS}
        return Service(self.addresses["web"], tokens, self._committed, MODEL, self.addresses["streams"])

    def _token(self, user: str) -> str:
        now = int(time.time())
        claims = {"sub": user, "iat": now, "exp": now + int(self.size.seconds) + 3600, "aud": "unbroken"}
        return jwt.encode({**claims, "iss": "unbroken", "jti": uuid4().hex}, self._secret, algorithm="HS256")

    def _committed(self, generation: str) -> str | None:
        with suppress(psycopg2.Error):
            rows = self.query("SELECT status FROM generations WHERE id = %s", generation)
            return rows[0][0] if rows else "missing"
        return None

    def query(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """The rows of a statement, as the administrator."""
        with closing(psycopg2.connect(self.dsn, connect_timeout=5)) as connection, connection.cursor() as cursor:
            cursor.execute(statement, values)
            return list(cursor.fetchall())

    @property
    def dsn(self) -> str:
        password = self.postgres.passwords[ADMINISTRATOR]
        return f"host={HOST} port={self.postgres.port} user={ADMINISTRATOR} password={password} dbname={DATABASE}"

    def redis(self) -> redis.Redis:
        """A client of Redis."""
        return redis.Redis.from_url(self.valkey.url(), socket_timeout=5, socket_connect_timeout=2)
