"""Checks of answers through the proxy, while containers are killed and stopped."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

from tests.containers.client import Reader, call
from tests.containers.deployment import Deployment
from tests.containers.engine import podman

LONG = "Tell me everything about tides, in all detail"


def completes(deployed: Deployment) -> Iterator[str]:
    """An answer completes through the proxy, and a reader has the stored text."""
    token = deployed.token("alice")
    reader, text = _read(deployed, token, "offline-fast")
    if reader.status != "completed" or not text or reader.text != text:
        yield f"status {reader.status!r}, {len(reader.text)} characters read, {len(text)} stored"


def worker_killed(deployed: Deployment) -> Iterator[str]:
    """A worker is killed in mid-answer: the second one finishes it, and there is one text."""
    token = deployed.token("bob")
    [first] = deployed.containers("worker")
    deployed.up("worker", 2)
    deployed.await_health("worker")
    [second] = set(deployed.containers("worker")) - {first}
    # A frozen worker takes no task: the first one has the answer.
    podman("pause", second)
    started = _start(deployed, token, "offline")
    reader = Reader(deployed.url, token)
    reader.follow(started, 60, until_chars=20)
    podman("rm", "-f", "-t", "0", first)
    podman("unpause", second)
    shown = reader.text
    if reader.status or len(shown) < 20:
        yield f"the answer was not in its middle: {reader.status!r}, {len(shown)} characters"
    reader.follow(started, 120)
    text = _stored(deployed, token, started)
    if reader.status != "completed" or reader.text != text or not text.startswith(shown):
        yield f"status {reader.status!r}; {len(shown)} shown, {len(reader.text)} read, {len(text)} stored"
    if not set(reader.reasons) & {"takeover", "continue", "restart"}:
        yield f"nobody took over: {reader.reasons}"


def web_stopped(deployed: Deployment) -> Iterator[str]:
    """One of two web containers is stopped: every request gets 200."""
    deployed.up("web", 2)
    deployed.await_health("web")
    # nginx resolves names again every five seconds.
    time.sleep(6)
    token, over, seen = deployed.token("carol"), threading.Event(), []

    def ask() -> None:
        while not over.is_set():
            seen.append(call(f"{deployed.url}/api/v1/conversations", token, seconds=30))
            time.sleep(0.02)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        time.sleep(2)
        podman("stop", "-t", "20", deployed.containers("web")[0], seconds=60)
        time.sleep(4)
    finally:
        over.set()
        for thread in threads:
            thread.join(60)
    refused = [reply for reply in seen if reply[0] != 200]
    if refused or len(seen) < 20:
        yield f"{len(refused)} of {len(seen)} requests were not 200, such as {refused[:2]}"


def _start(deployed: Deployment, token: str, model: str) -> str:
    status, body = call(f"{deployed.url}/api/v1/generations", token, {"message": LONG, "model": model})
    assert status in (200, 202), (status, body)
    return str(body["generation"]["id"])


def _stored(deployed: Deployment, token: str, generation: str) -> str:
    body: Any = call(f"{deployed.url}/api/v1/generations/{generation}", token)[1]
    return str(body["content"])


def _read(deployed: Deployment, token: str, model: str) -> tuple[Reader, str]:
    started = _start(deployed, token, model)
    reader = Reader(deployed.url, token)
    reader.follow(started, 90)
    return reader, _stored(deployed, token, started)
