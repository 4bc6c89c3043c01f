"""Flower and the operator's routes show a task's status, its failure, its try, and one name of its worker."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from app.api.representations.admin import facts_of
from app.broker.application import producer
from app.domain.audit import SERVICE
from app.domain.timeline import Moment, timeline
from tests.stack import Stack, until


@pytest.fixture
def events(stack: Stack) -> Iterator[list[dict[str, Any]]]:
    """The events of tasks, as Flower receives them."""
    seen: list[dict[str, Any]] = []
    celery = producer(stack.settings.broker_url, stack.namespace)
    connection = celery.connection_for_read()
    receiver = celery.events.Receiver(connection, handlers={"*": seen.append})
    thread = threading.Thread(target=receiver.capture, kwargs={"limit": None, "timeout": None}, daemon=True)
    thread.start()
    yield seen
    receiver.should_stop = True
    thread.join(5)
    connection.release()
    celery.close()


def of_task(events: list[dict[str, Any]], generation_id: str, kind: str) -> dict[str, Any]:
    def found() -> dict[str, Any] | None:
        return next((e for e in events if e["type"] == kind and e.get("uuid") == generation_id), None)

    event = until(found, 30, f"{kind} of {generation_id}")
    assert event is not None
    return event


def life(stack: Stack, generation: str) -> list[Moment]:
    row, saved = stack.resources.admin.one(generation)
    return timeline(facts_of(row, saved), stack.settings.lease_seconds)


def running(stack: Stack) -> str:
    generation = stack.start(model="offline").generation.id
    until(lambda: len(stack.log(generation)) > 10)
    return generation


def test_a_tasks_result_is_the_status_of_its_answer(stack: Stack, events: list[dict[str, Any]]) -> None:
    worker = stack.worker()
    until(lambda: events)
    completed = stack.start(model="offline-fast").generation.id
    assert of_task(events, completed, "task-succeeded")["result"] == "'completed'"
    cancelled = running(stack)
    stack.resources.generations.cancel(stack.user, cancelled)
    assert of_task(events, cancelled, "task-succeeded")["result"] == "'cancelled'"
    failed = running(stack)
    stack.resources.admin.fail(SERVICE, failed)
    event = of_task(events, failed, "task-failed")
    assert event["exception"] == "GenerationFailed('failed_by_operator')"
    assert event["hostname"] == worker.name
    assert "Traceback" not in worker.log()


@pytest.mark.parametrize("act", ["cancel", "fail"])
def test_an_operator_leaves_the_worker_and_the_attempt_as_they_were(stack: Stack, act: str) -> None:
    worker = stack.worker()
    generation = running(stack)
    epoch = stack.generation(generation).epoch
    watched = getattr(stack.resources.admin, act)(SERVICE, generation)
    assert watched.worker == worker.name
    assert len(watched.attempts) == 1
    attempt = watched.attempts[0]
    assert attempt["outcome"] == {"cancel": "cancelled", "fail": "error"}[act]
    assert attempt["epoch"] == epoch
    assert 0.1 < attempt["seconds"] < 60


def test_the_attempt_of_a_killed_worker_is_kept_too(stack: Stack) -> None:
    first = stack.worker()
    generation = running(stack)
    # The row has the time of the first token with its first checkpoint.
    until(lambda: stack.generation(generation).first_token_at, 60)
    first.kill()
    second = stack.worker()
    row = stack.finished(generation)
    assert [attempt["epoch"] for attempt in row.attempts] == [1, row.epoch]
    assert all(attempt["seconds"] > 0 for attempt in row.attempts)
    found = life(stack, generation)
    workers = [(one.worker, one.epoch) for one in found if one.what in ("claimed", "takeover")]
    assert workers == [(first.name, 1), (second.name, row.epoch)]
    [takeover] = [one for one in found if one.what == "takeover"]
    assert takeover.detail["reason"] == "expired"
    checkpoints = {one.epoch: one for one in found if one.what == "checkpoint"}
    assert checkpoints.keys() == {1, row.epoch}
    assert checkpoints[1].at <= takeover.detail["lease_ended"]
    assert (found[0].what, found[-1].what, found[-1].worker) == ("queued", "end", second.name)
    assert [one.epoch for one in found if one.what == "first_token"] == [1]


def test_a_cancel_stands_in_the_line_of_life(stack: Stack) -> None:
    queued = stack.start(model="offline").generation.id
    stack.resources.generations.cancel(stack.user, queued)
    assert [one.what for one in life(stack, queued) if one.what != "checkpoint"] == [
        "queued",
        "cancel_requested",
        "end",
    ]
