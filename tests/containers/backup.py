"""The commands of docs/operate/back-up-and-restore.md: a dump, and its restore into a fresh volume."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from tests.containers.client import call
from tests.containers.deployment import PROJECT, Deployment
from tests.containers.engine import podman


def restored(deployed: Deployment) -> Iterator[str]:
    """A dump is restored into a fresh volume of PostgreSQL: conversations and texts are the ones of the dump."""
    token = deployed.token("alice")
    before = _conversations(deployed, token)
    if not before:
        yield "there is no conversation to save"
        return
    dumped = deployed.run_in(
        "postgres", "sh", "-c", "pg_dump -U postgres --format=custom unbroken | base64", seconds=120
    )
    for service in ("nginx", "web", "streams", "worker", "flower", "postgres"):
        for name in podman("ps", "-aq", f"--filter=label=com.docker.compose.service={service}").split():
            podman("rm", "-f", "-t", "10", name, seconds=60)
    podman("volume", "rm", f"{PROJECT}_postgres")
    deployed.up("postgres")
    deployed.await_health("postgres")
    deployed.migrate()
    command = "base64 -d | pg_restore -U postgres --dbname=unbroken --clean --if-exists"
    deployed.run_in("postgres", "sh", "-c", command, seconds=120, given=dumped.encode())
    deployed.start_application()
    after = _conversations(deployed, token)
    if after != before:
        yield f"{len(before)} messages before, {len(after)} after, or their texts differ"
    if ready := _never_ready(deployed):
        yield ready


def _never_ready(deployed: Deployment, seconds: float = 30) -> str:
    """The last reply of `/readyz` when none within ``seconds`` was 200, else nothing. A process probes in turns."""
    deadline = time.monotonic() + seconds
    while True:
        status, ready = call(f"{deployed.url}/readyz")
        if status == 200:
            return ""
        if time.monotonic() > deadline:
            return f"/readyz gives {status}: {ready}"
        time.sleep(1)


def _conversations(deployed: Deployment, token: str) -> list[tuple[str, str]]:
    """The id and the text of each message of a user."""
    found: list[tuple[str, str]] = []
    listed: Any = call(f"{deployed.url}/api/v1/conversations", token)[1]
    for one in listed["items"]:
        messages: Any = call(f"{deployed.url}/api/v1/conversations/{one['id']}/messages", token)[1]
        found += [(message["message_id"], message["content"]) for message in messages["items"]]
    return sorted(found)
