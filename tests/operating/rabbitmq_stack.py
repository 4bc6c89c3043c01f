"""Deployments on a real RabbitMQ whose sweeps are far apart: an answer that begins sooner was begun by its message."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from app.broker.application import RUN_GENERATION, producer
from app.domain.events import Done, Snapshot, decode
from tests.fakes.rabbitmq import RabbitMQ
from tests.stack import Stack, Worker

# Sweeps are this many seconds apart.
SWEEP_SECONDS = 60


def deployment(directory: Path, database_url: str, redis_url: str, broker: RabbitMQ, **settings: Any) -> Stack:
    directory.mkdir()
    given = {"SWEEP_SECONDS": SWEEP_SECONDS, "LEASE_SECONDS": 60, "CELERY_BROKER_URL": broker.url, **settings}
    return Stack(directory, database_url, redis_url, **given)


def queue_of(stack: Stack) -> str:
    """The name of a deployment's queue of tasks."""
    suffix = ".quorum" if stack.settings.broker_queue_type == "quorum" else ""
    return f"{stack.namespace}.generations{suffix}"


def finish(stack: Stack, many: int) -> None:
    """Start this many answers, and assert that each completes sooner than a sweep."""
    started = [stack.start(f"number {n}", model="offline-fast").generation.id for n in range(many)]
    for generation in started:
        assert stack.finished(generation, SWEEP_SECONDS / 2).status == "completed"


def notify(stack: Stack, generation: str) -> None:
    """Send the message of a generation over a connection of its own."""
    app = producer(stack.settings.broker_url, stack.namespace, stack.settings.broker_queue_type)
    with app.connection_for_write() as connection:  # pooled connections are shared within the process
        app.send_task(RUN_GENERATION, (generation,), task_id=generation, connection=connection)
    app.close()


def waiting_in(broker: RabbitMQ, queue: str) -> int:
    """The number of messages in a queue, delivered ones included; 0 where there is no such queue."""
    rows = [line.split("\t") for line in broker.command("list_queues", "name", "messages").splitlines()]
    return sum(int(row[1]) for row in rows if row[0] == queue)


def reserved(stack: Stack, worker: Worker) -> int:
    """The number of messages that a worker has received, and for which it has no free thread."""
    app = producer(stack.settings.broker_url, stack.namespace)
    try:
        found = app.control.inspect([worker.name], timeout=10, limit=1).reserved() or {}
        return len(found.get(worker.name, ()))
    finally:
        app.close()


def assert_ended_once(stack: Stack, generation: str, timeout: float = SWEEP_SECONDS / 2) -> None:
    """Assert that an answer completes, with one beginning and one end in its log."""
    assert stack.finished(generation, timeout).status == "completed"
    events = [decode(entry.payload) for entry in stack.read(generation)]
    kinds = Counter(type(event) for event in events)
    assert (kinds[Snapshot], kinds[Done]) == (1, 1), kinds
    assert isinstance(events[-1], Done)
