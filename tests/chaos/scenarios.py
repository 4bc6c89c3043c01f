"""The table of scenarios: number, name, fault, exceptions. Forms of one fault share a number; 25 is the mix."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import redis

from tests.chaos import doors, faults, figures, targets, versions
from tests.chaos.evidence import Allowed, Evidence
from tests.chaos.faults import Strike
from tests.chaos.load import Plan
from tests.chaos.proxy import LOST_COMMIT
from tests.chaos.rig import TOOLED, Build
from tests.fakes import pgbouncer, rabbitmq

Judge = Callable[[Evidence], str | None]
Fault = Callable[[Strike], Awaitable[None]]


@dataclass(frozen=True)
class Scenario:
    """One fault under load. ``covers``: the places that the run must have reached at least once to count.

    ``lasting``: the fault stays until the clients are done. ``judge``: one more rule.
    ``within``: seconds in which an affected answer must continue; None: not measured.
    """

    number: int
    name: str
    promise: str
    strike: Callable[[Strike], Awaitable[None]]
    plan: Plan = Plan()
    build: Build = Build()
    allowed: Allowed = Allowed()
    covers: tuple[str, ...] = ()
    lasting: bool = False
    judge: Judge | None = None
    within: float | None = None
    timed: bool = False  # its promise is in seconds: no other rig should run beside it
    patience: float = 90.0  # seconds from the healing to the last end, without the provider's own time
    needs: Callable[[], str | None] = lambda: None


@dataclass(frozen=True)
class Deck:
    """The faults of a mix. Each of ``first`` strikes once, in any order; those of ``then`` follow over and over.

    ``pause``: seconds between two faults. ``healed``: the share of faults that are repaired before the next one.
    """

    first: tuple[Fault, ...]
    then: tuple[Fault, ...]
    pause: tuple[float, float] = (0.5, 3)
    healed: float = 0.7  # operators repair most


def mixed(name: str, promise: str, seconds: float, deck: Deck, plan: Plan, build: Build, **fields: Any) -> Scenario:
    """A scenario of seeded faults of a deck, one after the other, for ``seconds``; every answer must end afterwards."""

    async def strike_at_random(strike: Strike) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        cards = strike.rng.sample(deck.first, len(deck.first))
        await strike.under_way(0.02)
        struck = 0
        while struck < len(deck.first) or loop.time() < until:
            cards = cards or strike.rng.sample(deck.then, len(deck.then))
            await cards.pop()(strike)
            struck += 1
            await strike.later(*deck.pause)
            if deck.healed and strike.rng.random() < deck.healed:
                await strike.rig.heal()

    return Scenario(25, name, promise, strike_at_random, plan=plan, build=build, **fields)


SCENARIOS: dict[str, Scenario] = {}


def scenario(
    number: int, name: str, promise: str, **fields: Any
) -> Callable[[Callable[[Strike], Awaitable[None]]], Callable[[Strike], Awaitable[None]]]:
    def add(strike: Callable[[Strike], Awaitable[None]]) -> Callable[[Strike], Awaitable[None]]:
        SCENARIOS[name] = Scenario(number, name, promise, strike, **fields)
        return strike

    return add


@scenario(0, "calm", "Without a fault nothing is taken over and nobody is disturbed")
async def calm(strike: Strike) -> None:
    await strike.under_way(0.3)


# --- 1 to 5: workers ----------------------------------------------------------------------------------------------


@scenario(
    1,
    "worker-killed",
    "Others go on within lease and sweep; nobody loses a token",
    covers=("takeover",),
    within=8,
    timed=True,
)
async def worker_killed(strike: Strike) -> None:
    await strike.under_way()
    await faults.kill_worker(strike)
    await strike.later(1, 3)
    await faults.kill_worker(strike)


@scenario(
    2,
    "worker-killed-early",
    "Killed before the first token, and between pop and row: found by the sweeper",
    plan=Plan(behaviour=lambda i: {"first_delay": 2.0}, tokens=120),
)
async def worker_killed_early(strike: Strike) -> None:
    trouble = asyncio.ensure_future(_lose_messages(strike, 4))
    await asyncio.sleep(2.2)
    for worker in strike.rig.workers[:2]:
        await faults.end_worker(strike, worker)
    await trouble
    for worker in strike.rig.workers[:2]:
        worker.start()


async def _lose_messages(strike: Strike, seconds: float) -> None:
    """Remove messages from the broker, as a crash between the pop and its record does."""
    strike.rig.note("messages lost", f"{seconds:g} s")
    with strike.rig.redis() as client:
        for _ in range(int(seconds / 0.05)):
            with suppress(redis.RedisError):
                await asyncio.to_thread(client.rpop, f"{strike.rig.namespace}:generations")
            await asyncio.sleep(0.05)


def _asked_once(evidence: Evidence) -> str | None:
    counts = [len([c for c in evidence.calls if c.tag == asked.tag]) for asked in evidence.history.asked]
    return None if all(count == 1 for count in counts) else f"provider calls per answer: {sorted(counts)}"


@scenario(
    3,
    "worker-killed-before-done",
    "Dead between COMMIT and done: readers get the same end, the provider is not asked again",
    plan=Plan(generations=3, tokens=60, cancels=0),
    build=Build(workers=1),
    judge=lambda evidence: (
        None if any("COMMIT" in f.detail for f in evidence.history.faults) else "the moment was never hit"
    ),
)
async def worker_killed_before_done(strike: Strike) -> None:
    worker = strike.rig.workers[0]
    struck = faults.kill_between_commit_and_done(strike.rig, worker)
    await asyncio.to_thread(struck.wait, 90)
    await faults.name_answers(strike, strike.rig.history.faults[-1], worker)
    await asyncio.sleep(1)
    strike.rig.hop(f"{worker.name}.postgres").heal()
    worker.kill()
    worker.start()


@scenario(4, "worker-frozen", "A zombie that wakes up is fenced", covers=("takeover", "fence"))
async def worker_frozen(strike: Strike) -> None:
    await strike.under_way()
    await faults.freeze_worker(strike, strike.lease + 3)


@scenario(5, "two-zombies", "Two staggered zombies, both fenced", covers=("takeover", "fence"), plan=Plan(tokens=400))
async def two_zombies(strike: Strike) -> None:
    await strike.under_way(0.1)
    first = await strike.rig.busiest()
    one = asyncio.ensure_future(faults.freeze_worker(strike, 2 * strike.lease + 4, first))
    await asyncio.sleep(strike.lease + 2)
    others = [worker for worker in strike.rig.workers if worker is not first]
    second = await strike.rig.busiest(others)
    two = asyncio.ensure_future(faults.freeze_worker(strike, 2 * strike.lease, second))
    await asyncio.gather(one, two)


# --- 6 and 7: web processes, deployments --------------------------------------------------------------------------


def _back_in_two_seconds(evidence: Evidence) -> str | None:
    slowest = max(figures.measure(evidence)["returns"], default=0.0)
    return None if slowest <= 2 else f"a reader was back after {slowest:.1f} s only"


@scenario(
    6,
    "web-killed",
    "Readers go on elsewhere with their cursor, within two seconds",
    plan=Plan(tokens=360),
    judge=_back_in_two_seconds,
    timed=True,
)
async def web_killed(strike: Strike) -> None:
    await strike.under_way(0.15)
    for fault in (faults.kill_web_process, faults.kill_web_process, faults.kill_web_master):
        # One group at a time: the next one is restarted when all are ready again.
        await strike.within(60, lambda: all(len(web.children) == 2 for web in strike.rig.webs))
        await fault(strike)
        await strike.later(3, 4)


@scenario(
    7,
    "worker-leaves",
    "A worker that is told to leave gives its answers back: the next goes on within three seconds",
    covers=("takeover",),
    within=3,
    timed=True,
)
async def worker_leaves(strike: Strike) -> None:
    await strike.under_way(0.15)
    await faults.leave_worker(strike)
    await strike.later(1, 2)
    await faults.leave_worker(strike)


def _no_reset(evidence: Evidence) -> str | None:
    for reading in evidence.history.readings:
        resets = [f for f in reading.frames() if b'"reason":"restart"' in f.data]
        if resets:
            return f"{reading.name} was reset"
    return None


@scenario(
    7,
    "rolling-restarts",
    "Every process replaced under load, again and again: no reset",
    plan=Plan(tokens=500),
    covers=("takeover",),
    judge=_no_reset,
)
async def rolling_restarts(strike: Strike) -> None:
    await strike.under_way(0.08)
    for _ in range(1 if strike.quick else 5):
        for worker in strike.rig.workers:
            await faults.dismiss_worker(strike, worker)
            await faults.ready(worker)
        for web in strike.rig.webs:
            await faults.leave_web(strike, web)


scenario(
    7,
    "rolling-update",
    "Processes of the last release and of this version replace each other, both ways: no reset",
    plan=Plan(
        generations=6,
        tokens=400,
        others=doors.OTHERS,
        chat_client=doors.ChatAsker,
        chats=0.25,
        feeds=doors.FeedReader,
    ),
    build=Build(workers=2, released=versions.checkout),
    covers=("takeover",),
    judge=lambda evidence: _no_reset(evidence) or versions.handed_over(evidence),
    needs=versions.missing,
)(versions.update_and_roll_back)


# --- 8 to 12 and 16: Redis ----------------------------------------------------------------------------------------


@scenario(8, "redis-killed", "kill -9 and restart: readers are served from PostgreSQL, then from Redis without a seam")
async def redis_killed(strike: Strike) -> None:
    await strike.under_way()
    await faults.kill_redis(strike, away=2)


@scenario(9, "redis-tail-lost", "Redis loses its last second: resent under the same ids", covers=("gap",))
async def redis_tail_lost(strike: Strike) -> None:
    await strike.under_way()
    await faults.kill_redis(strike, away=0.2, lose_bytes=30_000)
    await strike.later(2, 3)
    await faults.kill_redis(strike, away=0.2, lose_bytes=20_000)


@scenario(
    9,
    "redis-tail-and-worker-lost",
    "Redis and the worker die together: what nobody has is taken back, with a snapshot that says so",
    covers=("takeover",),
)
async def redis_tail_and_worker_lost(strike: Strike) -> None:
    await strike.under_way()
    worker = await strike.rig.busiest()
    await faults.end_worker(strike, worker)
    await faults.kill_redis(strike, away=0.2, lose_bytes=60_000)
    worker.start()


@scenario(
    10, "redis-flushed", "FLUSHALL and SHUTDOWN NOSAVE: the log is built again, nobody is reset", covers=("lost",),
    judge=_no_reset,
)  # fmt: skip
async def redis_flushed(strike: Strike) -> None:
    await strike.under_way()
    await faults.flush_redis(strike)
    await strike.later(2, 3)
    await faults.shut_redis_down(strike, away=1)


@scenario(
    11,
    "redis-gone",
    "Redis gone for good: every answer finishes in PostgreSQL, every reader gets the end",
    lasting=True,
    allowed=Allowed(footprint=False),
)
async def redis_gone(strike: Strike) -> None:
    await strike.under_way()
    strike.rig.note("redis killed", "for good")
    strike.rig.valkey.kill()


@scenario(12, "redis-frozen", "Redis does not answer for a while: nobody waits for it")
async def redis_frozen(strike: Strike) -> None:
    await strike.under_way()
    seconds = 8 if strike.quick else 20
    with strike.rig.during("redis frozen", f"{seconds} s"):
        strike.rig.stop_server("valkey")
        await asyncio.sleep(seconds)
        strike.rig.resume_servers()


# --- 13 to 15: the network ----------------------------------------------------------------------------------------


@scenario(13, "connections-cut", "Every connection of every hop cut five times a second")
async def connections_cut(strike: Strike) -> None:
    await strike.under_way()
    hops = strike.rig.hops(".redis", ".postgres", "client.")
    await faults.cut_everything(strike, 6 if strike.quick else 20, hops=hops)


@scenario(
    14,
    "replies-lost",
    "5 % of the replies lost after execution: nothing twice, nothing missing",
    plan=Plan(generations=16),
)
async def replies_lost(strike: Strike) -> None:
    await faults.lose_replies(strike, 14 if strike.quick else 40, 0.05, strike.rig.hops(".redis", ".postgres"))


@scenario(15, "half-open", "Connections that are dead and do not know it are found")
async def half_open(strike: Strike) -> None:
    await strike.under_way()
    hops = [strike.rig.hop(name) for name in ("web-a.redis", "worker-1.redis", "worker-2.postgres", "web-b.postgres")]
    await faults.black_hole(strike, 9 if strike.quick else 25, hops)


@scenario(16, "redis-full", "Redis refuses every write for a while (maxmemory)")
async def redis_full(strike: Strike) -> None:
    await strike.under_way()
    await faults.fill_redis(strike, 5)


@scenario(16, "redis-disk-full", "Redis's disk is full: it refuses to write", build=Build(small_disks=True))
async def redis_disk_full(strike: Strike) -> None:
    await strike.under_way()
    await faults.fill_redis_disk(strike, 5)


@scenario(
    17,
    "slow-readers",
    "Readers that are slow or never read cost no memory",
    plan=Plan(kinds=("stable", "slow", "slow", "slow", "stopped", "stopped"), tokens=300, generations=8),
)
async def slow_readers(strike: Strike) -> None:
    await strike.under_way(0.4)
    strike.rig.note("readers stopped", "two of six read nothing")


# --- 18 to 21: PostgreSQL -----------------------------------------------------------------------------------------


@scenario(18, "backends-terminated", "Every database connection terminated, again and again")
async def backends_terminated(strike: Strike) -> None:
    await strike.under_way()
    await faults.terminate_backends(strike, 5 if strike.quick else 20)


def _refused_some(evidence: Evidence) -> str | None:
    statuses = {reply.status for asked in evidence.history.asked for reply in asked.replies}
    return None if 503 in statuses else f"nobody was refused: {statuses}"


@scenario(
    19,
    "postgres-stopped",
    "PostgreSQL stopped hard: tokens keep flowing, no done before the commit, every acknowledged message is there",
    plan=Plan(ramp=8.0),
    judge=_refused_some,
)
async def postgres_stopped(strike: Strike) -> None:
    await strike.under_way(0.1)
    await faults.stop_postgres(strike, 8 if strike.quick else 40, meanwhile=2)


@scenario(20, "postgres-frozen", "PostgreSQL hangs, and a table is locked", plan=Plan(ramp=6.0, tokens=400))
async def postgres_frozen(strike: Strike) -> None:
    await strike.under_way(0.1)
    await faults.freeze_postgres(strike, 8)
    await asyncio.sleep(4)
    await faults.lock_generations(strike, 6)


@scenario(
    21, "postgres-disk-full", "No room for PostgreSQL: 503, never an acknowledgement that is lost",
    build=Build(small_disks=True), plan=Plan(ramp=14.0), judge=_refused_some,
)  # fmt: skip
async def postgres_disk_full(strike: Strike) -> None:
    await strike.under_way(0.05)
    await faults.fill_postgres_disk(strike, 8, meanwhile=2)


# --- 22 to 24: provider, clocks, broker ---------------------------------------------------------------------------


_TROUBLES: tuple[dict[str, Any], ...] = (
    {"stall_after": 30, "once": True},
    {"cut_after": 25, "once": True},
    {"no_finish": True, "tokens": 40, "once": True},
    {"error_after": 35, "once": True},
    {"status": 500, "once": True},
    {"status": 429, "retry_after": 1, "once": True},
    {"nul_at": 20},
    {"split_utf8": True},
    {"split_pair_at": 10},
    {"surrogate_at": 15},
    {"drip_bytes_per_s": 3000, "tokens": 60},
    {"bad_utf8_at": 12},
)


@scenario(
    22,
    "provider-troubled",
    "Stall, end of file, errors before and in the middle, NUL, split UTF-8, single bytes",
    plan=Plan(behaviour=lambda i: _TROUBLES[i % len(_TROUBLES)], tokens=80),
    build=Build(settings={"TOKEN_TIMEOUT": "3", "FIRST_TOKEN_TIMEOUT": "6"}),
    allowed=Allowed(strange=True),
)
async def provider_troubled(strike: Strike) -> None:
    await strike.under_way(0.3)
    await faults.cut_provider(strike)


@scenario(
    23,
    "clocks-off",
    "Clocks an hour ahead and behind: only PostgreSQL's counts",
    build=Build(clocks={"worker-1": 1, "worker-2": -1, "web-a": 1, "web-b": -1}),
    allowed=Allowed(footprint=False),
    covers=("takeover",),
    needs=lambda: None if shutil.which("cc") else "there is no C compiler to build clock.c with",
)
async def clocks_off(strike: Strike) -> None:
    await strike.under_way()
    await faults.kill_worker(strike)


@scenario(
    24,
    "broker-troubled",
    "Messages lost, doubled and repeated; cancels in every state",
    plan=Plan(cancels=0.7, cancellers=3, cancel_within=(0.0, 12.0), generations=16, ramp=4.0),
)
async def broker_troubled(strike: Strike) -> None:
    await faults.trouble_broker(strike, 12)


# --- 25: everything -----------------------------------------------------------------------------------------------


def _until_met(fault: Fault, *marks: str) -> Fault:
    """The fault, repeated at most three times, until one of the ``marks`` was counted on the wire."""

    async def strike_until_met(strike: Strike) -> None:
        for _ in range(3):
            await strike.answering()
            await fault(strike)
            if await strike.within(5, lambda: any(strike.rig.proxies.counts()[mark] for mark in marks)):
                return

    return strike_until_met


async def _kill_worker_at_work(strike: Strike) -> None:
    """Kill a worker that holds an answer: another one has to take it over."""
    await strike.answering()
    await faults.kill_worker(strike)


# The places that every mix must reach; random faults follow.
_FIRST: tuple[Fault, ...] = (
    _kill_worker_at_work,
    _until_met(lambda s: faults.freeze_worker(s, s.lease + 2), "fenced"),
    faults.lose_redis_tail,
    _until_met(faults.flush_redis, "lost", "unopened"),
    _until_met(lambda s: faults.lose_replies(s, 5, 0.1, s.rig.hops(".redis", ".postgres")), LOST_COMMIT),
)
_MIX: tuple[Fault, ...] = (
    *_FIRST,
    faults.leave_worker,
    faults.kill_web_process,
    faults.kill_web_master,
    lambda s: faults.kill_redis(s, s.rng.uniform(0.2, 4), s.rng.randrange(0, 60_000)),
    lambda s: faults.shut_redis_down(s, 1),
    lambda s: faults.fill_redis(s, 3),
    lambda s: faults.stop_postgres(s, s.rng.uniform(1, 7)),
    lambda s: faults.freeze_postgres(s, s.rng.uniform(1, 7)),
    lambda s: faults.terminate_backends(s, 2),
    lambda s: faults.cut_everything(s, 2, hops=s.rig.hops(".redis", ".postgres", ".broker", "client.")),
    lambda s: faults.black_hole(s, 6, s.rng.sample(s.rig.hops(".redis", ".postgres", ".broker"), 3)),
    lambda s: faults.trouble_broker(s, 3),
    faults.cut_provider,
)


def _behaviour(number: int) -> dict[str, Any]:
    """The provider's behaviour: one message of six with reasoning, another one of six with a call of a tool."""
    if number % 6 == 2:
        return {"reasoning": 15}
    if number % 6 == 4:
        return {"tool_call": {"name": "word_count", "arguments": {"text": "one two"}}, "tool_rounds": 1, "tokens": 90}
    return {}


def mix(seconds: float, name: str = "mix") -> Scenario:
    """A mix of everything, on one of MIXES."""
    build, needs = MIXES[name]
    if build.two_targets:
        return _failover_mix(seconds, name, build)
    plan = Plan(
        generations=max(12, int(seconds / 4)),
        ramp=max(2.0, seconds - 10),
        tokens=240,
        behaviour=_behaviour,
        models=lambda i: TOOLED if "tool_call" in _behaviour(i) else None,
        others=doors.OTHERS,
        chat_client=doors.ChatAsker,
        chats=0.25,
        feeds=doors.FeedReader,
    )
    return mixed(
        name,
        f"A seeded mix of everything for {seconds:g} s, then healing: all ends, everybody is told",
        seconds,
        Deck(_FIRST, _MIX),
        plan,
        build,
        covers=("takeover", "fence", "gap", "lost", "ambiguous commit", "archive"),
        needs=needs,
    )


# Faults of a mix with two targets: each of these once, and others at random.
_TARGETS: tuple[Fault, ...] = (
    targets.cut,
    targets.refuse,
    lambda s: targets.slow(s, targets.SILENCE + 3),
    _kill_worker_at_work,
    lambda s: faults.freeze_worker(s, s.lease + 2),
    faults.flush_redis,
)


def _failover_mix(seconds: float, name: str, build: Build) -> Scenario:
    """A mix in which every answer has two targets, and the first one is troubled."""
    plan = Plan(
        # One round of the faults takes about 50 s: messages arrive during each of them.
        generations=max(48, int(seconds)),
        ramp=max(55.0, seconds),
        tokens=200,
        models=lambda i: targets.FALLBACK,
    )
    return mixed(
        name,
        f"A seeded mix of {seconds:g} s with two targets of two kinds: the second answers when the first fails",
        seconds,
        Deck(_TARGETS, _TARGETS, pause=(1, 3), healed=0),
        plan,
        build,
        covers=("takeover", "failover", "breaker"),
    )


# Titles come from a model, and one worker of three runs with STRICT_DURABILITY.
_MIXED = Build(settings={"TITLES": "model"}, members={"worker-3": {"STRICT_DURABILITY": "1"}})
MIXES: dict[str, tuple[Build, Callable[[], str | None]]] = {
    "mix": (_MIXED, lambda: None),
    "mix-pgbouncer": (
        replace(_MIXED, pgbouncer=True),
        lambda: None if pgbouncer.binary() else "pgbouncer is not installed",
    ),
    "mix-rabbitmq": (replace(_MIXED, rabbitmq=True), rabbitmq.missing),
    "mix-failover": (Build(two_targets=True), lambda: None),
}
# The variants take this share of the seconds of the mix.
VARIANT_SHARE = 1 / 3


def find(name: str, seconds: float) -> Scenario:
    """A scenario by its name; ``seconds`` are those of the mix."""
    if name in MIXES:
        return mix(seconds if name == "mix" else max(20.0, seconds * VARIANT_SHARE), name)
    return SCENARIOS[name]


def sized(chosen: Scenario, generations: int | None, tokens: int | None, rate: float | None) -> Scenario:
    """The scenario under another load."""
    given = {"generations": generations, "tokens": tokens, "rate": rate}
    plan = replace(chosen.plan, **{name: value for name, value in given.items() if value is not None})
    return replace(chosen, plan=plan)
