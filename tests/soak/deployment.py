"""The deployment of a soak: PostgreSQL, Valkey, a web group, a stream group, workers with the built-in model.

``deploy`` replaces every process of the service, new ones first, as an operator's update does.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dev.postgres import WEB, WORKER, Postgres
from dev.process import Program
from dev.server import HOST, free_port
from dev.valkey import Valkey
from tests.chaos import deployment
from tests.chaos.deployment import Member
from tests.chaos.exits import ExitWatch
from tests.chaos.history import Exit
from tests.chaos.http import Address
from tests.chaos.load import Service

MODEL = "soak"
# The processes are replaced in this order: readers of a log before its writers.
KINDS = ("streams", "web", "worker")
# Seconds from SIGTERM to the end of a process.
END_SECONDS = 30.0
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


class Deployment(deployment.Deployment):
    """``async with Deployment(directory, size, plant) as deployment``."""

    kind = "soak"
    connect_seconds, statement_ms = 5, 60_000

    def __init__(self, directory: Path, size: Size, plant: str | None = None) -> None:
        super().__init__(directory)
        self.size = size
        self.members: dict[str, list[Member]] = {kind: [] for kind in KINDS}
        self.exits: list[Exit] = []
        self.deploys: list[tuple[float, float]] = []
        self.addresses: dict[str, list[Address]] = {"web": [], "streams": []}  # those that clients use now
        self._plant = plant
        self._started = 0
        self._watch = ExitWatch(self.all, self.exits.append)

    async def _start(self) -> None:
        await super()._start()
        parameters = json.dumps({"tokens": self.size.tokens, "rate": self.size.rate})
        self.run("app.ops.models", "set", MODEL, "provider=offline", f"parameters={parameters}", **self.settings(WEB))
        await asyncio.gather(*(self._replace(kind) for kind in KINDS))
        self._watch.start()

    def _make_stores(self) -> None:
        self.postgres = Postgres(self.directory / "postgres")
        self.valkey = Valkey(self.directory / "valkey")

    def _end(self) -> None:
        self._watch.stop()
        for member in self.all():
            member.kill()

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
        await self.until_ready(new)
        if kind in self.addresses:
            self.addresses[kind][:] = [(HOST, member.port) for member in new]
        for member in old:
            member.expect_end()
        self.members[kind] = new
        await asyncio.gather(*(self._stop(member) for member in old))

    async def _stop(self, member: Member) -> None:
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
            environment = self.settings(WORKER) | {"WORKER_CONCURRENCY": str(self.size.generations)}
            return Member(name, Program(name, self.worker_argv(name, self.size.generations), log, environment))
        port = free_port()
        door = "tests.soak.plants.web:app" if self._plant else "wsgi:app"
        program = (sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", door)
        own = {"BIND": f"{HOST}:{port}", "WEB_CONCURRENCY": "2", "WEB_THREADS": "16", "SOAK_PLANT": self._plant or ""}
        return Member(name, Program(name, program, log, self.settings(WEB) | own), port)

    def settings(self, login: str) -> dict[str, str]:
        return {**super().settings(login), "FILES_URL": f"file:{self.directory}/files"}

    # --- clients

    def service(self) -> Service:
        """The service for clients. Its lists of addresses follow the deploys."""
        tokens = self.tokens(self.size.seconds + 3600)
        return Service(self.addresses["web"], tokens, self.committed, MODEL, self.addresses["streams"])
