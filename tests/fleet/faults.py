"""Faults of hosts and of the network between them. The history records each, with the hops that it struck."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast

from tests.chaos import faults
from tests.chaos.deployment import Member
from tests.chaos.faults import Strike
from tests.fleet.rig import WORKERS, Fleet

# The host behind each hop of a member. Members reach PostgreSQL through the pooler only.
STORES = {"postgres": "pgbouncer", "redis": "redis", "broker": "rabbitmq"}
# A silent partition. explain.py knows what it excuses, by the hops behind the colon.
PARTED = "black hole"


def fleet(strike: Strike) -> Fleet:
    return cast(Fleet, strike.rig)


# --- hosts --------------------------------------------------------------------------------------------------------


async def lose_web(strike: Strike, names: Sequence[str], seconds: float) -> None:
    """A host of the web groups loses its power, and is back after ``seconds``."""
    name = strike.rng.choice(names)
    member = next(web for web in strike.rig.webs if web.name == name)
    with strike.rig.during("host lost", name):
        fleet(strike).host(member).unplug()
        member.kill()
        await asyncio.sleep(seconds)
        fleet(strike).host(member).plug_in()
        member.start()


async def lose_worker(strike: Strike, seconds: float) -> None:
    """The host of the busiest worker loses its power: no connection is closed, and nothing answers any more."""
    worker = await strike.rig.busiest()
    fleet(strike).host(worker).unplug()
    await faults.end_worker(strike, worker)
    await asyncio.sleep(seconds)
    fleet(strike).host(worker).plug_in()
    worker.start()


async def unplug_worker(strike: Strike, seconds: float) -> None:
    """The host of the busiest worker has no network, and its processes go on: a zombie that comes back."""
    worker = await strike.rig.busiest()
    with strike.rig.during(PARTED, f"{seconds:g} s unplugged: {_hops(worker, *STORES)}"):
        fleet(strike).host(worker).unplug()
        await asyncio.sleep(seconds)
        fleet(strike).host(worker).plug_in()


# --- the network between two of them --------------------------------------------------------------------------------


async def part_worker(strike: Strike, store: str, seconds: float, *, one_way: bool = False) -> None:
    """The busiest worker and one of STORES are parted. ``one_way``: what the worker sends arrives, replies vanish."""
    worker = await strike.rig.busiest()
    await part_member(strike, worker, store, seconds, one_way=one_way)


async def part_web(strike: Strike, store: str, seconds: float) -> None:
    """One host of the web groups and one of STORES are parted."""
    await part_member(strike, strike.rng.choice(strike.rig.webs), store, seconds)


async def part_member(strike: Strike, member: Member, store: str, seconds: float, *, one_way: bool = False) -> None:
    network = fleet(strike).network
    with strike.rig.during(PARTED, f"{seconds:g} s{', one way' if one_way else ''}: {_hops(member, store)}"):
        network.cut(STORES[store], member.name)
        if not one_way:
            network.cut(member.name, STORES[store])
        await asyncio.sleep(seconds)
        network.mend(STORES[store], member.name)


async def part_proxy(strike: Strike, names: Sequence[str], seconds: float) -> None:
    """The reverse proxy and one host behind it are parted. The host goes on, and the others serve its readers."""
    name = strike.rng.choice(names)
    with strike.rig.during(PARTED, f"{seconds:g} s: proxy.{name}"):
        fleet(strike).network.part("proxy", name)
        await asyncio.sleep(seconds)
        fleet(strike).network.mend("proxy", name)


async def part_pooler(strike: Strike, seconds: float) -> None:
    """PgBouncer and PostgreSQL are parted: clients of the pooler are connected and get no reply."""
    with strike.rig.during("postgres frozen", f"{seconds:g} s, parted from its pooler"):
        fleet(strike).network.part("pgbouncer", "postgres")
        await asyncio.sleep(seconds)
        fleet(strike).network.mend("pgbouncer", "postgres")


async def spoil_cable(strike: Strike, name: str, seconds: float, share: float = 0.03) -> None:
    """The cable of one host loses packets and delays them."""
    network = fleet(strike).network
    struck = [name] if name in WORKERS else [member.name for member in strike.rig.members]
    hops = ", ".join(f"{member}.{store}" for member in struck for store in ("postgres", "redis"))
    with strike.rig.during("bad cable") as fault:
        fault.detail = f"{name}, {network.spoil(name, share)} for {seconds:g} s: {hops}"
        await asyncio.sleep(seconds)
        network.restore(name)


# --- servers --------------------------------------------------------------------------------------------------------


async def restart_pooler(strike: Strike) -> None:
    """PgBouncer gets kill -9 and starts again: every connection to PostgreSQL breaks, commits among them."""
    pooler = fleet(strike).pooler
    assert pooler is not None
    hops = ", ".join(f"{member.name}.postgres" for member in strike.rig.members)
    with strike.rig.during("connections cut", f"pgbouncer restarted: {hops}"):
        pooler.stop()
        await asyncio.sleep(0.5)
        pooler.start()


async def restart_broker(strike: Strike) -> None:
    """RabbitMQ gets kill -9 and starts again, seconds later."""
    broker = fleet(strike).broker
    assert broker is not None
    with strike.rig.during("broker restarted"):
        broker.stop()
        await asyncio.sleep(0.5)
        broker.begin()


def _hops(member: Member, *stores: str) -> str:
    return ", ".join(f"{member.name}.{store}" for store in stores)
