"""The cost of a token on its whole way, from the provider to the readers, all processes together."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from statistics import median
from typing import Any
from uuid import uuid4

from bench import report, servers, worker
from bench.designs import Target, naive_gthread
from bench.figures import Figure, Run, ratios
from bench.machine import OTHER_CORE, SERVER_CORE, cpu_seconds, pin
from bench.relay import Load, readers
from bench.stores import CannotMeasure, Stores, clear
from bench.tools import Tool, upstream
from dev.process import wait_until
from tests.stack import Stack

GENERATIONS, RATE = 200, 50.0
SECONDS = 6.0


@dataclass(frozen=True, slots=True)
class Way:
    """A stack whose answers have been started: the address to read them, its processes, and a function that is true
    once the work at the beginning of the answers is done.
    """

    target: Target
    pids: tuple[int, ...]
    settled: Callable[[], bool] = worker.nothing_begins


@dataclass(frozen=True, slots=True)
class Outcome:
    """Processor time in µs for each delivered token: of the stack's own processes, of Redis, of PostgreSQL."""

    design: str
    said: int
    delivered: int
    faults: int
    own_us: float
    redis_us: float
    database_us: float
    p50_ms: float
    p99_ms: float

    @property
    def cost(self) -> float:
        """The sum of the three, in µs."""
        return self.own_us + self.redis_us + self.database_us


Begin = Callable[[Tool, int], None]


@contextmanager
def product(stores: Stores, model: Tool, base_url: str, count: int) -> Iterator[Way]:
    """Unbroken as deployed: one Celery worker, one web process."""
    stack = Stack(
        stores.directory / uuid4().hex,
        stores.database_url,
        stores.redis_url,
        OPENAI_BASE_URL=base_url,
        LEASE_SECONDS=30,
        HEARTBEAT_SECONDS=5,
        KEEPALIVE_SECONDS=15,
        SWEEP_SECONDS=2,
        MAX_STREAMS_PER_USER=100_000,
        NO_PROXY="127.0.0.1",
    )
    try:
        crew, web = stack.worker(concurrency=count), stack.web(workers=1, WEB_THREADS=8)
        ids = [stack.start(f"This is answer number {n}", model="bench").generation.id for n in range(count)]
        _await(model, count)
        port, header = int(web.url.rpartition(":")[2]), f"Authorization: Bearer {stack.token()}"
        paths = [f"/api/v1/generations/{generation_id}/stream" for generation_id in ids]
        yield Way(Target(web.pid, port, ids, paths, header), (web.pid, crew.pid), partial(worker.all_named, stack))
    finally:
        stack.stop()


def naive(module: str) -> Callable[[Stores, Tool, str, int], Any]:
    """A worker of bench/peers, and Flask with a pub/sub connection for each reader. Answers are not stored."""

    @contextmanager
    def way(stores: Stores, model: Tool, base_url: str, count: int) -> Iterator[Way]:
        with naive_gthread(stores, count) as target, worker.script(module, stores, base_url, count) as crew:
            _await(model, count)
            yield Way(target, (target.pid, crew.pid))

    return way


@contextmanager
def resumable(stores: Stores, model: Tool, base_url: str, count: int) -> Iterator[Way]:
    """resumable-stream: one Node process calls the upstream, keeps the tokens in memory, and serves the readers."""
    with servers.resumable(stores, base_url) as (pid, port):
        for n in range(count):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request("POST", f"/{n}")
            connection.getresponse().read()
        _await(model, count)
        yield Way(Target(pid, port, [str(n) for n in range(count)], [f"/{n}" for n in range(count)]), (pid,))


DESIGNS: dict[str, Callable[[Stores, Tool, str, int], Any]] = {
    "unbroken": product,
    "requests stack": naive("worker_requests"),
    "openai sdk stack": naive("worker_openai"),
    "resumable-stream": resumable,
}


def _await(model: Tool, count: int) -> None:
    if not wait_until(lambda: model.counters()["waiting"] >= count, 60):
        raise CannotMeasure(f"only {model.counters()['waiting']} of {count} answers were asked for")


def run(run: Run) -> None:
    """Measure 200 generations with one reader each. The quick form leaves it out and measures the two halves."""
    if run.quick:
        return
    print("\nThe whole way: 200 generations of 50 tokens a second, a reader each", flush=True)
    rounds = run.rounds(list(DESIGNS), lambda name: _told(measure(name, SECONDS, run.stores)))
    if any(outcome.faults for outcome in rounds["unbroken"]):
        run.fault("the whole way: tokens were lost or repeated")
    own = [outcome.cost for outcome in rounds["unbroken"]]
    for peer, most in (("requests stack", 1 / 5), ("openai sdk stack", 1 / 9), ("resumable-stream", 0.35)):
        if rounds.get(peer):
            values = ratios(own, [outcome.cost for outcome in rounds[peer]])
            run.add(Figure("whole path CPU per token, 200 × 50/s", values, most, peer))
    middle = {name: done[len(done) // 2] for name, done in rounds.items() if done}
    costs = {name: median(outcome.cost for outcome in rounds[name]) for name in middle}
    rows = [
        [
            name,
            f"{o.own_us:.1f}",
            f"{o.redis_us:.1f}",
            f"{o.database_us:.1f}",
            f"{o.p50_ms:.1f}",
            f"{o.p99_ms:.1f}",
            f"{min(o.delivered / max(o.said, 1), 1):.0%}",
        ]
        for name, o in middle.items()
    ]
    run.data["path"] = [asdict(outcome) for done in rounds.values() for outcome in done]
    head = ["", "processes µs", "Redis µs", "PostgreSQL µs", "p50 ms", "p99 ms", "kept up"]
    bars = report.bars(costs, "µs per token")
    run.sections.append(("The whole way of a token, 200 generations and readers", bars + report.table(head, rows)))


def measure(name: str, seconds: float, stores: Stores) -> Outcome:
    """Run one stack for ``seconds``. Raises CannotMeasure."""
    clear(stores)
    load = Load(GENERATIONS, 1, RATE, seconds)
    with (
        upstream(RATE, worker.ENDLESS) as (model, base_url),
        DESIGNS[name](stores, model, base_url, GENERATIONS) as way,
        readers(way.target, load, stores) as reading,
    ):
        for pid in way.pids:
            pin(pid, SERVER_CORE)
        pin(stores.redis_pid, OTHER_CORE)
        pin(stores.postgres_pid, OTHER_CORE)

        def backlog() -> float:
            return float(model.counters()["said"] - reading.counters()["delivered"]) / (GENERATIONS * RATE)

        model.send("go")
        worker.settle(way.settled, backlog)
        said, before = model.counters()["said"], reading.counters()
        spent = _spent(way, stores)
        time.sleep(seconds)
        spent = [now - was for now, was in zip(_spent(way, stores), spent, strict=True)]
        after, said = reading.counters(), model.counters()["said"] - said
    delivered = after["delivered"] - before["delivered"]
    own, log, database = (1e6 * each / max(delivered, 1) for each in spent)
    faults = sum(after[fault] for fault in ("gaps", "repeats", "foreign", "broken", "refused"))
    return Outcome(name, said, delivered, faults, own, log, database, after["p50_us"] / 1000, after["p99_us"] / 1000)


def _spent(way: Way, stores: Stores) -> list[float]:
    return [cpu_seconds(*way.pids), cpu_seconds(stores.redis_pid), cpu_seconds(stores.postgres_pid)]


def _told(outcome: Outcome) -> Outcome:
    print(
        f"  {outcome.design:<18} {outcome.own_us:7.2f} µs a token + Redis {outcome.redis_us:6.2f}"
        f" + PostgreSQL {outcome.database_us:5.2f}  p50 {outcome.p50_ms:7.1f}  p99 {outcome.p99_ms:7.1f} ms"
        f"  {outcome.delivered} of {outcome.said}, {outcome.faults} faults",
        flush=True,
    )
    return outcome
