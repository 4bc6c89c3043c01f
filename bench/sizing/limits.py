"""The limits of single servers, in the order in which a growing deployment reaches them. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from bench.sizing.law import USED, Costs, Load, Needs, needs

# As shipped: VALKEY_MAXMEMORY and max_connections of the Compose file, worker_connections of nginx.conf.
MAXMEMORY, SESSIONS, PROXY_CONNECTIONS = 512 * 2**20, 300, 32_768
# Local ports of Linux for connections from one address to one address and port (ip_local_port_range 32768 to 60999).
PORTS = 28_232
# Entries of the kernel's connection tracking on a machine with more than 4 GB (nf_conntrack_max).
TRACKED = 262_144
MOST_READERS = 1e8


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit, and the part of it that a load uses: 1 is the limit itself."""

    name: str
    used: Callable[[Load, Needs], float]


LIMITS = (
    Limit("Redis's memory in Compose, 512 MB (`VALKEY_MAXMEMORY`)", lambda _, need: need.redis_memory / MAXMEMORY),
    Limit("PostgreSQL's 300 sessions in Compose, twice in an update", lambda _, need: need.connections * 2 / SESSIONS),
    Limit("half of the core of one Redis, which is planned for it", lambda _, need: need.redis_cores),
    Limit("the whole core of one Redis", lambda _, need: need.redis_cores * USED),
    Limit("64 GB of memory for Redis", lambda _, need: need.redis_memory / 64e9),
    Limit("1,000 sessions of PostgreSQL, twice in an update", lambda _, need: need.connections * 2 / 1000),
    Limit("16 planned cores of PostgreSQL", lambda _, need: need.database_cores / 16),
    Limit("32,768 connections of one process of nginx", lambda load, _: 2 * load.readers / PROXY_CONNECTIONS),
    Limit("28,232 ports between two addresses", lambda load, _: load.readers / PORTS),
    Limit("262,144 tracked connections of a kernel", lambda load, _: load.readers / TRACKED),
    Limit("a network of 10 Gbit/s", lambda _, need: need.bytes_a_second * 8 / 10e9),
    Limit("100 MB a second of WAL at the peak", lambda load, need: need.wal_a_day / 86_400 * load.peak / 100e6),
    Limit("1 TB of disk a month", lambda _, need: need.disk_a_month / 1e12),
)


def reached(costs: Costs, shape: Load) -> list[tuple[str, float]]:
    """The readers at which a deployment of this shape reaches each limit, the earliest first."""
    found = [(limit.name, _readers(limit, costs, shape)) for limit in LIMITS]
    return sorted(found, key=lambda pair: pair[1])


def _readers(limit: Limit, costs: Costs, shape: Load) -> float:
    low, high = 0.0, MOST_READERS
    # Halves of a number of readers: fifty are more than its digits.
    for _ in range(50):
        middle = (low + high) / 2
        load = scaled(shape, middle)
        low, high = (low, middle) if limit.used(load, needs(load, costs)) >= 1 else (middle, high)
    return high


def scaled(shape: Load, readers: float) -> Load:
    """A load of the same proportions with so many readers."""
    factor = readers / shape.readers
    return replace(
        shape,
        readers=readers,
        generations=shape.generations * factor,
        messages=shape.messages * factor,
        idle=shape.idle * factor,
    )
