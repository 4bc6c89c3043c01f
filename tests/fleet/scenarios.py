"""The scenarios of the fleet: hosts that are lost or parted, and a mix. The rules are those of chaos."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from tests.chaos import doors
from tests.chaos import faults as chaos
from tests.chaos.evidence import Allowed
from tests.chaos.faults import Strike
from tests.chaos.load import Plan
from tests.chaos.rig import Build
from tests.chaos.scenarios import Deck, Fault, Scenario, mixed
from tests.fleet import faults
from tests.fleet.rig import STREAMS, WEBS, WORKERS

# A handful of answers: the subject is the topology. They last 12 s, longer than each fault.
PLAN = Plan(generations=6, tokens=180, rate=15.0, kinds=("stable", "reconnecting", "late"))
BUILD = Build()
SCENARIOS: dict[str, Scenario] = {}


def scenario(
    number: int, name: str, promise: str, **fields: Any
) -> Callable[[Callable[[Strike], Awaitable[None]]], Callable[[Strike], Awaitable[None]]]:
    def add(strike: Callable[[Strike], Awaitable[None]]) -> Callable[[Strike], Awaitable[None]]:
        given = {"plan": PLAN, "build": BUILD, "allowed": Allowed(proxied=True), **fields}
        SCENARIOS[name] = Scenario(number, name, promise, strike, **given)
        return strike

    return add


@scenario(0, "calm", "Without a fault nothing is taken over and nobody is disturbed", covers=("archive",))
async def calm(strike: Strike) -> None:
    await strike.under_way(0.3)


# --- hosts that are lost --------------------------------------------------------------------------------------------


@scenario(1, "web-lost", "A web host loses its power: requests go to the others")
async def web_lost(strike: Strike) -> None:
    await strike.under_way(0.15)
    await faults.lose_web(strike, WEBS, 6)


@scenario(2, "streams-lost", "A stream host loses its power: its readers go on elsewhere with their cursor")
async def streams_lost(strike: Strike) -> None:
    await strike.under_way(0.15)
    await faults.lose_web(strike, STREAMS, 6)


@scenario(3, "worker-lost", "A worker's host loses its power: another worker goes on", covers=("takeover",))
async def worker_lost(strike: Strike) -> None:
    await strike.under_way(0.15)
    await faults.lose_worker(strike, 8)


@scenario(3, "worker-unplugged", "A worker without a network is replaced, and its late writes are refused",
          covers=("takeover", "fence"))  # fmt: skip
async def worker_unplugged(strike: Strike) -> None:
    await strike.under_way(0.15)
    await faults.unplug_worker(strike, 10)


# --- hosts that are parted ------------------------------------------------------------------------------------------


@scenario(4, "worker-without-postgres", "Parted from PostgreSQL alone, a worker stops in time and is replaced",
          covers=("takeover",))  # fmt: skip
async def worker_without_postgres(strike: Strike) -> None:
    await strike.under_way(0.15)
    await faults.part_worker(strike, "postgres", 9)


@scenario(5, "worker-without-redis", "Parted from Redis alone, a worker goes on, and readers get its checkpoints")
async def worker_without_redis(strike: Strike) -> None:
    await strike.under_way(0.15)
    await faults.part_worker(strike, "redis", 8)


@scenario(6, "worker-without-broker", "Parted from RabbitMQ alone, a worker finishes, and new answers begin",
          plan=replace(PLAN, ramp=8.0))  # fmt: skip
async def worker_without_broker(strike: Strike) -> None:
    await strike.under_way(0.05)
    await faults.part_worker(strike, "broker", 10)


@scenario(7, "worker-hears-nothing-of-redis", "What a worker sends reaches Redis and no reply comes: nothing twice")
async def worker_hears_nothing(strike: Strike) -> None:
    await strike.under_way(0.15)
    await faults.part_worker(strike, "redis", 8, one_way=True)


@scenario(7, "worker-hears-nothing-of-postgres", "Commits arrive and no reply comes: nothing twice, nothing missing")
async def worker_hears_no_commit(strike: Strike) -> None:
    await strike.under_way(0.15)
    await faults.part_worker(strike, "postgres", 9, one_way=True)


@scenario(8, "pooler-restarted", "PgBouncer is killed and started again, twice, while answers are written")
async def pooler_restarted(strike: Strike) -> None:
    await strike.under_way(0.15)
    await faults.restart_pooler(strike)
    await strike.later(2, 3)
    await faults.restart_pooler(strike)


@scenario(8, "pooler-parted", "PgBouncer holds connections and PostgreSQL is out of its reach")
async def pooler_parted(strike: Strike) -> None:
    await strike.under_way(0.15)
    await faults.part_pooler(strike, 7)


@scenario(9, "proxy-without-web", "The proxy cannot reach one web host, nor one stream host: the others serve")
async def proxy_without_web(strike: Strike) -> None:
    await strike.under_way(0.15)
    await faults.part_proxy(strike, WEBS, 6)
    await faults.part_proxy(strike, STREAMS, 6)


@scenario(10, "web-without-redis", "A web host and a stream host that are parted from Redis serve from PostgreSQL")
async def web_without_redis(strike: Strike) -> None:
    await strike.under_way(0.15)
    for name in (WEBS[0], STREAMS[0]):
        member = next(web for web in strike.rig.webs if web.name == name)
        await faults.part_member(strike, member, "redis", 6)


@scenario(11, "broker-restarted", "RabbitMQ is killed and started again: messages that it lost are sent again",
          plan=replace(PLAN, ramp=8.0))  # fmt: skip
async def broker_restarted(strike: Strike) -> None:
    await strike.under_way(0.05)
    await faults.restart_broker(strike)
    await strike.later(4, 6)


@scenario(12, "bad-cable", "Redis's host, then a worker's, loses packets and delays them")
async def bad_cable(strike: Strike) -> None:
    await strike.under_way(0.1)
    await faults.spoil_cable(strike, "redis", 6)
    await faults.spoil_cable(strike, (await strike.rig.busiest()).name, 6)


# --- everything -----------------------------------------------------------------------------------------------------


def _at_work(fault: Fault) -> Fault:
    """A fault that strikes while an answer is being made: it must be taken over."""

    async def strike_at_work(strike: Strike) -> None:
        await strike.answering()
        await fault(strike)

    return strike_at_work


# The places that every mix must reach; random faults follow.
_FIRST: tuple[Fault, ...] = (
    lambda s: faults.lose_worker(s, s.lease + 2),
    lambda s: faults.unplug_worker(s, s.lease + 4),
    lambda s: faults.part_worker(s, "postgres", s.lease + 3),
)
_MIX: tuple[Fault, ...] = (
    *_FIRST,
    lambda s: faults.lose_web(s, WEBS, s.rng.uniform(2, 6)),
    lambda s: faults.lose_web(s, STREAMS, s.rng.uniform(2, 6)),
    lambda s: faults.part_worker(s, "redis", s.rng.uniform(2, 9)),
    lambda s: faults.part_worker(s, "broker", s.rng.uniform(2, 9)),
    lambda s: faults.part_worker(s, "redis", s.rng.uniform(2, 9), one_way=True),
    lambda s: faults.part_worker(s, "postgres", s.rng.uniform(2, 9), one_way=True),
    lambda s: faults.part_web(s, "postgres", s.rng.uniform(2, 6)),
    lambda s: faults.part_web(s, "redis", s.rng.uniform(2, 6)),
    lambda s: faults.part_proxy(s, (*WEBS, *STREAMS), s.rng.uniform(2, 6)),
    lambda s: faults.part_pooler(s, s.rng.uniform(1, 7)),
    lambda s: faults.spoil_cable(s, s.rng.choice(("redis", "pgbouncer", *WORKERS)), s.rng.uniform(3, 7)),
    faults.restart_pooler,
    faults.restart_broker,
    lambda s: chaos.kill_redis(s, s.rng.uniform(0.2, 4), s.rng.randrange(0, 60_000)),
    chaos.flush_redis,
)


def mix(seconds: float) -> Scenario:
    """A mix of lost and parted hosts."""
    plan = replace(
        PLAN,
        # The first faults take 30 s: messages arrive during each of them.
        generations=max(10, int(seconds / 4)),
        ramp=max(25.0, seconds - 10),
        feeds=doors.FeedReader,
    )
    return mixed(
        "mix",
        f"A seeded mix of lost and parted hosts for {seconds:g} s, then healing: all ends, everybody is told",
        seconds,
        Deck(tuple(_at_work(fault) for fault in _FIRST), _MIX),
        plan,
        BUILD,
        allowed=Allowed(proxied=True),
        covers=("takeover", "fence", "archive"),
    )


# The short form: a lost host, a partition, and a short mix.
SHORT = ("streams-lost", "worker-without-postgres", "mix")
NAMES = (*SCENARIOS, "mix")


def find(name: str, seconds: float, generations: int | None) -> Scenario:
    """A scenario by its name; ``seconds`` are those of the mix, ``generations`` another load."""
    chosen = mix(seconds) if name == "mix" else SCENARIOS[name]
    return replace(chosen, plan=replace(chosen.plan, generations=generations)) if generations else chosen
