"""The fleet: a deployment like the chaos rig's whose parts are on hosts of their own, without proxies between them.

Clients come from the router, through nginx. The router and this process reach every host also while hosts are parted.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from random import Random

from dev.process import Program
from tests.chaos.deployment import DATABASE, Member
from tests.chaos.load import Service
from tests.chaos.rig import REFUSALS, Build, Rig
from tests.fleet.network import Host, Network
from tests.fleet.servers import (
    POOLER_PORT,
    POSTGRES_PORT,
    REDIS_PORT,
    FleetPgBouncer,
    FleetPostgres,
    FleetRabbitMQ,
    FleetValkey,
    HostedProgram,
    Nginx,
    hosted,
)
from tests.fleet.wire import Tap

WEBS = ("web-1", "web-2", "web-3")
STREAMS = ("streams-1", "streams-2")
WORKERS = ("worker-1", "worker-2", "worker-3")
SERVERS = ("proxy", "pgbouncer", "postgres", "redis", "rabbitmq", "provider")
HOSTS = (*SERVERS, *WEBS, *STREAMS, *WORKERS)
PORT = 8000
# The processes of a group. A second one would only take memory: whole hosts are lost here.
PROCESSES = 1


def queue_type(seed: int) -> str:
    """The type of RabbitMQ's queues, by the dice of a run."""
    return Random(f"queues {seed}").choice(("classic", "quorum"))


class Fleet(Rig):
    """``async with Fleet(directory, seed, build, network) as fleet``."""

    def __init__(self, directory: Path, seed: int, build: Build, network: Network) -> None:
        super().__init__(directory, seed, build)
        self.network = network
        self.proxy: Nginx | None = None
        self._tap: Tap | None = None

    def host(self, member: Member) -> Host:
        return self.network[member.name]

    @property
    def streams(self) -> list[Member]:
        return [member for member in self.webs if member.name in STREAMS]

    # --- life

    def _make_stores(self) -> None:
        # The servers that do not run as root must be able to reach their files.
        self.directory.chmod(0o755)
        settings = {"fsync": "off", "max_wal_size": "256MB"}
        self.postgres = FleetPostgres(self.directory / "postgres", self.network["postgres"], settings)
        self.valkey = FleetValkey(self.directory / "valkey", self.network["redis"])

    def _start_variants(self) -> None:
        self.pooler = FleetPgBouncer(self.directory / "pgbouncer", self.postgres, self.network["pgbouncer"])
        self.pooler.start()
        self.broker = FleetRabbitMQ(self.directory / "rabbitmq", self.network["rabbitmq"])
        self.broker.start()

    def _make_members(self) -> None:
        self._tap = Tap(self.network["redis"].device, REDIS_PORT, REFUSALS)
        for name in (*WEBS, *STREAMS):
            self.webs.append(self._group(name, self.network[name].address, PORT, PROCESSES))
        self.workers += [self._worker(name) for name in WORKERS]
        groups = {"web": self._places(WEBS), "streams": self._places(STREAMS)}
        self.proxy = Nginx(self.directory / "nginx", self.network["proxy"], groups)
        self.proxy.start()

    def _places(self, names: tuple[str, ...]) -> list[str]:
        return [f"{self.network[name].address}:{PORT}" for name in names]

    async def __aexit__(self, *_: object) -> None:
        self.network.heal()
        await super().__aexit__()
        if self.proxy:
            self.proxy.stop()
        if self._tap:
            self._tap.close()

    async def heal(self) -> None:
        """End what parts the hosts, then everything else as in the chaos rig."""
        self.network.heal()
        await super().heal()

    # --- members

    def _provider_program(self, log: Path, host: str = "") -> Program:
        place = self.network["provider"]
        return hosted(super()._provider_program(log, place.address), place)

    def _program(self, name: str, argv: tuple[str, ...], environment: dict[str, str]) -> HostedProgram:
        return hosted(super()._program(name, argv, environment), self.network[name])

    def _addresses(self, name: str, login: str) -> dict[str, str]:
        assert self.pooler
        assert self.broker
        return {
            "DATABASE_URL": self.pooler.url(self.postgres.url(DATABASE, login)),
            "REDIS_URL": self.valkey.url(),
            "CELERY_BROKER_URL": self.broker.url,
            "BROKER_QUEUE_TYPE": queue_type(self.seed),
            "OPENAI_BASE_URL": f"http://{self.network['provider'].address}:{self.provider_port}/v1",
            "TRUSTED_PROXIES": "1",
        }

    # --- looking

    def service(self) -> Service:
        assert self.proxy
        return Service([self.proxy.address], self.tokens(), self.committed)

    def _store_ports(self) -> set[int]:
        return {POOLER_PORT, POSTGRES_PORT, REDIS_PORT}

    def counts(self) -> Counter[str]:
        return Counter(dict(self._tap.counts)) if self._tap else Counter()

    def forget_counts(self) -> None:
        if self._tap:
            self._tap.counts.clear()
