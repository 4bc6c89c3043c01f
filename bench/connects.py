"""Coming back: the processor time of one connection to a stream that its process follows already, 64 at a time."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import redis

from app.domain.events import Snapshot, Token, encode
from app.eventlog.log import RedisLog
from bench import report
from bench.designs import Target, empty_granian, empty_route, product
from bench.figures import Figure, Run, ratios
from bench.machine import OTHER_CORE, SERVER_CORE, cpu_seconds, pin
from bench.stores import CannotMeasure, Stores, clear
from bench.tools import compiled

AT_ONCE = 64
# Events that a reader has missed.
EVENTS = 20
SECONDS = 120
QUICK_DESIGNS = ("unbroken", "gunicorn, empty", "gunicorn and Flask, empty")
# The product's cost may be at most this many times that of an empty route; None: it is shown only.
TARGETS = {"gunicorn": 3.0, "granian WSGI": None, "granian RSGI": None}
# Seconds after the last connection: ends of streams are reported to Redis and to the log a little later.
SETTLED_SECONDS = 1.5


@dataclass(frozen=True, slots=True)
class Place:
    """A server, and the text that ends what a reader gets at once."""

    target: Target
    until: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """Microseconds of processor time for one connection, from its beginning to its end."""

    design: str
    web: float
    postgres: float
    redis: float

    @property
    def total(self) -> float:
        """All processes together."""
        return self.web + self.postgres + self.redis


def run(run: Run) -> None:
    """Measure connections, and empty routes beside them."""
    print(f"\nComing back: {AT_ONCE} connections at a time, in µs of processor time each", flush=True)
    rounds = run.rounds(QUICK_DESIGNS if run.quick else list(DESIGNS), lambda name: _told(measure(name, run)))
    own = [outcome.total for outcome in rounds["unbroken"]]
    run.add(Figure("processor time of a connection", [us / 1000 for us in own], 0.8, unit="ms", strict=False))
    for server, most in TARGETS.items():
        if empty := rounds.get(f"{server}, empty"):
            values = ratios(own, [outcome.total for outcome in empty])
            run.add(Figure("processor time of a connection", values, most, f"an empty route of {server}"))
    run.data["connects"] = {name: [as_json(outcome) for outcome in done] for name, done in rounds.items()}
    middle = {name: sorted(done, key=lambda o: o.total)[len(done) // 2] for name, done in rounds.items() if done}
    rows = [[name, *(f"{us:.0f}" for us in (o.web, o.postgres, o.redis, o.total))] for name, o in middle.items()]
    table = report.table(["", "web", "PostgreSQL", "Redis", "all"], rows)
    bars = report.bars({name: outcome.total for name, outcome in middle.items()}, "µs")
    run.sections.append(("Coming back, in µs of processor time for each connection", bars + table))


def as_json(outcome: Outcome) -> dict[str, Any]:
    """The outcome as the report's JSON has it."""
    return {name: getattr(outcome, name) for name in ("web", "postgres", "redis", "total")}


def measure(name: str, run: Run) -> Outcome:
    """Measure one design. Raises CannotMeasure."""
    stores = run.stores
    clear(stores)
    with DESIGNS[name](stores) as place:
        target: Target = place.target
        pin(target.pid, SERVER_CORE)
        pin(stores.redis_pid, OTHER_CORE)
        # The server has warmed up before the first one counts, and follows the log for a reader that stays.
        _connect(place, 4)
        with _reader(target):
            before = _spent(target, stores)
            rounds = 10 if run.quick else 30
            fetched = _connect(place, rounds)
            time.sleep(SETTLED_SECONDS)
            spent = [now - then for now, then in zip(_spent(target, stores), before, strict=True)]
    if fetched["unequal"]:
        run.fault(f"connects, {name}: {fetched['unequal']} readers got another number of events")
    return Outcome(name, *(seconds * 1e6 / (AT_ONCE * rounds) for seconds in spent))


def _told(outcome: Outcome) -> Outcome:
    print(
        f"  {outcome.design:<26} web {outcome.web:6.0f}  PostgreSQL {outcome.postgres:5.0f}  Redis {outcome.redis:5.0f}"
        f"  all {outcome.total:6.0f}",
        flush=True,
    )
    return outcome


def _spent(target: Target, stores: Stores) -> tuple[float, float, float]:
    return tuple(map(cpu_seconds, (target.pid, stores.postgres_pid, stores.redis_pid)))  # type: ignore[return-value]


def _connect(place: Place, rounds: int) -> dict[str, Any]:
    target = place.target
    to = [str(target.port), target.paths[0], target.header, place.until]
    cores = sorted(os.sched_getaffinity(0))
    command = ["taskset", "-c", str(cores[OTHER_CORE % len(cores)]), str(compiled("fetch")), *to]
    try:
        done = subprocess.run([*command, str(AT_ONCE), str(rounds)], capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        raise CannotMeasure("it did not answer in time") from None
    if done.returncode:
        raise CannotMeasure(done.stderr.strip() or f"exit code {done.returncode}")
    return json.loads(done.stdout)  # type: ignore[no-any-return]


@contextmanager
def _reader(target: Target) -> Iterator[None]:
    """A reader that stays, so that the process follows the log all the time."""
    name, _, value = target.header.partition(": ")
    with closing(http.client.HTTPConnection("127.0.0.1", target.port, timeout=10)) as connection:
        connection.request("GET", target.paths[0], headers={name: value} if value else {})
        connection.getresponse()
        yield


@contextmanager
def unbroken(stores: Stores) -> Iterator[Place]:
    """Unbroken, with a running answer that has some events."""
    with product(stores, 1) as target, redis.Redis.from_url(stores.redis_url, socket_timeout=30) as client:
        log, events = RedisLog(client, target.namespace), [encode(Token(f" word{n}")) for n in range(1, EVENTS + 1)]
        log.open(target.ids[0], 1)
        log.append(target.ids[0], 1, 0, [encode(Snapshot("", "start", 1)), *events])
        yield Place(target, f"id: 1-{EVENTS}\n")


def gunicorn(app: str) -> Callable[[Stores], Any]:
    """An empty route under gunicorn's own worker with as many threads as the product has."""

    @contextmanager
    def place(stores: Stores) -> Iterator[Place]:
        with empty_route(stores, app) as target:
            yield Place(target, "data: empty\n\n")

    return place


def granian(interface: str, app: str) -> Callable[[Stores], Any]:
    """An empty route under granian."""

    @contextmanager
    def place(stores: Stores) -> Iterator[Place]:
        with empty_granian(stores, interface, app) as target:
            yield Place(target, "data: empty\n\n")

    return place


DESIGNS: dict[str, Callable[[Stores], Any]] = {
    "unbroken": unbroken,
    "gunicorn, empty": gunicorn("app"),
    "gunicorn and Flask, empty": gunicorn("flask_app"),
    "granian WSGI, empty": granian("wsgi", "app"),
    "granian RSGI, empty": granian("rsgi", "rsgi_app"),
}
