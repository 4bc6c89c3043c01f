"""RabbitMQ as the broker: deployments are kept apart, garbage is dropped, and a full broker ends no worker."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from kombu import Connection, Exchange, Producer

from app.broker.application import producer
from app.domain.audit import SERVICE
from app.services.worker_admin import WorkerAdmin
from app.store import admin_generations
from tests.fakes import rabbitmq
from tests.fakes.rabbitmq import RabbitMQ
from tests.operating.rabbitmq_stack import SWEEP_SECONDS, deployment, finish, notify, queue_of, reserved, waiting_in
from tests.stack import Stack, Worker, until

pytestmark = pytest.mark.skipif(rabbitmq.missing() is not None, reason=str(rabbitmq.missing()))

# Celery limits the messages in advance by another way with quorum queues.
BOTH_TYPES = pytest.mark.parametrize("stack", ["classic", "quorum"], indirect=True)
# RabbitMQ's high watermark of memory: the usual share, and one so small that the alarm is raised.
ALL_MEMORY, NO_MEMORY = "0.6", "0.0000001"


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    with RabbitMQ(tmp_path_factory.mktemp("rabbitmq")) as broker:
        yield broker


@pytest.fixture
def stack(
    request: pytest.FixtureRequest, tmp_path: Path, database_url: str, redis_url: str, broker: RabbitMQ
) -> Iterator[Stack]:
    settings = {"BROKER_QUEUE_TYPE": getattr(request, "param", "classic")}
    stack = deployment(tmp_path / "one", database_url, redis_url, broker, **settings)
    yield stack
    stack.stop()


@pytest.fixture
def other(tmp_path: Path, module_database_url: str, redis_url: str, broker: RabbitMQ) -> Iterator[Stack]:
    """A deployment with its own database, on the same broker."""
    stack = deployment(tmp_path / "other", module_database_url, redis_url, broker)
    yield stack
    stack.stop()


def dropped(worker: Worker) -> list[str]:
    lines = [json.loads(line) for line in worker.log().splitlines() if '"broker message dropped"' in line]
    return [line["reason"] for line in lines]


def test_two_deployments_on_one_rabbitmq_do_not_take_each_others_work(
    stack: Stack, other: Stack, broker: RabbitMQ
) -> None:
    mine = stack.worker()
    queued = [other.start(f"theirs {n}", model="offline-fast").generation.id for n in range(4)]
    until(lambda: waiting_in(broker, queue_of(other)) == len(queued), 20, "the messages", 0.3)
    finish(stack, 4)
    assert waiting_in(broker, queue_of(other)) == len(queued)
    theirs = other.worker()
    for generation in queued:
        assert other.finished(generation, SWEEP_SECONDS / 2).status == "completed"
    finish(stack, 4)
    finish(other, 4)
    answers = {}
    for one in (stack, other):
        app = producer(broker.url, one.namespace)
        answers[one.namespace] = {name for reply in app.control.ping(timeout=2) for name in reply}
        app.close()
    assert answers == {stack.namespace: {mine.name}, other.namespace: {theirs.name}}


# Content type, body, headers.
GARBAGE: list[tuple[str, bytes, dict[str, object]]] = [
    ("text/plain", b"garbage", {}),
    ("application/json", b"garbage", {}),
    ("application/json", b"[]", {}),
    ("application/json", b"[" * 100_000, {"task": "unbroken.run_generation", "id": "1"}),
    ("application/json", b"\xff\xfe", {"task": "unbroken.run_generation", "id": "1"}),
    ("application/x-python-serialize", b"\x80\x04.", {"task": "unbroken.run_generation", "id": "1"}),
    ("application/json", b"x" * 5_000_000, {"task": "unbroken.run_generation", "id": "1"}),
    ("application/json", b"[[], {}, {}]", {"task": "other.task", "id": "1"}),
    ("application/json", b"[[1], {}, {}]", {"task": "unbroken.run_generation", "id": "1"}),
    ("application/json", b"[[], {}, {}]", {"task": 7, "id": {}}),
    ("application/json", b"[[], {}, {}]", {"task": "unbroken.run_generation"}),
    ("application/json", b"7", {"task": "unbroken.run_generation", "id": "1", "eta": "never"}),
    ("", b"", {}),
]


@BOTH_TYPES
def test_garbage_in_the_queue_is_dropped_and_counted(stack: Stack, broker: RabbitMQ) -> None:
    worker = stack.worker()
    finish(stack, 1)
    running = stack.start("long", model="offline").generation.id
    until(lambda: stack.generation(running).status == "running")
    with Connection(broker.url) as connection, connection.channel() as channel:
        for content_type, body, headers in GARBAGE:
            message = channel.prepare_message(body, content_type=content_type, headers=headers)
            channel.basic_publish(message, exchange="", routing_key=queue_of(stack))
    finish(stack, 3)
    assert worker.alive, worker.tail()
    # RabbitMQ counts the messages of a quorum queue late.
    until(lambda: len(dropped(worker)) >= len(GARBAGE) - 1, 60, "a line for each message", 0.3)
    until(lambda: waiting_in(broker, queue_of(stack)) == 0, 60, "an empty queue", 0.3)
    assert set(dropped(worker)) >= {"unreadable", "malformed", "unknown"}
    assert stack.finished(running).status == "completed"
    assert "Traceback" not in worker.log()


def test_garbage_to_everybody_ends_no_worker(stack: Stack, broker: RabbitMQ) -> None:
    """Celery's remote control has an exchange of its own. Invalid messages on it end no worker."""
    worker = stack.worker()
    with Connection(broker.url) as connection, connection.channel() as channel:
        # kombu adds ".pidbox" to what Celery calls the control exchange.
        exchange = Exchange(f"{stack.namespace}.celery.pidbox.pidbox", "fanout")
        control = Producer(channel, exchange=exchange, auto_declare=False)
        for content_type, body in (("application/json", b"garbage"), ("text/plain", b"x"), ("application/json", b"[]")):
            control.publish(body, content_type=content_type, content_encoding="utf-8", serializer=None)
    finish(stack, 2)
    assert worker.alive, worker.tail()


@pytest.mark.slow
def test_a_full_rabbitmq_that_closes_connections_does_not_end_the_worker(stack: Stack, broker: RabbitMQ) -> None:
    worker = stack.worker()
    finish(stack, 1)
    running = stack.start("long", model="offline").generation.id
    until(lambda: stack.generation(running).status == "running")
    broker.command("set_vm_memory_high_watermark", NO_MEMORY)
    try:
        held = [stack.start(f"while full {n}", model="offline-fast").generation.id for n in range(3)]
        for _ in range(3):
            broker.command("close_all_connections", "the tests do it")
            time.sleep(1)
            assert worker.alive, worker.tail()
        assert stack.finished(running, SWEEP_SECONDS / 2).status == "completed"
    finally:
        broker.command("set_vm_memory_high_watermark", ALL_MEMORY)
    # A message that was sent over a connection the broker has closed is lost, and costs a sweep. A message over a new
    # connection must arrive. It starts the generation that has waited longest.
    waiting = [*held, stack.start(model="offline-fast").generation.id]
    for generation in waiting:
        notify(stack, generation)
    for generation in waiting:
        assert stack.finished(generation, SWEEP_SECONDS / 2).status == "completed"
    assert worker.alive


@BOTH_TYPES
def test_a_connection_that_breaks_under_running_answers_does_not_deafen_the_worker(
    stack: Stack, broker: RabbitMQ
) -> None:
    """Only the thread that reads a connection to RabbitMQ may wait for a reply on it."""
    worker = stack.worker()
    running = [stack.start(f"long {n}", model="offline").generation.id for n in range(10)]
    until(lambda: all(stack.generation(one).status == "running" for one in running))
    broker.command("close_all_connections", "the tests do it")
    until(lambda: worker.log().count("Connected to") == 2, what="a second connection")
    waiting = [stack.start(f"more {n}", model="offline-fast").generation.id for n in range(8)]
    for generation in waiting:
        notify(stack, generation)
    for generation in waiting:
        assert stack.finished(generation, SWEEP_SECONDS / 2).status == "completed"
    for generation in running:
        assert stack.finished(generation).status == "completed"


@pytest.mark.slow
@BOTH_TYPES
def test_a_drained_worker_hands_messages_on_and_takes_none_over_a_new_connection(
    stack: Stack, broker: RabbitMQ
) -> None:
    """No sweep comes: each answer is begun by its message."""
    first = stack.worker(concurrency=2)
    running = [stack.start(f"long {n}", model="offline").generation.id for n in range(2)]
    until(lambda: all(stack.generation(one).status == "running" for one in running))
    # RabbitMQ delivers them to the worker that has no free slot.
    held = [stack.start(f"held {n}", model="offline-fast").generation.id for n in range(2)]
    until(lambda: reserved(stack, first) == len(held), 60, "their delivery")
    admin = WorkerAdmin(stack.resources.database.system, stack.settings.worker_lost_seconds)
    admin.drain(SERVICE, first.name, "finish", None)
    second = stack.worker(concurrency=2)
    for generation in held:
        stack.finished(generation, SWEEP_SECONDS / 2)
    until(lambda: admin.get(first.name).worker.may_stop, 60, "the end of its answers")
    broker.command("close_all_connections", "the tests do it")
    for worker in (first, second):
        until(lambda worker=worker: worker.log().count("Connected to") == 2, 60, "a second connection")
    later = [stack.start(f"later {n}", model="offline-fast").generation.id for n in range(6)]
    for generation in later:
        notify(stack, generation)
    for generation in later:
        assert stack.finished(generation, SWEEP_SECONDS / 2).status == "completed"
    assert workers_of(stack, running) == {first.name}
    assert workers_of(stack, held) == {second.name}
    assert workers_of(stack, later) == {second.name}
    admin.undrain(SERVICE, first.name, None)
    admin.drain(SERVICE, second.name, "finish", None)
    until(lambda: admin.get(second.name).worker.may_stop, 60, "a drained worker")
    again = stack.start("again", model="offline-fast").generation.id
    notify(stack, again)
    assert stack.finished(again, SWEEP_SECONDS / 2).status == "completed"
    assert workers_of(stack, [again]) == {first.name}


def workers_of(stack: Stack, generation_ids: list[str]) -> set[str | None]:
    """The workers that have run these generations last."""
    with stack.resources.database.operator() as tx:
        return {watched.worker for watched in admin_generations.some(tx, generation_ids)}


@pytest.mark.slow
@BOTH_TYPES
def test_a_worker_survives_the_deletion_of_its_queue(stack: Stack, broker: RabbitMQ) -> None:
    worker = stack.worker()
    finish(stack, 1)
    broker.command("delete_queue", queue_of(stack))
    time.sleep(1)
    for _ in range(3):
        generation = stack.start(model="offline-fast").generation.id
        notify(stack, generation)
        assert stack.finished(generation, SWEEP_SECONDS / 2).status == "completed"
    assert worker.alive


def test_a_worker_begins_under_the_name_of_one_whose_connection_rabbitmq_still_holds(
    stack: Stack, broker: RabbitMQ
) -> None:
    """A host that lost its power closes no connection, and its container starts again under the host's name."""
    lost = stack.worker()
    lost.signal(signal.SIGSTOP)
    worker = stack.worker_named(lost.name)
    assert "RESOURCE_LOCKED" not in worker.log()
    generation = stack.start(model="offline-fast").generation.id
    # RabbitMQ delivers every other message to the connection that nobody reads.
    notify(stack, generation)
    assert stack.finished(generation, SWEEP_SECONDS / 2).status == "completed"
