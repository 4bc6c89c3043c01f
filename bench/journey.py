"""The waits of a person: for the first frame after sending, for the first token, for the reply to a stop."""

from __future__ import annotations

import http.client
import json
import time
from dataclasses import asdict, dataclass
from statistics import median, quantiles
from urllib.parse import urlsplit

from bench import report
from bench.figures import Figure, Run
from bench.stores import Stores
from tests.stack import Stack


@dataclass(frozen=True, slots=True)
class Waits:
    """Milliseconds from the request, median and 95th percentile."""

    first_frame: tuple[float, float]
    first_token: tuple[float, float]
    cancel: tuple[float, float]


def run(run: Run) -> None:
    """Measure the three waits; the first frame has a target."""
    print("\nFrom the request, in milliseconds: median, 95th percentile", flush=True)
    waits = asdict(measure(run.stores, 10 if run.quick else 60))
    rows = [[name.replace("_", " "), f"{mid:.1f}", f"{high:.1f}"] for name, (mid, high) in waits.items()]
    for row in rows:
        print("  {:<12} {:>8} {:>8}".format(*row))
    run.add(Figure("first frame, p50", [waits["first_frame"][0]], 50, unit="ms"))
    run.data["journey"] = waits
    run.sections.append(("What a person waits for, in milliseconds", report.table(["", "median", "95 %"], rows)))


def measure(stores: Stores, rounds: int) -> Waits:
    """Send and stop ``rounds`` messages, one after the other, each over a connection of its own."""
    stack = Stack(stores.directory / "journey", stores.database_url, stores.redis_url, SWEEP_SECONDS=2)
    try:
        stack.worker(concurrency=20)
        web = stack.web(workers=1)
        for _ in range(3):
            _once(web.url, stack.token())
        taken = [_once(web.url, stack.token()) for _ in range(rounds)]
    finally:
        stack.stop()
    return Waits(*(_spread([row[column] for row in taken]) for column in range(3)))


def _once(url: str, token: str) -> tuple[float, float, float]:
    address = urlsplit(url).netloc
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    stream = http.client.HTTPConnection(address)
    body = json.dumps({"message": "How long does it take?", "model": "offline", "stream": True})
    began = time.perf_counter()
    stream.request("POST", "/api/v1/generations", body, headers)
    answer = stream.getresponse()
    assert answer.status == 200, answer.read()
    opened = json.loads(answer.readline()[6:])
    first_frame = time.perf_counter() - began
    while b'"token"' not in answer.readline():
        pass
    first_token = time.perf_counter() - began
    other = http.client.HTTPConnection(address)
    began = time.perf_counter()
    other.request("POST", f"/api/v1/generations/{opened['generation_id']}/cancel", headers=headers)
    assert json.loads(other.getresponse().read())["status"] == "cancelled"
    cancel = time.perf_counter() - began
    assert b'"done"' in answer.read()
    return first_frame * 1000, first_token * 1000, cancel * 1000


def _spread(values: list[float]) -> tuple[float, float]:
    return median(values), quantiles(values, n=20)[-1]
