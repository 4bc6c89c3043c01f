"""The designs that are compared as relays. Each one starts a server and names the address of its streams."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import uuid4

from app.store import leases
from bench import pushpin as held
from bench import servers
from bench.machine import listens
from bench.stores import CannotMeasure, Stores, need
from bench.tools import compiled, local
from dev.process import Program, wait_until
from dev.server import free_port
from tests.stack import Stack

# A naive server needs a thread for each client.
NAIVE_THREADS = 1100


@dataclass(slots=True)
class Target:
    """A running relay: its process, its port, and for each generation a path, a header and a channel."""

    pid: int
    port: int
    ids: list[str]
    paths: list[str]
    header: str = "-"
    namespace: str = "bench"
    # The client that publishes the tokens besides Redis (publishers.py), and its address.
    publisher: str = ""
    publish_to: str = ""
    # Each reader has a subscription of its own, which may begin after the reply.
    subscribes: bool = False


@contextmanager
def product(stores: Stores, count: int) -> Iterator[Target]:
    """Unbroken: one gunicorn process with eight request threads, real rows, tokens, ids, heartbeats, limits."""
    stack = Stack(
        stores.directory / uuid4().hex,
        stores.database_url,
        stores.redis_url,
        LEASE_SECONDS=3600,
        HEARTBEAT_SECONDS=5,
        KEEPALIVE_SECONDS=15,
        SWEEP_SECONDS=60,
        MAX_QUEUED=100_000,
        MAX_QUEUED_PER_USER=100_000,
        MAX_RUNNING_PER_USER=100_000,
        MAX_STREAMS_PER_USER=100_000,
        MAX_STREAMS=100_000,
    )
    try:
        ids = [stack.start(f"bench {n}", model="offline").generation.id for n in range(count)]
        with stack.resources.database.system() as tx:
            for generation_id in ids:
                leases.claim(tx, generation_id, "bench", 3600, 3600)
        web = stack.web(workers=1, WEB_THREADS=8)
        yield Target(
            web.pid,
            int(web.url.rpartition(":")[2]),
            ids,
            [f"/api/v1/generations/{generation_id}/stream" for generation_id in ids],
            f"Authorization: Bearer {stack.token()}",
            stack.namespace,
        )
    finally:
        stack.stop()


@contextmanager
def c_hub(stores: Stores, count: int) -> Iterator[Target]:
    """A hub in C: the lowest cost that any relay could have."""
    port = free_port()
    argv = (str(compiled("hub")), str(port), str(stores.redis_port), stores.redis_password, "bench:{")
    yield from _serve("c-hub", argv, port, stores, count)


@contextmanager
def naive_gthread(stores: Stores, count: int) -> Iterator[Target]:
    """Flask under gunicorn's threads, with a pub/sub connection for each client."""
    yield from _gunicorn("naive gthread", ["--worker-class=gthread", f"--threads={NAIVE_THREADS}"], stores, count)


@contextmanager
def naive_gevent(stores: Stores, count: int) -> Iterator[Target]:
    """Flask under gevent, with a pub/sub connection for each client."""
    need("gevent")
    yield from _gunicorn("naive gevent", ["--worker-class=gevent", "--worker-connections=20000"], stores, count)


@contextmanager
def starlette_hub(stores: Stores, count: int) -> Iterator[Target]:
    """Starlette on uvicorn: one subscription for the process, a queue for each client."""
    need("uvicorn")
    need("starlette")
    port = free_port()
    argv = (
        "-m",
        "uvicorn",
        "--port",
        str(port),
        "--log-level=error",
        "--no-access-log",
        "bench.peers.starlette_hub:app",
    )
    yield from _serve("starlette hub", (sys.executable, *argv), port, stores, count)


@contextmanager
def raw_hub(stores: Stores, count: int) -> Iterator[Target]:
    """The best Python peer: raw ASGI on uvicorn. Tokens that arrive together are sent together."""
    need("uvicorn")
    port = free_port()
    argv = ("-m", "uvicorn", "--port", str(port), "--log-level=error", "--no-access-log", "bench.peers.raw_hub:app")
    yield from _serve("raw hub", (sys.executable, *argv), port, stores, count)


@contextmanager
def nchan(stores: Stores, count: int) -> Iterator[Target]:
    """Nchan: the producer posts every token to nginx."""
    with servers.nchan(stores) as (pid, port):
        ids = [str(n) for n in range(count)]
        yield Target(pid, port, ids, [f"/{n}" for n in ids], publisher="nchan", publish_to=str(port))


@contextmanager
def pushpin(stores: Stores, count: int) -> Iterator[Target]:
    """Pushpin: the producer sends every token to its ZeroMQ socket, a channel for each generation."""
    need("zmq")
    with held.pushpin(stores) as (pid, port, address):
        ids = [str(n) for n in range(count)]
        yield Target(pid, port, ids, [f"/{n}" for n in ids], publisher="pushpin", publish_to=address)


@contextmanager
def durable_streams(stores: Stores, count: int) -> Iterator[Target]:
    """@durable-streams/server: the producer appends every token to the generation's log, which the server keeps."""
    with servers.durable(stores) as (pid, port):
        ids = [str(n) for n in range(count)]
        for number in ids:
            servers.create_stream(port, number)
        paths = [f"/{number}?offset=-1&live=sse" for number in ids]
        yield Target(pid, port, ids, paths, publisher="durable-streams", publish_to=str(port))


@contextmanager
def granian_wsgi(stores: Stores, count: int) -> Iterator[Target]:
    """The naive Flask under granian's threads."""
    yield from _granian("wsgi", "bench.peers.naive_flask:app", stores, count, f"--blocking-threads={NAIVE_THREADS}")


@contextmanager
def granian_rsgi(stores: Stores, count: int) -> Iterator[Target]:
    """The raw hub on granian's own interface. Tokens that arrive together are sent together."""
    yield from _granian("rsgi", "bench.peers.rsgi_hub:app", stores, count)


DESIGNS = {
    "unbroken": product,
    "c hub": c_hub,
    "naive gthread": naive_gthread,
    "naive gevent": naive_gevent,
    "starlette hub": starlette_hub,
    "raw asgi hub": raw_hub,
    "nchan": nchan,
    "pushpin": pushpin,
    "durable-streams": durable_streams,
    "granian wsgi": granian_wsgi,
    "granian rsgi hub": granian_rsgi,
}


@contextmanager
def empty_route(stores: Stores, app: str) -> Iterator[Target]:
    """An empty route under gunicorn's own threads, as many as the product has."""
    app = f"bench.peers.empty_route:{app}"
    yield from _gunicorn("empty route", ["--worker-class=gthread", "--threads=8"], stores, 1, app)


@contextmanager
def empty_granian(stores: Stores, interface: str, app: str) -> Iterator[Target]:
    """An empty route under granian, with as many threads as the product has."""
    threads = ["--blocking-threads=8"] if interface == "wsgi" else []
    yield from _granian(interface, f"bench.peers.empty_route:{app}", stores, 1, *threads)


def _gunicorn(
    name: str, arguments: list[str], stores: Stores, count: int, app: str = "bench.peers.naive_flask:app"
) -> Iterator[Target]:
    port = free_port()
    command = (sys.executable, "-m", "gunicorn", "-c", os.devnull, "--no-control-socket", f"--bind=127.0.0.1:{port}")
    argv = (*command, "--workers=1", "--backlog=8192", "--timeout=0", *arguments, app)
    yield from _serve(name, argv, port, stores, count)


def _granian(interface: str, app: str, stores: Stores, count: int, *arguments: str) -> Iterator[Target]:
    need("granian")
    port = free_port()
    command = (sys.executable, "-m", "granian", f"--interface={interface}", f"--port={port}", "--http=1", "--no-ws")
    limits = ("--backlog=8192", "--backpressure=30000", "--log-level=error")
    argv = (*command, *limits, *arguments, app)
    # granian sends the head of a reply before the application's generator begins.
    yield from _serve(f"granian {interface}", argv, port, stores, count, subscribes=app.endswith("naive_flask:app"))


def _serve(
    name: str, argv: tuple[str, ...], port: int, stores: Stores, count: int, subscribes: bool = False
) -> Iterator[Target]:
    log = stores.directory / f"{name.replace(' ', '-')}-{uuid4().hex[:6]}.log"
    environment = {**local(), "REDIS_URL": stores.redis_url}
    process = Program(name, argv, log, environment).start()
    try:
        if not wait_until(lambda: listens(port), 20):
            raise CannotMeasure(f"it did not start: {log.read_text()[-300:]}")
        ids = [str(n) for n in range(count)]
        yield Target(process.pid, port, ids, [f"/{n}" for n in ids], subscribes=subscribes)
    finally:
        process.kill()
