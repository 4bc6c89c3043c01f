"""The cost of a token on its way from the provider to Redis, and Celery's share of the time to the first token."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from statistics import median, quantiles
from uuid import uuid4

import redis

from app.store.database import fetch_one
from bench import report
from bench.figures import Figure, Run, ratios
from bench.machine import OTHER_CORE, SERVER_CORE, cpu_seconds, pin
from bench.stores import CannotMeasure, Stores, clear, need
from bench.tools import Tool, local, subscriber, upstream
from dev.process import Program, wait_until
from tests.stack import Stack

RATE = 50.0
# The shortest warm-up in seconds: connections are opened, leases are claimed, templates are learnt.
SETTLE_SECONDS = 1.5
# A thousand answers that begin at once delay a worker. It may take this long to be this close again.
CATCH_UP_SECONDS, CLOSE_SECONDS = 15.0, 0.1
# A worker pauses answers beyond WORKER_BUFFER_BYTES: a thousand endless ones after some 8 seconds with the default.
BUFFER_BYTES = 2_000_000_000
# Answers are longer than any window, so that their beginning and end are no part of a token's cost.
ENDLESS = 100_000


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one worker in its window: processor time in µs for each token, and the delay from the provider's
    write to a subscriber of Redis. ``database_us`` is PostgreSQL's processor time; only the product uses one.
    """

    design: str
    generations: int
    said: int
    delivered: int
    faults: int
    worker_us: float
    redis_us: float
    database_us: float
    share: float
    p50_ms: float
    p99_ms: float
    memory_per_token: float

    @property
    def cost(self) -> float:
        """Processor time of worker and Redis together, in µs for each token."""
        return self.worker_us + self.redis_us

    @property
    def exact(self) -> bool:
        """True when the worker kept up and no token is missing or repeated."""
        return self.faults == 0 and self.delivered > 0.97 * self.said


def nothing_begins() -> bool:
    """True at once: workers of the peers do no other work at the beginning of an answer."""
    return True


@dataclass(frozen=True, slots=True)
class Crew:
    """A busy worker: its pid, its channels, and a function that is true once the answers' first work is done.

    ``others``: the pids of further workers that share the answers with it.
    """

    pid: int
    pattern: str
    logs: str
    settled: Callable[[], bool] = nothing_begins
    others: tuple[int, ...] = ()


@contextmanager
def product(stores: Stores, base_url: str, count: int, processes: int = 1) -> Iterator[Crew]:
    """The product's Celery workers as deployed: with leases, checkpoints, fenced appends and logs."""
    stack = Stack(
        stores.directory / uuid4().hex,
        stores.database_url,
        stores.redis_url,
        OPENAI_BASE_URL=base_url,
        LEASE_SECONDS=30,
        HEARTBEAT_SECONDS=5,
        SWEEP_SECONDS=2,
        MAX_QUEUED=100_000,
        MAX_QUEUED_PER_USER=100_000,
        MAX_RUNNING_PER_USER=100_000,
        WORKER_BUFFER_BYTES=BUFFER_BYTES,
        NO_PROXY="127.0.0.1",
    )
    try:
        worker, *others = stack.workers(processes, concurrency=count // processes)
        for number in range(count):
            stack.start(f"This is answer number {number}", model="bench")
        keys = f"{stack.namespace}:{{*}}"
        pids = tuple(other.pid for other in others)
        yield Crew(worker.pid, f"{keys}:live", f"{keys}:log", partial(all_named, stack), pids)
    finally:
        stack.stop()


def all_named(stack: Stack) -> bool:
    """True when every conversation has its title. A title costs as much as hundreds of tokens."""
    with stack.resources.database.system() as tx:
        return fetch_one(tx, "SELECT id FROM conversations WHERE title IS NULL LIMIT 1") is None


def settle(settled: Callable[[], bool], behind: Callable[[], float]) -> None:
    """Wait until no answer begins any more and the backlog is published. Raises CannotMeasure.

    ``behind``: the backlog, as seconds of the upstream's tokens. A worker that does not catch up is measured as it is.
    """
    time.sleep(SETTLE_SECONDS)
    if not wait_until(settled, 60, step=0.2):
        raise CannotMeasure("a minute after they began to speak, answers still began")
    wait_until(lambda: behind() < CLOSE_SECONDS, CATCH_UP_SECONDS, step=0.2)


@contextmanager
def script(module: str, stores: Stores, base_url: str, count: int) -> Iterator[Crew]:
    """A worker of bench/peers."""
    log = stores.directory / f"{module}-{uuid4().hex[:6]}.log"
    argv = (sys.executable, "-m", f"bench.peers.{module}", base_url, stores.redis_url, str(count))
    process = Program(module, argv, log, local()).start()
    try:
        yield Crew(process.pid, "bench:{*}:live", "bench:{*}:log")
    finally:
        process.kill()


Design = Callable[[Stores, str, int], AbstractContextManager[Crew]]
DESIGNS: dict[str, Design] = {
    "unbroken": product,
    "requests": partial(script, "worker_requests"),
    "openai sdk": partial(script, "worker_openai"),
}


def measure(name: str, count: int, seconds: float, stores: Stores, processes: int = 1) -> Outcome:
    """Measure one worker with ``count`` generations at once. Raises CannotMeasure.

    Several ``processes`` of the product share the generations, and are left on both cores.
    """
    if name != "unbroken":
        need("openai" if name == "openai sdk" else "requests")
    clear(stores)
    with (
        _client(stores) as client,
        upstream(RATE, ENDLESS) as (model, base_url),
        (DESIGNS[name] if processes == 1 else partial(product, processes=processes))(stores, base_url, count) as crew,
    ):
        if not wait_until(lambda: model.counters()["waiting"] >= count, 60):
            raise CannotMeasure(f"only {model.counters()['waiting']} of {count} answers were asked for")
        if processes == 1:
            pin(crew.pid, SERVER_CORE)
        pin(stores.redis_pid, OTHER_CORE)
        pin(stores.postgres_pid, OTHER_CORE)
        with subscriber(stores, crew.pattern) as heard:
            return _watch(name, count, seconds, stores, crew, model, heard, client)


def _watch(
    name: str, count: int, seconds: float, stores: Stores, crew: Crew, model: Tool, heard: Tool, client: redis.Redis
) -> Outcome:
    model.send("go")
    settle(crew.settled, lambda: (model.counters()["said"] - heard.counters()["delivered"]) / (count * RATE))
    said, before = model.counters()["said"], heard.counters()
    spent = [cpu_seconds(*pids) for pids in _pids(crew, stores)]
    began = time.monotonic()
    time.sleep(seconds)
    spent = [cpu_seconds(*pids) - was for pids, was in zip(_pids(crew, stores), spent, strict=True)]
    took, after, said = time.monotonic() - began, heard.counters(), model.counters()["said"] - said
    delivered = after["delivered"] - before["delivered"]
    worker, log, database = (1e6 * each / max(delivered, 1) for each in spent)
    return Outcome(
        name,
        count,
        said,
        delivered,
        after["gaps"] + after["repeats"] + after["foreign"],
        worker,
        log,
        database,
        spent[0] / took,
        after["p50_us"] / 1000,
        after["p99_us"] / 1000,
        _memory(client, crew.logs, after["delivered"], count),
    )


def _pids(crew: Crew, stores: Stores) -> tuple[tuple[int, ...], ...]:
    return (crew.pid, *crew.others), (stores.redis_pid,), (stores.postgres_pid,)


def _memory(client: redis.Redis, pattern: str, delivered: int, count: int) -> float:
    """Bytes of Redis for each token of a log."""
    key = next(client.scan_iter(pattern.replace("{", "[{]").replace("}", "[}]"), count=1000), None)
    if key is None or not delivered:
        return 0.0
    return float(client.memory_usage(key, samples=0) or 0) / (delivered / count)


def _client(stores: Stores) -> redis.Redis:
    return redis.Redis.from_url(stores.redis_url, socket_timeout=10)


def run(run: Run) -> None:
    """The token path beside others, and alone with a thousand generations."""
    print("\nA worker with 200 generations of 50 tokens a second", flush=True)
    names = list(DESIGNS)
    seconds = 3.0 if run.quick else 6.0
    rounds = run.rounds(names, lambda name: _told(measure(name, 200, seconds, run.stores)))
    _check(run, rounds["unbroken"])
    own = [outcome.cost for outcome in rounds["unbroken"]]
    for peer, most in (("openai sdk", 1 / 15), ("requests", 1 / 7)):
        if rounds.get(peer):
            values = ratios(own, [outcome.cost for outcome in rounds[peer]])
            run.add(Figure("worker CPU per token, 200 × 50/s", values, most, peer))
    thousand = [] if run.quick else _thousand(run, seconds)
    first = first_token(run.stores, 15 if run.quick else 80)
    ratio = first["celery"][0] / first["in process"][0]
    run.add(Figure("first token through Celery, p50", [ratio], 3, "in process"))
    added = first["celery"][0] - first["in process"][0]
    run.add(Figure("first token through Celery, added p50", [added], 2, unit="ms", strict=False))
    everything = [outcome for outcomes in rounds.values() for outcome in outcomes] + thousand
    run.data["worker"] = {"outcomes": [asdict(outcome) for outcome in everything], "first_token_ms": first}
    _show(run, rounds, thousand, first)


def _thousand(run: Run, seconds: float) -> list[Outcome]:
    print("\n1,000 generations of 50 tokens a second in one worker, and shared by two", flush=True)
    found: dict[int, list[Outcome]] = {1: [], 2: []}
    for _ in range(run.rounds_wanted):
        for processes, outcomes in found.items():
            outcomes.append(_told(measure("unbroken", 1000, seconds, run.stores, processes)))
    for processes, what in ((1, "in one worker"), (2, "shared by two workers")):
        _check(run, found[processes])
        lateness = [outcome.p99_ms for outcome in found[processes]]
        run.add(Figure(f"1,000 generations {what}, p99", lateness, 50, unit="ms", strict=False))
    return found[1] + found[2]


def _told(outcome: Outcome) -> Outcome:
    exact = "exactly once" if outcome.exact else f"{outcome.delivered} of {outcome.said}, {outcome.faults} faults"
    print(
        f"  {outcome.design:<14} {outcome.worker_us:7.2f} µs a token + Redis {outcome.redis_us:6.2f}"
        f" + PostgreSQL {outcome.database_us:5.2f}  {outcome.share:5.0%} of a core"
        f"  p50 {outcome.p50_ms:7.1f}  p99 {outcome.p99_ms:7.1f} ms"
        f"  {outcome.memory_per_token:4.0f} B in Redis  {exact}",
        flush=True,
    )
    return outcome


def _check(run: Run, outcomes: list[Outcome]) -> None:
    for outcome in outcomes:
        if outcome.faults:
            run.fault(f"a worker with {outcome.generations} generations: {outcome.faults} tokens lost or repeated")


def _show(run: Run, rounds: dict[str, list[Outcome]], thousand: list[Outcome], first: dict[str, list[float]]) -> None:
    outcomes = {name: done[len(done) // 2] for name, done in rounds.items() if done}
    rows = [
        [
            f"{name}, {outcome.generations}",
            f"{outcome.worker_us:.1f}",
            f"{outcome.redis_us:.1f}",
            f"{outcome.database_us:.1f}",
            f"{outcome.share:.0%}",
            f"{outcome.p50_ms:.1f}",
            f"{outcome.p99_ms:.1f}",
            f"{outcome.memory_per_token:.0f}",
        ]
        for name, outcome in [*outcomes.items(), *((o.design, o) for o in thousand[:1])]
    ]
    head = ["", "worker µs", "Redis µs", "PostgreSQL µs", "of a core", "p50 ms", "p99 ms", "Redis bytes a token"]
    waits = [[name, *(f"{value:.1f}" for value in values)] for name, values in first.items()]
    content = report.bars({name: outcome.cost for name, outcome in outcomes.items()}, "µs per token")
    content += report.table(head, rows) + "<h3>The first token, in milliseconds from the call</h3>"
    content += report.table(["", "median", "95 %"], waits)
    run.sections.append(("Worker: from the provider to Redis", content))


def first_token(stores: Stores, rounds: int) -> dict[str, list[float]]:
    """Milliseconds from the start of a generation to its first token in Redis, by the way taken."""
    stack = Stack(stores.directory / uuid4().hex, stores.database_url, stores.redis_url, SWEEP_SECONDS=2)
    try:
        stack.worker(concurrency=20)
        environment = {**os.environ, **stack.variables, "LOG_LEVEL": "ERROR"}
        argv = [sys.executable, "-m", "bench.first_token", str(rounds)]
        done = subprocess.run(argv, env=environment, stdout=subprocess.PIPE, text=True, timeout=180, check=True)
        waits: dict[str, list[float]] = json.loads(done.stdout.splitlines()[-1])
    finally:
        stack.stop()
    found = {name: [median(values), quantiles(values, n=20)[-1]] for name, values in waits.items()}
    for name, (mid, high) in found.items():
        print(f"  first token {name:<12} p50 {mid:6.1f}  p95 {high:6.1f} ms", flush=True)
    return found
