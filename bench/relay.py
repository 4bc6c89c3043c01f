"""The cost and the lateness of a delivered token: the product beside other relays."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from redis import Redis

from bench import report
from bench.designs import DESIGNS, Target
from bench.figures import Figure, Run, ratios
from bench.machine import OTHER_CORE, SERVER_CORE, cpu_seconds, memory_bytes, pin
from bench.stores import CannotMeasure, Stores
from bench.tools import Tool, compiled
from dev.process import wait_until


@dataclass(frozen=True, slots=True)
class Load:
    """``generations`` answers of ``rate`` tokens a second for ``seconds``, each with ``readers`` readers."""

    generations: int
    readers: int
    rate: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one design under one load. Processor time is the server's and Redis's together."""

    design: str
    delivered: int
    expected: int
    faults: int
    cpu_us_per_token: float
    server_share: float
    p50_ms: float
    p99_ms: float
    memory_per_stream: float

    @property
    def exact(self) -> bool:
        """True when every token arrived exactly once."""
        return self.delivered == self.expected and self.faults == 0


@dataclass(frozen=True, slots=True)
class Aim:
    """The product's processor time per token may be at most ``most`` times that of ``peer``."""

    peer: str
    most: float


@dataclass(frozen=True, slots=True)
class Case:
    """One load, and its targets."""

    title: str
    short: str
    load: Load
    aims: tuple[Aim, ...]
    # The loads that CI can afford.
    quick: tuple[str, ...]


CASES = (
    Case(
        "1 generation, 1,000 readers, 20 tokens a second",
        "1 × 1,000",
        Load(1, 1000, 20, 6),
        (Aim("c hub", 1.4), Aim("naive gevent", 0.25), Aim("starlette hub", 0.5), Aim("nchan", 1.0)),
        ("unbroken", "c hub", "starlette hub"),
    ),
    Case(
        "200 generations, 1 reader each, 50 tokens a second",
        "200 × 1",
        Load(200, 1, 50, 6),
        (Aim("c hub", 1.5), Aim("naive gthread", 0.33)),
        ("unbroken", "c hub", "naive gthread"),
    ),
)


def run(run: Run) -> None:
    """Measure every case with every design that can run on this machine."""
    for case in CASES:
        _case(run, case)


def _case(run: Run, case: Case) -> None:
    print(f"\n{case.title}", flush=True)
    load = Load(case.load.generations, case.load.readers, case.load.rate, 2 if run.quick else case.load.seconds)
    names = case.quick if run.quick else tuple(DESIGNS)
    rounds = run.rounds(names, lambda name: sound(show(measure(name, load, run.stores))))
    own = rounds["unbroken"]
    if any(not outcome.exact for outcome in own):
        run.fault(f"{case.title}: not everything was delivered exactly once")
    targets = {aim.peer: aim.most for aim in case.aims}
    for peer in rounds:
        if peer != "unbroken" and rounds[peer]:
            values = _costs(own, rounds[peer])
            run.add(Figure(f"CPU per delivered token, {case.short}", values, targets.get(peer), peer))
    if case.load.readers == 1 and rounds.get("c hub"):
        floor = rounds["c hub"]
        for name, most in (("p50", 1.5), ("p99", 4.0)):
            values = ratios([getattr(o, f"{name}_ms") for o in own], [getattr(o, f"{name}_ms") for o in floor])
            run.add(Figure(f"added latency, {case.short}, {name}", values, most, "c hub", strict=False))
    run.data.setdefault("relay", []).append(
        {"case": case.title, "outcomes": [as_json(outcome) for outcomes in rounds.values() for outcome in outcomes]}
    )
    costs = {name: median(o.cpu_us_per_token for o in outcomes) for name, outcomes in rounds.items() if outcomes}
    table = report.table(
        ["", "µs a token", "of a core", "p50 ms", "p99 ms", "delivered"],
        [_row(name, outcomes[len(outcomes) // 2]) for name, outcomes in rounds.items() if outcomes],
    )
    run.sections.append((f"Relay: {case.title}", report.bars(costs, "µs per token") + table))


def sound(outcome: Outcome) -> Outcome:
    """The outcome, if it can be compared. Raises CannotMeasure for a peer that loses, repeats or mixes up tokens."""
    if outcome.faults and outcome.design != "unbroken":
        raise CannotMeasure(f"{outcome.faults} tokens were lost, repeated or refused")
    return outcome


def _costs(own: list[Outcome], other: list[Outcome]) -> list[float]:
    return ratios([o.cpu_us_per_token for o in own], [o.cpu_us_per_token for o in other])


def _row(name: str, outcome: Outcome) -> list[str]:
    return [
        name,
        f"{outcome.cpu_us_per_token:.2f}",
        f"{outcome.server_share:.0%}",
        f"{outcome.p50_ms:.1f}",
        f"{outcome.p99_ms:.1f}",
        "all" if outcome.exact else f"{outcome.delivered / outcome.expected:.0%}",
    ]


def show(outcome: Outcome) -> Outcome:
    """Print an outcome."""
    exact = "exactly once" if outcome.exact else f"{outcome.delivered} of {outcome.expected}, {outcome.faults} faults"
    memory = outcome.memory_per_stream / 1024
    print(
        f"  {outcome.design:<18} {outcome.cpu_us_per_token:7.2f} µs a token  {outcome.server_share:5.0%} of a core"
        f"  p50 {outcome.p50_ms:7.1f}  p99 {outcome.p99_ms:8.1f} ms  {memory:6.1f} kB a stream  {exact}",
        flush=True,
    )
    return outcome


def measure(name: str, load: Load, stores: Stores) -> Outcome:
    """Start a design, connect every reader, publish the tokens, and count. Raises CannotMeasure."""
    with DESIGNS[name](stores, load.generations) as target, served(target, load, stores) as window:
        outcome: Outcome = window(name)
        return outcome


@contextmanager
def served(target: Target, load: Load, stores: Stores) -> Iterator[Any]:
    """Connect every reader. Yields a function that takes a design's name, publishes the tokens and counts."""
    pin(target.pid, SERVER_CORE)
    pin(stores.redis_pid, OTHER_CORE)
    empty = memory_bytes(target.pid)
    with readers(target, load, stores) as reading:
        if target.subscribes and not wait_until(lambda: _subscribers(stores) >= load.generations * load.readers, 60):
            raise CannotMeasure(f"only {_subscribers(stores)} of its readers had subscribed after 60 s")
        idle = (memory_bytes(target.pid) - empty) / (load.generations * load.readers)
        yield lambda name: _window(name, target, load, stores, reading, idle)


def _subscribers(stores: Stores) -> int:
    with Redis.from_url(stores.redis_url, socket_timeout=10) as client:
        return len(client.client_list(_type="pubsub"))


def _window(name: str, target: Target, load: Load, stores: Stores, reading: Tool, idle: float) -> Outcome:
    producer = started_producer(target, load, stores)
    try:
        counted = reading.counters()
        server, redis, at = cpu_seconds(target.pid), cpu_seconds(stores.redis_pid), time.monotonic()
        producer.send("")
        said = json.loads(producer.read_line())["said"]
        took = time.monotonic() - at
        time.sleep(0.7)
        server, redis = cpu_seconds(target.pid) - server, cpu_seconds(stores.redis_pid) - redis
    finally:
        producer.end()
    before, counted = counted["delivered"], reading.counters()
    delivered = counted["delivered"] - before
    return Outcome(
        name,
        delivered,
        said * load.readers,
        sum(counted[fault] for fault in ("gaps", "repeats", "foreign", "broken", "refused")),
        1e6 * (server + redis) / max(delivered, 1),
        server / took,
        counted["p50_us"] / 1000,
        counted["p99_us"] / 1000,
        idle,
    )


@contextmanager
def readers(target: Target, load: Load, stores: Stores) -> Iterator[Tool]:
    """The load client, connected and waiting. Raises CannotMeasure."""
    lines = [
        f"{generation} {target.paths[generation]} {target.header}\n"
        for _ in range(load.readers)
        for generation in range(load.generations)
    ]
    requests = stores.directory / "requests.txt"
    requests.write_text("".join(lines))
    reading = Tool(str(compiled("load")), str(target.port), str(requests))
    try:
        pin(reading.pid, OTHER_CORE)
        if reading.read_line() != "ready":
            raise CannotMeasure("its readers could not connect")
        yield reading
    finally:
        reading.end()


def started_producer(target: Target, load: Load, stores: Stores) -> Tool:
    plan = {
        "redis_url": stores.redis_url,
        "namespace": target.namespace,
        "ids": target.ids,
        "rate": load.rate,
        "seconds": load.seconds,
        "publisher": target.publisher,
        "publish_to": target.publish_to,
    }
    producer = Tool(sys.executable, "-m", "bench.producer", json.dumps(plan))
    producer.read_line()
    pin(producer.pid, OTHER_CORE)
    return producer


def as_json(outcome: Outcome) -> dict[str, Any]:
    """The outcome as the report's JSON has it."""
    return {**asdict(outcome), "exact": outcome.exact}
