"""The samples of a soak: what each process and each store holds, every few seconds."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.soak.clients import Clients
from tests.soak.deployment import Deployment

_TABLES = """SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p') AND NOT c.relispartition"""
_POSTGRES = """SELECT (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
                       AND backend_type = 'client backend' AND pid <> pg_backend_pid()),
                      pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::float8 / 1024"""
# The states of a connection of /proc/net/tcp that hold a descriptor: established, and closed by the other end.
_OPEN = {"01", "08"}


@dataclass(frozen=True)
class Point:
    """One value. ``life``: the process whose value it is, or "" for what outlives processes; ``age``: its seconds."""

    at: float
    value: float
    life: str = ""
    age: float = 0.0


@dataclass
class Samples:
    """All points by the name of their series, and the number of answers begun until each sample."""

    began: float = field(default_factory=time.time)
    series: dict[str, list[Point]] = field(default_factory=dict)
    sent: list[tuple[float, int]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    deploys: Sequence[tuple[float, float]] = ()

    def add(self, name: str, point: Point) -> None:
        self.series.setdefault(name, []).append(point)


class Sampler:
    """``run`` samples a deployment until it is cancelled."""

    def __init__(self, deployment: Deployment, clients: Clients, period: float) -> None:
        self.samples = Samples(deploys=deployment.deploys)
        self._deployment = deployment
        self._clients = clients
        self._period = period
        self._births: dict[int, float] = {}
        self._read: dict[Path, int] = {}
        self._tables: list[str] = []

    async def run(self) -> None:
        """Sample for ever, at even distances."""
        while True:
            began = time.monotonic()
            self.samples.sent.append((time.time(), self._clients.sent))
            await asyncio.to_thread(self.sample)
            await asyncio.sleep(max(0.0, self._period - (time.monotonic() - began)))

    def sample(self) -> None:
        """Take one sample of everything."""
        now = time.time()
        self._processes(now)
        self._postgres(now)
        with self._deployment.redis() as client:
            self._add("redis keys", now, client.dbsize())
            self._add("redis memory", now, client.info("memory")["used_memory"] / 1024)
        self.samples.errors += self._new_errors()
        self._add("errors", now, len(self.samples.errors))

    def _add(self, name: str, at: float, value: float) -> None:
        self.samples.add(name, Point(at, float(value)))

    def _processes(self, now: float) -> None:
        deployment = self._deployment
        own = {member.port for member in deployment.all() if member.port}
        stores = {deployment.postgres.port, deployment.valkey.port}
        clients, stored = sockets(own, stores)
        connected = 0
        for kind, members in deployment.members.items():
            for pid in [pid for m in list(members) for pid in (m.children if m.port else [m.pid])]:
                with suppress(OSError, ValueError):
                    links = descriptors(pid)
                    life, age = f"{kind} {pid}", now - self._births.setdefault(pid, now)
                    connected += len(links & clients)
                    held = len(links - clients - stored)
                    self.samples.add(f"descriptors of {kind}", Point(now, held, life, age))
                    self.samples.add(f"memory of {kind}", Point(now, resident(pid) / 1024, life, age))
        self._add("connections of clients", now, connected)

    def _postgres(self, now: float) -> None:
        [(sessions, wal)] = self._deployment.query(_POSTGRES)
        self._add("connections of PostgreSQL", now, sessions)
        self._add("WAL", now, wal)
        self._tables = self._tables or [row[0] for row in self._deployment.query(_TABLES)]
        counts = " UNION ALL ".join(f"SELECT '{name}', count(*) FROM {name}" for name in self._tables)
        for name, rows in self._deployment.query(counts):
            self._add(f"rows of {name}", now, rows)

    def _new_errors(self) -> list[str]:
        """The lines of the level error that processes have logged since the last sample."""
        found = []
        for log in self._deployment.directory.glob("*.log"):
            with log.open("rb") as file:
                file.seek(self._read.get(log, 0))
                data = file.read()
            whole = data[: data.rfind(b"\n") + 1]
            self._read[log] = self._read.get(log, 0) + len(whole)
            found += [f"{log.stem}: {line[:400]}" for line in whole.decode(errors="replace").splitlines() if bad(line)]
        return found


def bad(line: str) -> bool:
    """True for a log line of the level error or above."""
    with suppress(ValueError):
        fields = json.loads(line)
        return isinstance(fields, dict) and fields.get("level") in ("error", "critical")
    return line.startswith("Traceback")


def sockets(own: set[int], stores: set[int]) -> tuple[set[str], set[str]]:
    """The sockets with clients at a port of ``own``, and those with ``stores``, by the links of their descriptors."""
    clients, stored = set(), set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        row = line.split()
        here, there = (int(row[place].rpartition(":")[2], 16) for place in (1, 2))
        if row[3] in _OPEN:
            if here in own:
                clients.add(f"socket:[{row[9]}]")
            if there in stores:
                stored.add(f"socket:[{row[9]}]")
    return clients, stored


def descriptors(pid: int) -> set[str]:
    """The descriptors of a process: the link of a socket, the number and link of anything else."""
    found = set()
    for number in os.listdir(f"/proc/{pid}/fd"):
        with suppress(OSError):
            link = os.readlink(f"/proc/{pid}/fd/{number}")
            found.add(link if link.startswith("socket:") else f"{number} {link}")
    return found


def resident(pid: int) -> int:
    """The resident memory of a process in KiB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024
