"""The time from the end of a credential to the end of the last stream that it has opened, over three processes."""

from __future__ import annotations

import selectors
import socket
import time
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from statistics import median
from urllib.parse import urlsplit
from uuid import uuid4

from app.domain.audit import SERVICE
from app.domain.commands import StartGeneration, User
from app.store.api_keys import KeyRights
from bench import report
from bench.figures import Figure, Run
from bench.stores import CannotMeasure, Stores
from tests.stack import Stack, Web

PROCESSES = 3
STREAMS = 99
# Seconds for all streams to open, and to end.
PATIENCE = 30.0
PROMISED_MS = 1000


@dataclass(frozen=True, slots=True)
class Ends:
    """Milliseconds from the commit that ends a key to the end of its streams: the first, the median, the last one."""

    first: float
    middle: float
    last: float


def run(run: Run) -> None:
    """End a key under open streams, again and again; the slowest last stream has a target."""
    print(f"\nAn API key ends under {STREAMS} streams in {PROCESSES} processes, in milliseconds", flush=True)
    try:
        ends = measure(run.stores, 5 if run.quick else 20)
    except CannotMeasure as reason:
        run.fault(str(reason))
        return
    rows = [[name, f"{median(values):.0f}", f"{max(values):.0f}"] for name, values in _columns(ends).items()]
    for row in rows:
        print("  {:<8} {:>8} {:>8}".format(*row))
    slowest = max(end.last for end in ends)
    run.add(Figure("last stream of an ended key, slowest", [slowest], PROMISED_MS, unit="ms", strict=False))
    run.data["ended credentials"] = [asdict(end) for end in ends]
    headers = ["stream", "median", "slowest"]
    run.sections.append(("The end of a key's streams, in milliseconds", report.table(headers, rows)))


def measure(stores: Stores, rounds: int) -> list[Ends]:
    """End ``rounds`` keys, one after the other, each with streams of its own. Raises CannotMeasure."""
    stack = Stack(stores.directory / "ended", stores.database_url, stores.redis_url, MAX_STREAMS_PER_USER=1_000)
    try:
        webs = [stack.web(workers=1) for _ in range(PROCESSES)]
        return [_once(stack, webs) for _ in range(rounds)]
    finally:
        stack.stop()


def _once(stack: Stack, webs: list[Web]) -> Ends:
    user = stack.resources.users.user(f"b{uuid4().hex[:8]}", None)
    # No worker runs, so the answer waits, and its streams stay open.
    generation = stack.resources.starter.start(user, StartGeneration("hi", model="offline")).generation.id
    key = stack.resources.api_keys.make(SERVICE, user.id, KeyRights("k", frozenset(("read",))))
    with ExitStack() as held:
        streams = [_open(webs[n % PROCESSES], generation, key.text, held) for n in range(STREAMS)]
        _receive(streams, b"\r\n\r\n")
        ended_at = _end(stack, user, key.key.id)
        times = sorted((at - ended_at) * 1000 for at in _closed(streams))
    return Ends(times[0], times[len(times) // 2], times[-1])


def _open(web: Web, generation: str, key: str, held: ExitStack) -> socket.socket:
    address = urlsplit(web.url)
    stream = held.enter_context(closing(socket.create_connection((address.hostname, address.port), PATIENCE)))
    path = f"/api/v1/generations/{generation}/stream"
    stream.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n\r\n".encode())
    return stream


def _receive(streams: list[socket.socket], expected: bytes) -> None:
    """Wait until each stream has sent the end of its head. Raises CannotMeasure for another status than 200."""
    for stream in streams:
        head = b""
        while expected not in head:
            if not (data := stream.recv(4096)):
                break
            head += data
        if b" 200 " not in head.partition(b"\r\n")[0]:
            raise CannotMeasure(f"a stream did not open: {head[:200]!r}")


def _end(stack: Stack, user: User, key_id: str) -> float:
    """End the key. Returns the time of the commit."""
    stack.resources.api_keys.end(SERVICE, user.id, key_id)
    return time.monotonic()


def _closed(streams: list[socket.socket]) -> list[float]:
    """The time at which each stream was closed by the service. Raises CannotMeasure for one that stays open."""
    times: list[float] = []
    until = time.monotonic() + PATIENCE
    with selectors.DefaultSelector() as selector:
        for stream in streams:
            selector.register(stream, selectors.EVENT_READ)
        while len(times) < len(streams):
            if time.monotonic() > until:
                raise CannotMeasure(f"{len(streams) - len(times)} streams of an ended key stay open")
            for ready, _ in selector.select(0.05):
                if not ready.fileobj.recv(65536):  # type: ignore[union-attr]
                    times.append(time.monotonic())
                    selector.unregister(ready.fileobj)
    return times


def _columns(ends: list[Ends]) -> dict[str, list[float]]:
    return {name: [getattr(end, name) for end in ends] for name in ("first", "middle", "last")}
