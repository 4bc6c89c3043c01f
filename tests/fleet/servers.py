"""The servers of a fleet, each on a host of its own: PostgreSQL, PgBouncer, Valkey, RabbitMQ, nginx."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass, fields
from pathlib import Path

from dev.postgres import Postgres
from dev.process import CannotRun, Process, Program, last_lines, wait_until
from dev.valkey import Valkey
from tests.deploy import proxy
from tests.fakes.pgbouncer import PgBouncer
from tests.fakes.rabbitmq import RabbitMQ
from tests.fleet.network import Host

POSTGRES_PORT, REDIS_PORT, POOLER_PORT, PROXY_PORT = 5432, 6379, 6432, 8080
# PostgreSQL's own sessions, which the pooler shares between all processes of the fleet.
POOLED_SESSIONS = 20
# The addresses of all hosts.
EVERY_HOST = "10.213.0.0/16"


@dataclass(frozen=True)
class HostedProgram(Program):
    """A program that starts on a host."""

    place: Host | None = None

    def start(self) -> Process:
        assert self.place is not None
        with self.place.entered():
            return super().start()


def hosted(program: Program, host: Host) -> HostedProgram:
    return HostedProgram(**{field.name: getattr(program, field.name) for field in fields(Program)}, place=host)


class FleetPostgres(Postgres):
    """PostgreSQL on a host, open to every host with a password."""

    def __init__(self, directory: Path, host: Host, settings: dict[str, str]) -> None:
        super().__init__(directory, settings={**settings, "listen_addresses": host.address})
        self.host = host.address
        self._place = host

    def choose_ports(self) -> None:
        self.port = POSTGRES_PORT

    def program(self) -> Program:
        return hosted(super().program(), self._place)

    def _create_cluster(self) -> None:
        super()._create_cluster()
        with (self.data / "pg_hba.conf").open("a") as file:
            file.write(f"host all all {EVERY_HOST} scram-sha-256\n")


class FleetValkey(Valkey):
    """Valkey on a host."""

    def __init__(self, directory: Path, host: Host) -> None:
        super().__init__(directory)
        self.host = host.address
        self._place = host

    def choose_ports(self) -> None:
        self.port = REDIS_PORT

    def program(self) -> Program:
        return hosted(super().program(), self._place)


class FleetPgBouncer(PgBouncer):
    """PgBouncer in transaction mode on a host of its own."""

    def __init__(self, directory: Path, server: Postgres, host: Host) -> None:
        super().__init__(directory, server, pool=POOLED_SESSIONS, host=host.address, port=POOLER_PORT)
        self._place = host

    def start(self) -> None:
        with self._place.entered():
            super().start()


class FleetRabbitMQ(RabbitMQ):
    """RabbitMQ with its epmd on a host."""

    def __init__(self, directory: Path, host: Host) -> None:
        super().__init__(directory, host.address)
        self._place = host

    def start(self, timeout: float = 120) -> None:
        with self._place.entered():
            super().start(timeout)

    def begin(self) -> None:
        with self._place.entered():
            super().begin()

    def command(self, *arguments: str) -> str:
        with self._place.entered():
            return super().command(*arguments)


class Nginx:
    """nginx on a host, with the configuration of deploy/nginx. ``groups``: the addresses of ``web`` and ``streams``."""

    def __init__(self, directory: Path, host: Host, groups: dict[str, list[str]]) -> None:
        self.directory = directory
        self.address = (host.address, PROXY_PORT)
        self._groups = groups
        self._place = host
        self._log = directory / "nginx.log"
        self._process: Process | None = None

    def start(self) -> None:
        """Raises CannotRun where nginx is not installed, or does not start."""
        found = proxy.binary()
        if found is None:
            raise CannotRun("nginx is not installed (apt-get install nginx)")
        self.directory.mkdir(parents=True, exist_ok=True)
        # The workers of an nginx started by root run as another user, who must be able to write the temporary files.
        self.directory.chmod(0o755)
        if not (self.directory / "nginx.conf").exists():
            proxy.write_configuration(self.directory, self._groups, self._place.address, (PROXY_PORT, PROXY_PORT + 1))
            self._take_one_worker()
        argv = (found, "-p", str(self.directory), "-c", str(self.directory / "nginx.conf"), "-g", "daemon off;")
        self._process = hosted(Program("nginx", argv, self._log), self._place).start()
        if not wait_until(lambda: (self.directory / "nginx.pid").exists() and self._answers(), 30):
            self.stop()
            raise CannotRun(f"nginx did not start:\n{last_lines(self._log, 20)}")

    def _take_one_worker(self) -> None:
        file = self.directory / "nginx.conf"
        file.write_text(re.sub(r"(?m)^worker_processes auto;$", "worker_processes 1;", file.read_text()))

    def _answers(self) -> bool:
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex(self.address) == 0

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process = None
