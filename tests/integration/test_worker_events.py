"""Events of tasks reach Flower: every task, with the times at which it began and ended."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from app.broker.application import producer
from tests.stack import Stack, until

Event = dict[str, Any]


@contextmanager
def heard(stack: Stack) -> Iterator[list[Event]]:
    """Collect every event of tasks that is published while the block runs."""
    events: list[Event] = []
    celery, over, listening = producer(stack.settings.broker_url, stack.namespace), threading.Event(), threading.Event()

    def listen() -> None:
        with celery.connection() as connection:
            receiver = celery.events.Receiver(connection, handlers={"*": events.append})
            with receiver.consumer_context(wakeup=False) as (own, *_):
                listening.set()
                while not over.is_set():
                    try:
                        own.drain_events(timeout=0.2)
                    except TimeoutError:
                        continue

    thread = threading.Thread(target=listen)
    thread.start()
    try:
        assert listening.wait(60)
        yield events
    finally:
        over.set()
        thread.join()
        celery.close()


def of(events: list[Event], generation_id: str) -> list[str]:
    """The types of a task's events, in order."""
    return [event["type"] for event in events if event.get("uuid") == generation_id]


def test_of_a_task_is_told_that_it_came_began_and_ended(stack: Stack) -> None:
    stack.worker()
    with heard(stack) as events:
        generation_id = stack.start("Hello", model="offline-fast").generation.id
        until(lambda: "task-succeeded" in of(events, generation_id), what="the end of the task")
        told = [kind for kind in of(events, generation_id) if kind != "task-sent"]
    assert told == ["task-received", "task-started", "task-succeeded"]


def test_a_worker_that_leaves_tells_what_it_has_not_told_yet(stack: Stack) -> None:
    # Celery alone starts the answer: no sweep comes.
    worker = stack.worker(SWEEP_SECONDS=60)
    with heard(stack) as events:
        generation_id = stack.start("Hello", model="offline").generation.id
        until(lambda: stack.generation(generation_id).status == "running", what="the claim")
        worker.terminate()
        until(lambda: "task-started" in of(events, generation_id), what="its beginning")
