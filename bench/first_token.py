"""Starts generations in turn through Celery and in this process, and times their first tokens.
    python -m bench.first_token ROUNDS       with the service's variables; a Celery worker must be running

Prints JSON: milliseconds, by the way taken.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

import redis

from app.broker.queue import Queue
from app.config import WorkerSettings
from app.domain.commands import StartGeneration
from app.services.admission import Admission
from app.services.attachments import Attachments
from app.services.generation_start import GenerationStarter
from app.wiring import Resources, build
from worker.process import WorkerProcess

MODEL = "offline-fast"
PAUSE_SECONDS = 0.05


class _Silence(Queue):
    """A queue that notifies no worker: the caller runs each generation itself."""

    def __init__(self) -> None:
        """Connect to nothing."""

    def announce(self, generation_id: str) -> None:
        """Does nothing."""


def main() -> None:
    rounds, settings = int(sys.argv[1]), WorkerSettings.load()
    resources, process = build(settings), WorkerProcess(settings)
    process.start("bench@first-token")
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


def _silent(resources: Resources) -> GenerationStarter:
    return GenerationStarter(
        resources.database,
        _Silence(),
        resources.model_catalog,
        resources.history,
        resources.generations.finish_or_leave,
        Admission(resources.settings.max_queued, resources.settings.max_queued_per_user, resources.budgets),
        Attachments(resources.files, resources.settings.max_prompt_file_bytes),
    )


def _accepted(resources: Resources, starter: GenerationStarter) -> str:
    user = resources.users.user("alice", None)
    return starter.start(user, StartGeneration("How long does it take?", model=MODEL)).generation.id


if __name__ == "__main__":
    main()
