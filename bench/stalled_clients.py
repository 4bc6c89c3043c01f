"""The requests of other users while hundreds of clients stall, wait, or take nothing.
    python -m bench.stalled_clients [direct] [nginx] [SHARE=1.0] [CROWD="slow readers"]

Starts its own stores, worker, upstream and proxy.
Each crowd comes alone, then all of them at once. Prints the seconds of other users' requests to /healthz and /api/v1/me
while the crowd is there: p50, p99 and the longest, and the number of failures. Settings are the defaults, except that
the limits of reads and of new conversations are raised for the measuring clients.
"""

from __future__ import annotations

import http.client
import json
import socket
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from statistics import quantiles
from urllib.parse import urlsplit

from bench.machine import describe
from bench.stores import Stores, stores
from tests.deploy.proxy import Proxy
from tests.fakes.upstream import FakeUpstream
from tests.stack import Stack

SECONDS = 20.0
CLIENTS = 4
ANSWER_SECONDS = 60
TOKENS_PER_SECOND = 5
POST = "POST /api/v1/generations HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n"


@dataclass(frozen=True)
class Door:
    """The address of the service for clients: a port of gunicorn or nginx, and the stack that makes users' tokens."""

    port: int
    stack: Stack

    def connect(self, held: ExitStack, receive: int | None = None) -> socket.socket:
        sock = held.enter_context(closing(socket.socket()))
        if receive:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
        sock.settimeout(30)
        sock.connect(("127.0.0.1", self.port))
        return sock

    def send(self, held: ExitStack, user: str, request: str, body: str = "", receive: int | None = None) -> None:
        """Send a request, or a part of it; its answer is not read. ``{token}`` is filled in."""
        sock = self.connect(held, receive)
        sock.sendall((request.replace("{token}", self.stack.token(user)) + body).encode())

    def call(self, method: str, path: str, user: str, body: str | None = None) -> tuple[int, bytes]:
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            headers = {"Authorization": f"Bearer {self.stack.token(user)}", "Content-Type": "application/json"}
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()


def half_requests(door: Door, held: ExitStack, count: int) -> None:
    """Clients that send half a header."""
    for _ in range(count):
        door.send(held, "mallory", "GET /api/v1/me HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {token}\r\nX-Mo")


def stalled_bodies(door: Door, held: ExitStack, count: int) -> None:
    """Clients that send three bytes of a body of 500, every second one with a token."""
    for number in range(count):
        field = "Authorization: Bearer {token}\r\n" if number % 2 else ""
        door.send(held, "mallory", f"{POST}{field}Content-Length: 500\r\n\r\n", "{} ")


def waiting_completions(door: Door, held: ExitStack, count: int) -> None:
    """Chat completions without ``stream``, ten for each user, whose answers take a minute."""
    said = json.dumps({"fake": {"tokens": ANSWER_SECONDS * TOKENS_PER_SECOND, "rate": TOKENS_PER_SECOND}})
    body = json.dumps({"model": "fake", "messages": [{"role": "user", "content": said}]})
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {token}\r\n"
    fields = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    for number in range(count):
        door.send(held, f"waiter-{number // 10}", head + fields, body)


def slow_readers(door: Door, held: ExitStack, count: int) -> None:
    """Readers of 5 MB that take nothing. All of them are one user: the limit on reads allows them."""
    said = {"parent": None, "role": "assistant", "status": "completed", "created_at": "2026-01-01T00:00:00Z"}
    document = {
        "format": "unbroken.conversation",
        "version": 1,
        "conversation": {"created_at": "2026-01-01T00:00:00Z"},
        "messages": [{**said, "content": letter * 500_000} for letter in "abcdefghij"],
    }
    # Straight at the web process: the proxy's limit on bodies is smaller.
    status, body = door.call("POST", "/api/v1/conversations/import", "reader", json.dumps(document))
    assert status == 201, body[:300]
    path = f"/api/v1/conversations/{json.loads(body)['id']}/messages"
    for _ in range(count):
        request = f"GET {path} HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {{token}}\r\n\r\n"
        door.send(held, "reader", request, receive=4096)


Crowd = Callable[[Door, ExitStack, int], None]
CROWDS: dict[str, tuple[Crowd, int]] = {
    "half requests": (half_requests, 300),
    "stalled bodies": (stalled_bodies, 300),
    "waiting completions": (waiting_completions, 140),
    "slow readers": (slow_readers, 150),
}


def seconds_of_others(door: Door, seconds: float) -> tuple[list[float], int]:
    """Requests of other users, one after the other from each of a few clients. Returns their seconds, and failures."""
    until, failed = time.monotonic() + seconds, 0

    def ask(client: int) -> list[float]:
        nonlocal failed
        taken: list[float] = []
        while time.monotonic() < until:
            began = time.monotonic()
            status = 0
            with suppress(OSError, http.client.HTTPException):
                path = "/healthz" if len(taken) % 2 else "/api/v1/me"
                status, _ = door.call("GET", path, f"other-{client}-{len(taken) // 100}")
            failed += status != 200
            taken.append(time.monotonic() - began)
            # Not a load of its own: what is measured is what the crowd does to a few ordinary users.
            time.sleep(0.05)
        return taken

    with ThreadPoolExecutor(CLIENTS) as pool:
        return [one for taken in pool.map(ask, range(CLIENTS)) for one in taken], failed


def measure(door: Door, what: str, crowds: list[tuple[Crowd, int]], seconds: float = SECONDS) -> float:
    """Let the crowds come, and measure the others meanwhile. Returns p99 in seconds."""
    with ExitStack() as held, ThreadPoolExecutor(len(crowds) or 1) as pool:
        coming = [pool.submit(crowd, door, held, count) for crowd, count in crowds]
        taken, failed = seconds_of_others(door, seconds)
        for one in coming:
            one.result()
    ordered = quantiles(taken, n=100)
    print(
        f"{what}: p50 {1000 * ordered[49]:.0f} ms, p99 {1000 * ordered[98]:.0f} ms, "
        f"longest {1000 * max(taken):.0f} ms, {len(taken)} requests, {failed} failed",
        flush=True,
    )
    return ordered[98]


def freed(door: Door, seconds: float) -> float:
    """Seconds until a user whose waiting clients have left may wait again."""
    began = time.monotonic()
    path = "/api/v1/generations?stream=true"
    while time.monotonic() - began < seconds:
        with closing(http.client.HTTPConnection("127.0.0.1", door.port, timeout=30)) as connection:
            headers = {"Authorization": f"Bearer {door.stack.token('waiter-0')}", "Content-Type": "application/json"}
            connection.request("POST", path, '{"message": "hi", "model": "fake", "stream": true}', headers)
            if connection.getresponse().status == 200:
                return time.monotonic() - began
        time.sleep(0.1)
    return seconds


def run(door: Door, share: float, only: str) -> None:
    """All crowds or the one that is named, one after the other, and then together."""
    measure(door, "nobody else", [], SECONDS / 2)
    chosen = {name: crowd for name, crowd in CROWDS.items() if only in name}
    scaled = {name: (crowd, max(int(count * share), 1)) for name, (crowd, count) in chosen.items()}
    for name, crowd in scaled.items():
        measure(door, f"{crowd[1]} {name}", [crowd])
        if crowd[0] is waiting_completions:
            print(f"a place of a client that has left is free after {freed(door, 30):.1f} s", flush=True)
    if len(scaled) > 1:
        measure(door, "all of them", list(scaled.values()))


@contextmanager
def _deployment(own: Stores, upstream: FakeUpstream) -> Iterator[Stack]:
    limits = {"RATELIMIT_READS": "100000/minute", "RATELIMIT_NEW_CONVERSATIONS": "1000/minute"}
    stack = Stack(own.directory, own.database_url, own.redis_url, OPENAI_BASE_URL=upstream.base_url, **limits)
    try:
        yield stack
    finally:
        stack.stop()


def main() -> None:
    """Run the doors that are named."""
    words = sys.argv[1:]
    options = dict(word.split("=", 1) for word in words if "=" in word)
    share, only = float(options.get("SHARE", "1")), options.get("CROWD", "")
    doors = [word for word in words if "=" not in word] or ["direct", "nginx"]
    print(describe(), flush=True)
    with stores() as own, FakeUpstream() as upstream, _deployment(own, upstream) as stack:
        stack.worker()
        for name in doors:
            print(name, flush=True)
            if name == "direct":
                web = stack.web(workers=2, threads=64)
                run(Door(urlsplit(web.url).port or 0, stack), share, only)
                web.kill()
                continue
            webs = [stack.web(workers=2, threads=64, TRUSTED_PROXIES=1) for _ in range(2)]
            addresses = [urlsplit(web.url).netloc for web in webs]
            proxy = Proxy({"web": addresses[:1], "streams": addresses[1:]})
            try:
                run(Door(proxy.port, stack), share, only)
            finally:
                proxy.stop()
            for web in webs:
                web.kill()


if __name__ == "__main__":
    main()
