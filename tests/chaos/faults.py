"""The faults of a rig. Each fault waits for its moment, strikes, and ends. The history records all of them."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import psycopg2
import redis

from tests.chaos.deployment import Member
from tests.chaos.history import Fault
from tests.chaos.load import Load
from tests.chaos.proxy import Link, Proxy
from tests.chaos.rig import Rig

FaultFunction = Callable[["Strike"], Awaitable[None]]


class Strike:
    """A fault at work: the rig, the clients it troubles, and the dice."""

    def __init__(self, rig: Rig, load: Load, rng: random.Random, quick: bool) -> None:
        self.rig = rig
        self.load = load
        self.rng = rng
        self.quick = quick

    async def under_way(self, share: float = 0.2) -> None:
        """Wait until the readers have seen this share of all events."""
        plan = self.load.plan
        wanted = share * plan.generations * plan.tokens * len(plan.kinds)
        await self.within(90, lambda: self.load.progress() >= wanted)

    async def within(self, seconds: float, condition: Callable[[], bool]) -> bool:
        """Wait until ``condition`` is true, for ``seconds`` at most. Returns the last value."""
        until = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > until:
                return False
            await asyncio.sleep(0.05)
        return True

    async def answering(self) -> None:
        """Wait until a worker holds an answer. Some faults have no effect on idle workers.

        On a slow machine the faults before may have outlasted all messages: others are sent then.
        """
        for _ in range(4):
            until = time.monotonic() + 5
            while time.monotonic() < until:
                for worker in self.rig.workers:
                    if await self.rig.held_by(worker):
                        return
                await asyncio.sleep(0.2)
            self.load.ask(2)

    async def later(self, low: float, high: float) -> None:
        await asyncio.sleep(self.rng.uniform(low, high))

    @property
    def lease(self) -> float:
        return float(self.rig.build.settings.get("LEASE_SECONDS", "5"))


# --- workers ------------------------------------------------------------------------------------------------------


async def kill_worker(strike: Strike, back_after: float = 2.0) -> None:
    """kill -9 of the worker with the most answers. A supervisor starts it again."""
    worker = await strike.rig.busiest()
    await end_worker(strike, worker)
    await asyncio.sleep(back_after)
    worker.start()


async def end_worker(strike: Strike, worker: Member) -> None:
    """kill -9 of one worker."""
    fault = strike.rig.note("worker killed", worker.name)
    worker.kill()
    fault.ended = time.time()
    # The rows keep the worker's name until other workers claim them.
    await name_answers(strike, fault, worker)


async def name_answers(strike: Strike, fault: Fault, worker: Member) -> list[str]:
    """Add the answers of a worker to a fault. Returns their ids."""
    held = await strike.rig.held_by(worker)
    fault.detail = " ".join([fault.detail, *(one for one in held if one not in fault.detail)])
    return held


async def freeze_worker(strike: Strike, seconds: float, worker: Member | None = None, overtaken: int = 0) -> None:
    """SIGSTOP until other workers have taken over the answers, then SIGCONT: a zombie that believes it is the owner.

    One of its writes is on the way to Redis meanwhile. The write arrives when the answer has another owner, so that
    the fence has something to refuse. ``overtaken``: the zombie wakes up when the others have added so many events to
    one of its logs, or after a minute.
    """
    worker = worker or await strike.rig.busiest()
    hop = strike.rig.hop(f"{worker.name}.redis")
    with strike.rig.during("worker stopped", worker.name) as fault:
        await name_answers(strike, fault, worker)
        on_its_way = hop.hold(lambda data: b"XADD" in data or b"EVALSHA" in data)
        await strike.within(10, on_its_way.is_set)
        worker.signal(signal.SIGSTOP)
        held = await name_answers(strike, fault, worker)
        before = await _log_lengths(strike, held) if overtaken else {}
        await asyncio.sleep(seconds)
        # ``seconds`` are enough on an idle machine.
        until = time.monotonic() + 20
        while set(held) & set(await strike.rig.held_by(worker)) and time.monotonic() < until:
            await asyncio.sleep(0.2)
        await asyncio.sleep(1)
        if before:
            await _growth(strike, before, overtaken)
        refused = hop.counts["fenced"]
        hop.flow()
        await strike.within(3, lambda: hop.counts["fenced"] > refused)
        worker.signal(signal.SIGCONT)
    strike.rig.note("worker continued", worker.name).ended = time.time()


async def _log_lengths(strike: Strike, generations: Sequence[str]) -> dict[str, int]:
    """The number of events in the log of each generation."""
    keys = {generation: f"{strike.rig.namespace}:{{{generation}}}:log" for generation in generations}
    return await strike.rig.run_in_redis(lambda client: {name: int(client.xlen(key)) for name, key in keys.items()})


async def _growth(strike: Strike, before: dict[str, int], events: int) -> None:
    """Wait until one of the logs has so many more events than ``before``, for a minute at most."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        now = await _log_lengths(strike, list(before))
        if any(now[generation] >= length + events for generation, length in before.items()):
            return
        await asyncio.sleep(0.2)


async def leave_worker(strike: Strike) -> None:
    """SIGTERM, as a deployment sends it, and a new one afterwards."""
    await dismiss_worker(strike, await strike.rig.busiest())


async def dismiss_worker(strike: Strike, worker: Member) -> None:
    """SIGTERM to one worker, and a new one when it has left."""
    with strike.rig.during("worker terminated", worker.name) as fault:
        await name_answers(strike, fault, worker)
        await relieve(worker)


async def relieve(member: Member, patience: float = 30) -> None:
    """SIGTERM, and a new process when the old one has ended. One that does not end is killed, as supervisors do."""
    assert member.process
    member.expect_end()
    member.process.ask_to_stop()
    await asyncio.to_thread(member.process.wait, patience)
    member.kill()
    member.start()


def kill_between_commit_and_done(rig: Rig, worker: Member) -> threading.Event:
    """Arm the worker's way to PostgreSQL: after a final COMMIT the worker dies before the reply reaches it."""
    struck = threading.Event()
    proxy = rig.hop(f"{worker.name}.postgres")

    def request(link: Link, data: bytes) -> bool:
        if b"final_epoch = epoch" in data:
            link.notes["final"] = True
        if b"COMMIT" in data and link.notes.get("final"):
            link.notes["committing"] = True
        return True

    def reply(link: Link, data: bytes) -> bool:
        if not link.notes.get("committing") or struck.is_set():
            return True
        struck.set()
        rig.note("worker killed", f"{worker.name} between COMMIT and done:").ended = time.time()
        worker.expect_end()
        with suppress(ProcessLookupError):
            os.kill(worker.pid, signal.SIGKILL)
        return False

    proxy.on_request, proxy.on_reply = request, reply
    return struck


# --- web processes ------------------------------------------------------------------------------------------------


async def kill_web_process(strike: Strike) -> None:
    """kill -9 of one gunicorn worker; its master starts another."""
    web = strike.rng.choice(strike.rig.webs)
    # A group that has just started has no worker process yet.
    await strike.within(60, lambda: bool(web.children))
    victim = strike.rng.choice(web.children)
    strike.rig.note("web process killed", f"{web.name} {victim}").ended = time.time()
    web.expected.add(victim)
    with suppress(ProcessLookupError):
        os.kill(victim, signal.SIGKILL)


async def kill_web_master(strike: Strike, back_after: float = 1.0) -> None:
    """kill -9 of gunicorn's master: the whole group is gone until a supervisor starts it again."""
    web = strike.rng.choice(strike.rig.webs)
    with strike.rig.during("web master killed", web.name):
        web.kill()
        await asyncio.sleep(back_after)
        web.start()


async def leave_web(strike: Strike, web: Member) -> None:
    """SIGTERM and a new one, as a deployment does it."""
    with strike.rig.during("web terminated", web.name):
        await relieve(web)
        await ready(web)


async def ready(member: Member, timeout: float = 60) -> None:
    until = time.monotonic() + timeout
    while time.monotonic() < until and not await asyncio.to_thread(lambda: member.ready):
        await asyncio.sleep(0.1)


# --- Redis --------------------------------------------------------------------------------------------------------


async def kill_redis(strike: Strike, away: float, lose_bytes: int = 0, empty: bool = False) -> None:
    """kill -9, and a new start after ``away`` seconds. The file loses ``lose_bytes`` at its end, or everything."""
    valkey = strike.rig.valkey
    with strike.rig.during("redis killed", f"{away:g} s away, {'empty' if empty else f'{lose_bytes} bytes lost'}"):
        valkey.kill()
        files = Path(valkey.directory, "appendonlydir")
        for file in files.glob("*.incr.aof"):
            size = file.stat().st_size
            with file.open("r+b") as log:
                log.truncate(0 if empty else max(0, size - lose_bytes))
        await asyncio.sleep(away)
        valkey.process = valkey.program().start()


async def lose_redis_tail(strike: Strike) -> None:
    """Redis loses a suffix while writers are alive. The loss is repeated until one writer has noticed it."""
    for lost in (8_000, 16_000, 32_000, 64_000, 64_000, 64_000):
        await strike.answering()
        await kill_redis(strike, 0.2, lost)
        if await strike.within(5, lambda: bool(strike.rig.proxies.counts()["gap"])):
            return


async def flush_redis(strike: Strike) -> None:
    with strike.rig.during("redis flushed"):
        await strike.rig.run_in_redis(lambda client: client.flushall())


async def shut_redis_down(strike: Strike, away: float) -> None:
    """SHUTDOWN NOSAVE, with nothing left on disk."""
    valkey = strike.rig.valkey
    with strike.rig.during("redis shut down", "NOSAVE, files removed"):
        with strike.rig.redis() as client, suppress(redis.RedisError):
            await asyncio.to_thread(client.shutdown, nosave=True)
        valkey.kill()
        for file in Path(valkey.directory, "appendonlydir").glob("*"):
            file.unlink(missing_ok=True)
        await asyncio.sleep(away)
        valkey.process = valkey.program().start()


async def fill_redis(strike: Strike, seconds: float) -> None:
    """Set maxmemory below the used memory, so that Redis refuses every write."""
    with strike.rig.during("redis full", f"maxmemory for {seconds:g} s"):
        await strike.rig.run_in_redis(lambda client: client.config_set("maxmemory", "1mb"))
        await asyncio.sleep(seconds)
        await strike.rig.run_in_redis(lambda client: client.config_set("maxmemory", "0"))


async def fill_redis_disk(strike: Strike, seconds: float) -> None:
    """Fill the disk of Redis's append-only file, so that Redis refuses every write with an error."""
    with strike.rig.during("redis disk full", f"for {seconds:g} s"):
        filler = strike.rig.valkey.directory / "filler"
        await asyncio.to_thread(fill, filler)
        await asyncio.sleep(seconds)
        filler.unlink()


# --- PostgreSQL ---------------------------------------------------------------------------------------------------


async def stop_postgres(strike: Strike, away: float, meanwhile: int = 0) -> None:
    """``pg_ctl stop -m immediate``, and a start after ``away`` seconds.

    ``meanwhile``: messages sent in between; the start waits until one of them was refused.
    """
    postgres = strike.rig.postgres
    with strike.rig.during("postgres stopped", f"immediately, {away:g} s"):
        if postgres.process:
            with suppress(ProcessLookupError):
                os.kill(postgres.process.pid, signal.SIGQUIT)
            await asyncio.to_thread(postgres.process.wait, 10)
        postgres.kill()
        strike.load.ask(meanwhile)
        await asyncio.sleep(away)
        await strike.within(40 if meanwhile else 0, lambda: strike.load.refused)
        await asyncio.to_thread(postgres.before_start)
        postgres.process = postgres.program().start()


async def freeze_postgres(strike: Strike, seconds: float) -> None:
    with strike.rig.during("postgres frozen", f"{seconds:g} s"):
        strike.rig.stop_server("postgres")
        await asyncio.sleep(seconds)
        strike.rig.resume_servers()


async def lock_generations(strike: Strike, seconds: float) -> None:
    """Hold the lock of an administrator's ALTER TABLE for ``seconds``."""
    with (
        strike.rig.during("postgres locked", f"generations, {seconds:g} s"),
        closing(await strike.rig.insist(lambda: _locking(strike.rig.dsn))),
    ):
        await asyncio.sleep(seconds)


def _locking(dsn: str) -> Any:
    """A connection that has the lock until it is closed."""
    connection = psycopg2.connect(dsn, connect_timeout=10)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '20s'; LOCK TABLE generations IN ACCESS EXCLUSIVE MODE")
    except BaseException:
        connection.close()
        raise
    return connection


async def terminate_backends(strike: Strike, seconds: float, period: float = 0.2) -> None:
    """pg_terminate_backend of all sessions of the service, every ``period`` seconds."""
    until = time.monotonic() + seconds
    with strike.rig.during("backends terminated", f"every {period:g} s for {seconds:g} s"):
        while time.monotonic() < until:
            with suppress(psycopg2.Error):
                await asyncio.to_thread(
                    strike.rig.query,
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'unbroken'",
                )
            await asyncio.sleep(period)


async def fill_postgres_disk(strike: Strike, seconds: float, meanwhile: int = 0) -> None:
    """Fill PostgreSQL's disk for ``seconds``, and until one of the ``meanwhile`` messages was refused."""
    fault = strike.rig.note("postgres disk full", f"for {seconds:g} s")
    filler = strike.rig.postgres.directory / "filler"
    await asyncio.to_thread(fill, filler)
    strike.load.ask(meanwhile)
    began = time.monotonic()
    while (lasted := time.monotonic() - began) < seconds or (meanwhile and not strike.load.refused and lasted < 40):
        # PostgreSQL uses existing WAL segments first; without them the next commit needs room.
        with suppress(psycopg2.Error):
            await asyncio.to_thread(strike.rig.query, "SELECT pg_switch_wal()")
        await asyncio.sleep(0.3)
    filler.unlink()
    fault.ended = time.time()


def fill(path: Path) -> None:
    """Write until the file system has no byte left."""
    with path.open("wb", buffering=0) as file, suppress(OSError):
        for size in (1 << 20, 1 << 12, 1):
            with suppress(OSError):
                while file.write(b"\0" * size) == size:
                    pass


# --- the network --------------------------------------------------------------------------------------------------


async def cut_everything(strike: Strike, seconds: float, period: float = 0.2, hops: list[Proxy] | None = None) -> None:
    """Reset every connection of ``hops``, or of all hops, every ``period`` seconds."""
    hops = hops or list(strike.rig.proxies.all.values())
    until = time.monotonic() + seconds
    with strike.rig.during("connections cut", f"every {period:g} s for {seconds:g} s: {_names(hops)}"):
        while time.monotonic() < until:
            for proxy in hops:
                proxy.cut()
            await asyncio.sleep(period)


def _names(hops: list[Proxy]) -> str:
    return ", ".join(proxy.name for proxy in hops)


async def lose_replies(strike: Strike, seconds: float, share: float, hops: list[Proxy]) -> None:
    """Lose a share of the replies on ``hops``. The request is executed, its reply never arrives."""
    with strike.rig.during("replies lost", f"{share:.0%} for {seconds:g} s: {_names(hops)}"):
        for proxy in hops:
            proxy.lose_replies = share
        await asyncio.sleep(seconds)
        for proxy in hops:
            proxy.lose_replies = 0.0


async def black_hole(strike: Strike, seconds: float, hops: list[Proxy]) -> None:
    """Stall the connections of ``hops``: they look alive and carry nothing. At the end they turn out to be dead."""
    with strike.rig.during("black hole", f"for {seconds:g} s: {_names(hops)}"):
        for proxy in hops:
            proxy.stall()
        await asyncio.sleep(seconds)
        for proxy in hops:
            proxy.heal()


async def cut_provider(strike: Strike) -> None:
    """Break off every call of the provider."""
    with strike.rig.during("provider cut"):
        for proxy in strike.rig.hops(".provider"):
            proxy.cut()


# --- the broker ---------------------------------------------------------------------------------------------------


async def trouble_broker(strike: Strike, seconds: float) -> None:
    """Let messages of the broker vanish, arrive twice, and arrive again much later."""
    strike.rig.note("broker troubled", f"{seconds:g} s")
    queue = f"{strike.rig.namespace}:generations"
    known: list[bytes] = []
    until = time.monotonic() + seconds
    with strike.rig.redis() as client:
        while time.monotonic() < until:
            # The store may still be starting.
            with suppress(redis.RedisError):
                message = await asyncio.to_thread(client.rpop, queue)
                if isinstance(message, bytes):
                    known.append(message)
                if known and strike.rng.random() < 0.5:
                    again = [strike.rng.choice(known) for _ in range(strike.rng.randint(1, 3))]
                    await asyncio.to_thread(client.lpush, queue, *again)
            await asyncio.sleep(strike.rng.uniform(0.005, 0.05))
