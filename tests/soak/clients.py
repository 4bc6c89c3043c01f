"""The load of a soak: lanes that send messages, read the answers, have each round judged, and begin again."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import count, cycle, islice

import redis.asyncio

from tests.chaos.checker import RULES
from tests.chaos.evidence import Dump, Evidence, dump_postgres
from tests.chaos.history import History, Reading
from tests.chaos.load import Load, Plan
from tests.soak.deployment import Deployment

# The built-in model writes no log and no numbered tokens, so these two rules have nothing to read.
UNREAD = {"provenance", "provider_calls"}
# Rules that compare one run's processes before and after: the series of a soak do that.
SERIES = {"hygiene", "processes"}
KINDS = ("stable", "reconnecting", "stable", "late", "slow")
# Seconds beyond an answer's own for its last reader: a late reader waits up to 14 s.
PATIENCE = 90.0
# Seconds from one poll to the next, and until a reconnecting reader hangs up: two cores carry 200 of each.
POLLS, STAYS = (2.0, 4.0), (4.0, 12.0)
# Of the events that a stable reader receives, one in so many has its latency kept.
SAMPLED = 5
_CHANNEL = re.compile(rb".*:\{([0-9a-f-]{36})\}:live$")


class Tap:
    """The moment at which Redis published each event, by (generation, id)."""

    def __init__(self, deployment: Deployment) -> None:
        self.times: dict[tuple[str, str], float] = {}
        self._deployment = deployment

    async def run(self) -> None:
        """Read the channels of all generations until cancelled."""
        client = redis.asyncio.Redis.from_url(self._deployment.valkey.url())
        async with client, client.pubsub() as channels:
            await channels.psubscribe(f"{self._deployment.namespace}:*")
            async for message in channels.listen():
                if message["type"] == "pmessage" and (found := _CHANNEL.match(message["channel"])):
                    identity = message["data"].partition(b" ")[0].decode(errors="replace")
                    self.times[found[1].decode(), identity] = time.time()

    def forget(self, generations: set[str]) -> None:
        """Drop the times of answers that were judged."""
        for key in [key for key in self.times if key[0] in generations]:
            del self.times[key]


class Clients:
    """All lanes. ``violations``, ``latencies`` and the counts are those of every round that has ended."""

    def __init__(self, deployment: Deployment, seed: int) -> None:
        self.violations: list[str] = []
        self.latencies: list[tuple[float, float]] = []  # time of the event, seconds from Redis to the reader
        self.answers = self.readings = self.events = 0
        self.tap = Tap(deployment)
        self._deployment = deployment
        self._seed = seed
        self._loads: dict[int, Load] = {}
        self._runs = count(int(time.time()) * 10)
        self._until = 0.0

    @property
    def sent(self) -> int:
        """The number of answers that were begun so far."""
        return self.answers + sum(
            asked.generation is not None for load in self._loads.values() for asked in load.history.asked
        )

    async def run(self, seconds: float) -> None:
        """Keep the load for ``seconds``, then wait for the last answers. Raises what a client or a rule raised."""
        size = self._deployment.size
        lanes = min(20, max(1, size.generations // 5))
        shares = [size.generations // lanes + (lane < size.generations % lanes) for lane in range(lanes)]
        self._until = time.monotonic() + seconds
        pause = size.tokens / size.rate / lanes
        async with asyncio.TaskGroup() as group:
            tapping = group.create_task(self.tap.run())
            working = [group.create_task(self._lane(share, lane * pause)) for lane, share in enumerate(shares)]
            await asyncio.gather(*working)
            tapping.cancel()

    async def _lane(self, generations: int, delay: float) -> None:
        await asyncio.sleep(delay)
        while time.monotonic() < self._until:
            await self._round(generations)

    async def _round(self, generations: int) -> None:
        size = self._deployment.size
        run = next(self._runs)
        kinds = tuple(islice(cycle(KINDS), max(1, round(size.readers / size.generations))))
        plan = Plan(generations, size.tokens, size.rate, ramp=1.0, cancels=0.0, kinds=kinds, polls=POLLS, stays=STAYS)
        history = History(self._seed, "soak", run)
        load = self._loads[run] = Load(self._deployment.service(), plan, history, random.Random(f"{self._seed} {run}"))
        load.start()
        await load.wait(size.tokens / size.rate + PATIENCE)
        await load.fetch_all()
        dump = Dump()
        await asyncio.to_thread(dump_postgres, self._deployment.dsn, run, dump)
        self.violations += await asyncio.to_thread(judged, Evidence(history, [], dump))
        del self._loads[run]
        self._count(history)

    def _count(self, history: History) -> None:
        self.answers += sum(asked.generation is not None for asked in history.asked)
        self.readings += len(history.readings)
        for reading in history.readings:
            self.events += sum(len(connection.frames) for connection in reading.connections)
            if reading.kind == "stable":
                self.latencies += islice(latencies(reading, self.tap.times), 0, None, SAMPLED)
        self.tap.forget({asked.generation for asked in history.asked if asked.generation})


def latencies(reading: Reading, published: dict[tuple[str, str], float]) -> Iterator[tuple[float, float]]:
    """Yields (time, seconds) for each event that was published while the reader was connected."""
    for connection in reading.connections:
        for frame in connection.frames:
            at = published.get((reading.generation, frame.id or ""))
            if at is not None and at > connection.opened:
                yield at, max(0.0, frame.at - at)


def judged(evidence: Evidence) -> list[str]:
    """The violations of the checker's rules that a soak can be judged by."""
    rules = [judge for name, judge in RULES.items() if name not in UNREAD | SERIES]
    return [str(violation) for judge in rules for violation in judge(evidence)]


async def ended(task: asyncio.Task[None]) -> None:
    """Cancel a task and wait for its end."""
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
