"""Asks for generations in turn through Celery and in this process, and takes the time to their first token.

    python -m bench.first_token ROUNDS       with the service's variables; a Celery worker must be running

Prints JSON: milliseconds by way.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

import redis

from app.config import Settings
from app.domain.commands import StartGeneration
from app.services.starting import Starter
from app.wiring import Resources, build
from worker.process import WorkerProcess

MODEL = "offline-fast"
PAUSE_SECONDS = 0.05


class _Silence:
    """A queue that does not ring: whoever starts a generation here rings himself."""

    def run_generation(self, generation_id: str) -> None:
        """Nobody comes."""


def main() -> None:
    rounds, settings = int(sys.argv[1]), Settings.load()
    resources, process = build(settings), WorkerProcess(settings)
    process.start()
    client, starter = redis.Redis.from_url(settings.redis_url, socket_timeout=10), _silent(resources)
    ways: dict[str, Callable[[str], object]] = {
        "in process": process.submit,
        "celery": resources.queue.run_generation,
    }
    waits: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 3):
        for name, ring in ways.items():
            taken = _once(_accepted(resources, starter), client, settings.redis_namespace, ring)
            if number >= 3:
                waits[name].append(taken)
            time.sleep(PAUSE_SECONDS)
    print(json.dumps(waits))


def _once(generation_id: str, client: redis.Redis, namespace: str, ring: Callable[[str], object]) -> float:
    with client.pubsub(ignore_subscribe_messages=True) as channel:
        channel.subscribe(f"{namespace}:{{{generation_id}}}:live")
        channel.get_message(timeout=1)
        began = time.perf_counter()
        ring(generation_id)
        for message in channel.listen():
            if b'"token"' in message["data"]:
                return (time.perf_counter() - began) * 1000
    raise AssertionError("unreachable")


def _silent(resources: Resources) -> Starter:
    return Starter(
        resources.database,
        _Silence(),  # type: ignore[arg-type]
        resources.catalogue,
        resources.history,
        resources.generations.finish_cancel,
        resources.settings.max_queued,
        None,
    )


def _accepted(resources: Resources, starter: Starter) -> str:
    user = resources.accounts.user("alice", None)
    return starter.start(user, StartGeneration("How long does it take?", model=MODEL)).generation.id


if __name__ == "__main__":
    main()
