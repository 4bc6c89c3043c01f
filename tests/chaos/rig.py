"""A deployment to be broken: PostgreSQL, Valkey, two web groups, three workers, a provider, a proxy on every hop.

Everything the rig starts dies with it. Processes are addressed by pid only.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import psycopg2
import redis

from dev.postgres import WEB, WORKER, Postgres
from dev.process import CannotRun, Program, last_lines
from dev.server import HOST, Server, free_port
from dev.valkey import Valkey
from tests.chaos import targets
from tests.chaos.deployment import DATABASE, LIFE, Deployment, Member
from tests.chaos.evidence import REQUEST_THREADS, Footprint, footprint
from tests.chaos.exits import ExitWatch
from tests.chaos.history import Fault, History
from tests.chaos.load import Service
from tests.chaos.proxy import Proxies, Proxy
from tests.fakes.pgbouncer import PgBouncer
from tests.fakes.rabbitmq import RabbitMQ

T = TypeVar("T")
# PgBouncer's sessions of PostgreSQL, for all processes together.
POOLED_SESSIONS = 20

# The model that has a tool.
TOOLED = "fake-tooled"
# Seconds to wait for a store that is starting or was frozen.
STORE_SECONDS = 60.0
# Replies of Redis that refuse a writer; the first one is for a replaced writer's plain XADD.
REFUSALS = {
    b"equal or smaller": "fenced",
    b"$6\r\nFENCED": "fenced",
    b"$3\r\nGAP": "gap",
    b"$4\r\nLOST": "lost",
    b"$8\r\nUNOPENED": "unopened",
}


@dataclass(frozen=True)
class Build:
    """The variant of the deployment. ``settings`` override the rig's; ``plant`` is a bug of tests/chaos/plants;
    ``clocks``: hours by which a member's clock is off; ``small_disks``: PostgreSQL and Valkey get file systems that can
    be filled; ``members``: settings of single members; ``pgbouncer``: PgBouncer in front of PostgreSQL; ``rabbitmq``:
    RabbitMQ as the broker in place of Redis; ``two_targets``: a second provider, of another kind; ``released``:
    writes the code of the last release below a directory; all members begin with it, on the schema of this version.
    """

    settings: dict[str, str] = field(default_factory=dict)
    webs: int = 2
    workers: int = 3
    plant: str | None = None
    clocks: dict[str, int] = field(default_factory=dict)
    small_disks: bool = False
    members: dict[str, dict[str, str]] = field(default_factory=dict)
    pgbouncer: bool = False
    rabbitmq: bool = False
    two_targets: bool = False
    released: Callable[[Path], Path] | None = None


class Rig(Deployment):
    """``async with Rig(directory, seed, build) as rig``. ``history`` is the run that records the faults."""

    kind = "chaos"

    def __init__(self, directory: Path, seed: int, build: Build) -> None:
        super().__init__(directory)
        self.seed = seed
        self.build = build
        self.history = History(seed, "none", 0)
        self.proxies = Proxies(seed)
        self.webs: list[Member] = []
        self.workers: list[Member] = []
        self.disks: list[Path] = []
        self.provider: Member | None = None
        self.pooler: PgBouncer | None = None
        self.broker: RabbitMQ | None = None
        self.second: Member | None = None  # the second provider
        self.second_port = 0
        self.released: Path | None = None  # the code of the last release
        # Footprints after the first scenario, which fills pools and starts threads.
        self.warm: dict[str, Footprint] = {}
        self.exits = ExitWatch(lambda: self.members, lambda exit_: self.history.exits.append(exit_))

    # --- life

    async def _start(self) -> None:
        self.proxies.__enter__()
        await super()._start()
        await asyncio.to_thread(self._start_variants)
        self.provider_log = self.directory / "provider.log"
        self._start_provider()
        self._make_members()
        self._give_tools()
        if self.build.released:
            self.released = self.build.released(self.directory)
        for member in self.members:
            member.source = self.released or member.source
            member.start()
        await self.until_ready(self.members)
        self.exits.start()

    def _end(self) -> None:
        self.exits.stop()
        self.resume_servers()
        for member in [*self.members, self.provider, self.second]:
            if member is not None:
                member.kill()
        self.proxies.__exit__(None, None, None)
        for server in (self.pooler, self.broker):
            if server is not None:
                server.stop()

    async def __aexit__(self, *_: object) -> None:
        await super().__aexit__()
        for disk in reversed(self.disks):
            os.system(f"umount -l {disk}")

    def _make_stores(self) -> None:
        settings = {"fsync": "off", "max_wal_size": "256MB"}
        if self.build.small_disks:
            settings = {"max_wal_size": "48MB", "min_wal_size": "32MB"}
        self.postgres = Postgres(self._disk("postgres", 220), settings=settings)
        self.valkey = Valkey(self._disk("valkey", 24))

    def _make_members(self) -> None:
        for index in range(self.build.webs):
            self.webs.append(self._web(f"web-{'ab'[index]}"))
        for index in range(self.build.workers):
            self.workers.append(self._worker(f"worker-{index + 1}"))

    def _start_variants(self) -> None:
        """Start PgBouncer and RabbitMQ, if the build has them. Raises CannotRun."""
        if self.build.pgbouncer:
            self.pooler = PgBouncer(self.directory / "pgbouncer", self.postgres, pool=POOLED_SESSIONS)
            self.pooler.start()
        if self.build.rabbitmq:
            self.broker = RabbitMQ(self.directory / "rabbitmq")
            self.broker.start()

    def _disk(self, name: str, megabytes: int) -> Path:
        """Make a directory. With small disks the directory is a file system of its own."""
        path = self.directory / name
        path.mkdir(parents=True, exist_ok=True)
        if self.build.small_disks:
            if os.system(f"mount -t tmpfs -o size={megabytes}m,mode=700 tmpfs {path} 2>/dev/null"):
                raise CannotRun("no file system of its own can be mounted here (needs root)")
            self.disks.append(path)
            path = path / "files"
            path.mkdir()
        return path

    @property
    def members(self) -> list[Member]:
        return [*self.webs, *self.workers]

    def _give_tools(self) -> None:
        """Configure a model that may call a tool of the service."""
        fields = ("provider=openai", "upstream_name=fake", 'tools=["word_count"]')
        self._configure(TOOLED, *fields)
        if self.second:
            self._configure(targets.FALLBACK, f"targets={json.dumps(targets.TARGETS)}")

    def _configure(self, model: str, *fields: str) -> None:
        self.run("app.ops.models", "set", model, *fields, **self._environment("operator", WEB))

    def _start_provider(self) -> None:
        log = self.directory / "provider.out"
        self.provider = Member("provider", self._provider_program(log))
        self.provider.start()
        until = time.monotonic() + 60
        while not (said := re.search(r"port (\d+)\n", log.read_text())):
            if time.monotonic() > until:
                raise CannotRun(f"the provider is not ready:\n{self.provider.tail()}")
            time.sleep(0.05)
        self.provider_port = int(said[1])
        if self.build.two_targets:
            self.second = Member("second", targets.program(self.directory))
            self.second.start()
            self.second_port = targets.port_of(self.directory)

    def _provider_program(self, log: Path, host: str = HOST) -> Program:
        argv = ("-m", "tests.fakes.upstream", "--host", host, "--port", "0", "--log", str(self.provider_log))
        return Program("provider", (sys.executable, *argv), log)

    # --- members

    def _web(self, name: str) -> Member:
        port = free_port()
        self.proxies.add(f"client.{name}", port)
        return self._group(name, HOST, port, processes=2)

    def _group(self, name: str, host: str, port: int, processes: int) -> Member:
        """A group of gunicorn's processes on one address."""
        environment = self._environment(name, WEB) | {
            "BIND": f"{host}:{port}",
            "WEB_CONCURRENCY": str(processes),
            "WEB_THREADS": str(REQUEST_THREADS),
        }
        door = "tests.chaos.plants.web:app" if self.build.plant else "wsgi:app"
        argv = (sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", door)
        return Member(name, self._program(name, argv, environment), port, host)

    def _worker(self, name: str) -> Member:
        door = "tests.chaos.plants.worker" if self.build.plant else "worker.celery_app"
        # Each start has a name of its own: the rows of a dead process keep the dead process's name.
        argv = self.worker_argv(f"{name}-{LIFE}", 50, door)
        environment = self._environment(name, WORKER) | {"WORKER_CONCURRENCY": "50"}
        if self.second:
            hop = self.proxies.add(f"{name}.second", self.second_port)
            environment["UPSTREAM_SECOND_BASE_URL"] = f"http://{HOST}:{hop.port}"
        return Member(name, self._program(name, argv, environment))

    def _environment(self, name: str, login: str) -> dict[str, str]:
        return {
            **self.settings(login),
            "CHAOS_PLANT": self.build.plant or "",
            **self._addresses(name, login),
            **(targets.settings(self.second_port) if self.second else {}),
            **self.build.settings,
            **self.build.members.get(name, {}),
        }

    def _addresses(self, name: str, login: str) -> dict[str, str]:
        """The settings of a member that are addresses: each is a proxy of the member's own."""
        pooled = self.postgres.port if self.pooler is None else self.pooler.port
        postgres = self.proxies.add(f"{name}.postgres", pooled)
        valkey = self.proxies.add(f"{name}.redis", self.valkey.port, REFUSALS)
        provider = self.proxies.add(f"{name}.provider", self.provider_port)
        broker = {}
        if self.broker is not None:
            hop = self.proxies.add(f"{name}.broker", self.broker.port)
            broker = {"CELERY_BROKER_URL": self.broker.url.replace(f":{self.broker.port}/", f":{hop.port}/")}
        return {
            "DATABASE_URL": self.postgres.url(DATABASE, login).replace(f":{self.postgres.port}/", f":{postgres.port}/"),
            "REDIS_URL": self.valkey.url().replace(f":{self.valkey.port}/", f":{valkey.port}/"),
            "OPENAI_BASE_URL": f"http://{HOST}:{provider.port}/v1",
            **broker,
        }

    def _program(self, name: str, argv: tuple[str, ...], environment: dict[str, str]) -> Program:
        if hours := self.build.clocks.get(name):
            environment |= {"LD_PRELOAD": str(self._clock()), "CHAOS_CLOCK": str(hours * 3600)}
        return Program(name, argv, self.directory / f"{name}.log", environment)

    def _clock(self) -> Path:
        library = self.directory / "clock.so"
        if not library.exists():
            source = Path(__file__).with_name("clock.c")
            subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
        return library

    # --- faults

    def note(self, kind: str, detail: str = "") -> Fault:
        """Record a fault in the history."""
        fault = Fault(time.time(), kind, detail)
        self.history.faults.append(fault)
        return fault

    @contextmanager
    def during(self, kind: str, detail: str = "") -> Iterator[Fault]:
        """A fault that lasts as long as the block."""
        fault = self.note(kind, detail)
        try:
            yield fault
        finally:
            fault.ended = time.time()

    def hop(self, name: str) -> Proxy:
        return self.proxies.all[name]

    def hops(self, *ends: str) -> list[Proxy]:
        """The proxies whose names begin or end so: ``hops(".redis")``, ``hops("worker-1.")``."""
        return [p for p in self.proxies.all.values() if any(p.name.startswith(e) or p.name.endswith(e) for e in ends)]

    async def held_by(self, worker: Member) -> list[str]:
        """The ids of the generations that a worker holds."""
        held = "SELECT id::text FROM generations WHERE status = 'running' AND worker = %s"
        name = f"{worker.name}-{worker.lives}@{self.namespace}"
        return [row[0] for row in await self.insist(lambda: self.query(held, name))]

    async def busiest(self, among: Sequence[Member] = ()) -> Member:
        """The worker with the most generations."""
        holding = [(len(await self.held_by(worker)), worker) for worker in among or self.workers if worker.alive]
        return max(holding, key=lambda pair: pair[0])[1]

    def stop_server(self, name: str) -> None:
        """SIGSTOP all of a server's processes, parents first: a stopped parent starts no new child."""
        for pid in self._server_pids(name):
            with suppress(ProcessLookupError):  # a backend may end at any moment
                os.kill(pid, signal.SIGSTOP)

    def resume_servers(self) -> None:
        for name in ("postgres", "valkey"):
            for pid in self._server_pids(name):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def _server_pids(self, name: str) -> Iterator[int]:
        """Yields a server's pid and the pids of all descendants. Children are listed after the parent was yielded."""
        server = getattr(self, name, None)
        if server is None or server.process is None:
            return
        pids = deque([server.process.pid])
        while pids:
            yield (pid := pids.popleft())
            with suppress(OSError):
                pids.extend(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))

    async def heal(self) -> None:
        """End all faults, start every server and member again, and wait until all are ready."""
        self.exits.look()
        for proxy in self.proxies.all.values():
            proxy.heal()
        self.resume_servers()
        for server in (self.valkey, self.postgres):
            await self._revive(server)
        for member in self.members:
            if member.alive:
                member.signal(signal.SIGCONT)
            else:
                member.start()
        await self.until_ready(self.members, again=True)
        for fault in self.history.faults:
            fault.ended = fault.ended or time.time()

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Start a process again that ends inside the block, as a supervisor does, and record its end."""
        watch = asyncio.ensure_future(self._watch())
        try:
            yield
        finally:
            watch.cancel()

    async def _watch(self) -> None:
        while True:
            self.exits.look()
            for member in self.members:
                if not member.alive:
                    member.start()
            await asyncio.sleep(0.5)

    async def _revive(self, server: Server) -> None:
        """Wait until a server replies. A server that has ended, also during its start, is started again."""
        until = time.monotonic() + 120
        while not await asyncio.to_thread(server.is_ready):
            if time.monotonic() > until:
                raise CannotRun(f"{server.name} is not ready:\n{last_lines(server.log, 20)}")
            if server.process is None or server.process.poll() is not None:
                await asyncio.to_thread(server.before_start)
                server.process = server.program().start()
            await asyncio.sleep(0.1)

    # --- looking

    async def insist(self, ask: Callable[[], T]) -> T:
        """Call ``ask`` until it succeeds: a store may still suffer from an earlier fault. Returns the result.

        Raises the last error when the store is away for longer than STORE_SECONDS.
        """
        until = time.monotonic() + STORE_SECONDS
        while True:
            try:
                return await asyncio.to_thread(ask)
            except (psycopg2.Error, redis.RedisError):
                if time.monotonic() > until:
                    raise
            await asyncio.sleep(0.1)

    async def run_in_redis(self, command: Callable[[redis.Redis], T]) -> T:
        """Send commands to Redis over a connection of their own, past every proxy, as soon as Redis accepts one."""

        def run() -> T:
            with self.redis() as client:
                return command(client)

        return await self.insist(run)

    def service(self) -> Service:
        """The service as clients reach it, through the proxies."""
        addresses = [(HOST, self.hop(f"client.{web.name}").port) for web in self.webs]
        return Service(addresses, self.tokens(), self.committed)

    def _store_ports(self) -> set[int]:
        """The ports over which members reach PostgreSQL and Redis."""
        return {proxy.port for proxy in self.hops(".redis", ".postgres")}

    def counts(self) -> Counter[str]:
        """The marks that were counted on the wire since the last ``forget_counts``."""
        return self.proxies.counts()

    def forget_counts(self) -> None:
        for proxy in self.proxies.all.values():
            proxy.counts.clear()

    def footprints(self) -> dict[str, Footprint]:
        """The footprint of every worker process and web process, by name and pid."""
        found = {}
        stores = self._store_ports()
        for member in self.members:
            pids = member.children if member.port else [member.pid]
            for pid in pids:
                if seen := footprint(pid, stores):
                    found[f"{member.name}#{pid}"] = seen
        return found
