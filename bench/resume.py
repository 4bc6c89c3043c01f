"""Resuming: the time until 5,000 tokens have arrived again, for one reader and for a hundred at once."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any
from uuid import uuid4

import redis

from app.domain import sse
from app.domain.cursor import Cursor
from app.domain.events import Entry, Mark, Snapshot, Token, encode, number
from app.domain.lease import Claimed
from app.domain.transcript import Transcript
from app.eventlog.log import RedisLog
from app.services.finishing import Ending
from app.store import leases
from bench import report, servers
from bench.designs import Target, naive_gevent, naive_gthread
from bench.figures import Figure, Run, ratios
from bench.machine import OTHER_CORE, SERVER_CORE, pin
from bench.publishers import Appends
from bench.stores import CannotMeasure, Stores, clear
from bench.tools import compiled
from tests.stack import Stack

TOKENS = 5000
QUICK_DESIGNS = ("unbroken", "unbroken, finished", "naive gthread", "nginx, a file")
# The product's time may be at most this many times the peer's; None: it is shown only.
TARGETS = {"naive gthread": 1 / 25, "resumable-stream": 1 / 2, "nginx, a file": 4.0, "durable-streams": None}
LAST = f"id: 1-{TOKENS}\n"
# A reader that is not done by then counts as done then, which favours that peer.
SECONDS = 30


@dataclass(frozen=True, slots=True)
class Place:
    """A server of 5,000 tokens. ``paths`` are addresses that no reader has requested yet."""

    pid: int
    port: int
    paths: list[str]
    header: str = "-"
    until: str = LAST
    # The text that stands once in each event.
    mark: str = "data: "


@dataclass(frozen=True, slots=True)
class Outcome:
    """Milliseconds: of the first reader of a path, of a later reader, of the last of a hundred readers."""

    design: str
    first: float
    one: float
    hundred: float
    bytes: int


def run(run: Run) -> None:
    """Measure resumes during the answer, and after its end with an empty Redis."""
    print(f"\nResuming {TOKENS:,} tokens, in milliseconds", flush=True)
    rounds = run.rounds(QUICK_DESIGNS if run.quick else list(DESIGNS), lambda name: _told(measure(name, run)))
    own = [outcome.one for outcome in rounds["unbroken"]]
    for peer, most in TARGETS.items():
        if rounds.get(peer):
            run.add(Figure("resume of 5,000 tokens", ratios(own, [o.one for o in rounds[peer]]), most, peer))
    if rounds.get("naive gthread"):
        hundred = ratios([o.hundred for o in rounds["unbroken"]], [o.hundred for o in rounds["naive gthread"]])
        run.add(Figure("100 resumes at once, last done", hundred, 1 / 30, "naive gthread"))
    middle = {name: done[len(done) // 2] for name, done in rounds.items() if done}
    rows = [
        [name, f"{o.first:.2f}", f"{o.one:.2f}", f"{o.hundred:.0f}", f"{o.bytes / 1000:.0f}"]
        for name, o in middle.items()
    ]
    run.data["resume"] = {name: [vars_of(o) for o in done] for name, done in rounds.items()}
    head = ["", "nobody came before", "somebody did", "a hundred at once", "kB"]
    bars = report.bars({name: outcome.one for name, outcome in middle.items()}, "ms")
    run.sections.append((f"Resuming {TOKENS:,} tokens, in milliseconds", bars + report.table(head, rows)))


def vars_of(outcome: Outcome) -> dict[str, Any]:
    """The outcome as the report's JSON has it."""
    return {name: getattr(outcome, name) for name in outcome.__slots__}


def measure(name: str, run: Run) -> Outcome:
    """Time the resumes of one design. Raises CannotMeasure."""
    clear(run.stores)
    firsts = 3 if run.quick else 8
    with DESIGNS[name](run.stores, firsts + 1) as place:
        pin(place.pid, SERVER_CORE)
        pin(run.stores.redis_pid, OTHER_CORE)
        # The server has warmed up before the first one counts.
        _fetch(place, place.paths[0], 1, 2)
        first = [_fetch(place, path, 1, 1)["ms"][0] for path in place.paths[1:]]
        path = place.paths[-1]
        one, hundreds = _fetch(place, path, 1, 8 if run.quick else 30), _hundreds(place, path, 1 if run.quick else 3)
    unequal = sum(hundred["unequal"] for hundred in hundreds)
    if one["unequal"] or unequal or one["events"] < TOKENS:
        run.fault(f"resume, {name}: {one['events']} events, {unequal} of a hundred got another number")
    return Outcome(name, median(first), median(one["ms"]), median(h["ms"][0] for h in hundreds), one["bytes"])


def _hundreds(place: Place, path: str, rounds: int) -> list[dict[str, Any]]:
    """A hundred readers at once, several times; one time is enough where they are not done within SECONDS."""
    done: list[dict[str, Any]] = []
    while len(done) < rounds and (not done or done[-1]["ms"][0] < SECONDS * 1000):
        done.append(_fetch(place, path, 100, 1))
    return done


def _told(outcome: Outcome) -> Outcome:
    print(
        f"  {outcome.design:<20} first {outcome.first:8.2f}  then {outcome.one:8.2f}  a hundred {outcome.hundred:8.1f}"
        f"  {outcome.bytes / 1000:5.0f} kB",
        flush=True,
    )
    return outcome


def _fetch(place: Place, path: str, at_once: int, rounds: int) -> dict[str, Any]:
    argv = [str(compiled("fetch")), str(place.port), path, place.header, place.until, str(at_once), str(rounds)]
    argv.append(place.mark)
    command = ["taskset", "-c", str(_core(OTHER_CORE)), *argv]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        # The true time is at least this long: the peer's figure is too good.
        return {"ms": [SECONDS * 1000.0], "events": TOKENS, "bytes": 0, "unequal": 0}
    if done.returncode:
        raise CannotMeasure(done.stderr.strip() or f"exit code {done.returncode}")
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def _core(core: int) -> int:
    cores = sorted(os.sched_getaffinity(0))
    return cores[core % len(cores)]


def _payloads() -> list[bytes]:
    return [encode(Snapshot("", "start", 1)), *(encode(Token(f" word{n}")) for n in range(1, TOKENS + 1))]


@contextmanager
def live(stores: Stores, count: int) -> Iterator[Place]:
    """Unbroken during the answers: their logs are in Redis."""
    with _product(stores, count) as (stack, claims):
        for claimed in claims:
            generation_id = claimed.lease.generation_id
            stack.resources.log.open(generation_id, 1)
            stack.resources.log.append(generation_id, 1, 0, _payloads())
        yield _served(stack, claims, LAST)


@contextmanager
def finished(stores: Stores, count: int) -> Iterator[Place]:
    """Unbroken long after the end: the logs are in PostgreSQL only."""
    with _product(stores, count) as (stack, claims):
        payloads = [*_payloads(), encode(Mark("stop", None))]
        transcript = Transcript.of(number(1, 0, payloads))
        for claimed in claims:
            stack.resources.finisher.finish(claimed, payloads, transcript, Ending("completed", "stop"), [])
        yield _served(stack, claims, f"id: 1-{TOKENS + 2}\n")


@contextmanager
def _product(stores: Stores, count: int) -> Iterator[tuple[Stack, list[Claimed]]]:
    limits = {"LEASE_SECONDS": 3600, "MAX_STREAMS_PER_USER": 100_000, "SWEEP_SECONDS": 60}
    stack = Stack(stores.directory / uuid4().hex, stores.database_url, stores.redis_url, **limits)
    try:
        ids = [stack.start(f"bench {n}", model="offline").generation.id for n in range(count)]
        with stack.resources.database.system() as tx:
            claims = [leases.claim(tx, generation_id, "bench", 3600, 3600) for generation_id in ids]
        yield stack, [claimed for claimed in claims if claimed]
    finally:
        stack.stop()


def _served(stack: Stack, claims: list[Claimed], until: str) -> Place:
    web = stack.web(workers=1, WEB_THREADS=8)
    paths = [f"/api/v1/generations/{claimed.lease.generation_id}/stream?after=0-0" for claimed in claims]
    return Place(web.pid, int(web.url.rpartition(":")[2]), paths, f"Authorization: Bearer {stack.token()}", until)


def naive(start: Callable[[Stores, int], Any]) -> Callable[[Stores, int], Any]:
    """Flask with one XRANGE, and a yield for each token."""

    @contextmanager
    def place(stores: Stores, count: int) -> Iterator[Place]:
        with start(stores, count) as started, redis.Redis.from_url(stores.redis_url, socket_timeout=30) as client:
            target: Target = started
            log = RedisLog(client, target.namespace)
            for generation_id in target.ids:
                log.open(generation_id, 1)
                log.append(generation_id, 1, 0, _payloads())
            yield Place(target.pid, target.port, [f"{path}/replay" for path in target.paths])

    return place


@contextmanager
def file(stores: Stores, count: int) -> Iterator[Place]:
    """nginx with the stream's bytes in a file."""
    content = b"".join(sse.frame(*entry) for entry in _entries())
    with servers.static(stores, content) as (pid, port, path):
        yield Place(pid, port, [path] * count)


@contextmanager
def resumable(stores: Stores, count: int) -> Iterator[Place]:
    """resumable-stream: the tokens are in the memory of the process that produces them."""
    with ExitStack() as stack:
        pid, port = stack.enter_context(servers.resumable(stores))
        for n in range(count):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request("POST", f"/{n}?replay={TOKENS}")
            connection.getresponse().read()
        yield Place(pid, port, [f"/{n}" for n in range(count)])


@contextmanager
def durable(stores: Stores, count: int) -> Iterator[Place]:
    """@durable-streams/server: the tokens were appended one by one; a reader names the offset before them."""
    with servers.durable(stores) as (pid, port):
        offsets = [servers.create_stream(port, str(n)) for n in range(count)]
        appends = Appends(str(port), count, most=1)
        for payload in _payloads()[1:]:
            appends.send([(n, payload) for n in range(count)])
            appends.finish()
        paths = [f"/{n}?offset={offset}&live=sse" for n, offset in enumerate(offsets)]
        yield Place(pid, port, paths, until=f' word{TOKENS}"', mark='"type":"token"')


def _entries() -> list[Entry]:
    return [Entry(Cursor(1, n), payload) for n, payload in enumerate(_payloads())]


DESIGNS: dict[str, Callable[[Stores, int], Any]] = {
    "unbroken": live,
    "unbroken, finished": finished,
    "naive gthread": naive(naive_gthread),
    "naive gevent": naive(naive_gevent),
    "resumable-stream": resumable,
    "durable-streams": durable,
    "nginx, a file": file,
}
