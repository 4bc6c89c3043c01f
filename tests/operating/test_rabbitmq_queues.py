"""The queues on RabbitMQ: their types, the change from one type to the other, the delivery limit, what 4.3 requires."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.domain.audit import SERVICE
from app.services.worker_admin import WorkerAdmin
from dev.process import Program
from dev.server import free_port
from tests.fakes import rabbitmq
from tests.fakes.rabbitmq import RabbitMQ, declared_queues
from tests.operating.rabbitmq_stack import (
    assert_ended_once,
    deployment,
    finish,
    notify,
    queue_of,
    reserved,
    waiting_in,
)
from tests.stack import Running, Stack, until

pytestmark = pytest.mark.skipif(rabbitmq.missing() is not None, reason=str(rabbitmq.missing()))

Deploy = Callable[..., Stack]
# An answer that lasts until it is cancelled.
ENDLESS = {"tokens": 100_000, "rate": 5}
# Deliveries that may fail before RabbitMQ drops a message. The default of RabbitMQ 4 is 20.
DELIVERY_LIMIT = 1


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    with RabbitMQ(tmp_path_factory.mktemp("rabbitmq"), plugins=(rabbitmq.EVENTS,)) as broker:
        yield broker


@pytest.fixture
def deploy(tmp_path: Path, database_url: str, redis_url: str, broker: RabbitMQ) -> Iterator[Deploy]:
    """A deployment with these settings."""
    stacks: list[Stack] = []

    def make(**settings: Any) -> Stack:
        stacks.append(deployment(tmp_path / "stack", database_url, redis_url, broker, **settings))
        return stacks[-1]

    yield make
    for stack in stacks:
        stack.stop()


def queues(broker: RabbitMQ, *columns: str, vhost: str = "/") -> dict[str, tuple[str, ...]]:
    """Columns of the present queues, by name."""
    lines = broker.command("list_queues", "--vhost", vhost, "name", *columns).splitlines()[1:]
    return {name: tuple(found) for name, *found in (line.split("\t") for line in lines)}


@pytest.mark.slow
@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
def test_everything_declares_one_queue_of_tasks_and_no_queue_that_rabbitmq_refuses(
    deploy: Deploy, broker: RabbitMQ, queue_type: str
) -> None:
    """RabbitMQ 4.3 refuses a queue that is neither durable nor exclusive.

    Celery would declare 28 queues for tasks with a countdown beside a quorum queue. No task has one here.
    """
    with declared_queues(broker) as declared:
        stack = deploy(BROKER_QUEUE_TYPE=queue_type)
        worker = stack.worker()
        flower = start_flower(stack)
        finish(stack, 2)
        admin = WorkerAdmin(stack.resources.database.system, stack.settings.worker_lost_seconds)
        admin.drain(SERVICE, worker.name, "finish", None)
        until(lambda: admin.get(worker.name).worker.may_stop, 60, "a drained worker")
        admin.undrain(SERVICE, worker.name, None)
        # The health check of Compose, and an operator's command.
        celery(stack, "worker.celery_app", "inspect", "ping", "-d", worker.name, "-t", "30")
        celery(stack, "worker.monitor", "purge", "-f")
        assert stack.resources.queue.messages() == 0
        until(lambda: any("celeryev" in queue.name for queue in declared()), 60, "Flower's queue")
        flower.kill()
        found = declared()
    assert [queue for queue in found if not (queue.durable or queue.exclusive)] == []
    typed = {queue_of(stack), f"{worker.name}.{stack.namespace}.celery.pidbox.pidbox"}
    assert {queue.name for queue in found if queue.type == "quorum"} == (typed if queue_type == "quorum" else set())
    remote = {queue.name for queue in found if "pidbox" in queue.name or "celeryev" in queue.name}
    assert len(remote) >= 4, found  # the worker's, Flower's, and a queue of replies for each command
    assert {queue.name for queue in found} - remote == {queue_of(stack)}


def start_flower(stack: Stack) -> Running:
    log, own = stack.directory / "flower.log", {"FLOWER_ADDRESS": "127.0.0.1", "FLOWER_PORT": str(free_port())}
    command = (sys.executable, "-m", "celery", "--app", "worker.monitor", "flower")
    return Running(Program("flower", command, log, {**os.environ, **stack.variables, **own}).start(), log)


def celery(stack: Stack, app: str, *arguments: str) -> None:
    command = (sys.executable, "-m", "celery", "--app", app, *arguments)
    environment = {**os.environ, **stack.variables}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_a_deployment_changes_to_quorum_queues_and_back_and_loses_nothing(deploy: Deploy, broker: RabbitMQ) -> None:
    stack = deploy()
    old, new = queue_of(stack), f"{queue_of(stack)}.quorum"
    waiting = [stack.start(f"before {n}", model="offline-fast").generation.id for n in range(2)]
    until(lambda: waiting_in(broker, old) == len(waiting), 20, "the messages", 0.3)
    # The web process is still of the classic type when the workers have changed. Their sweeps begin its answers.
    quorum = stack.worker(BROKER_QUEUE_TYPE="quorum", SWEEP_SECONDS=1)
    waiting.append(stack.start("during", model="offline-fast").generation.id)
    for generation in waiting:
        assert_ended_once(stack, generation)
    # A sweep may begin the answers before the worker consumes.
    until(lambda: queues(broker, "type", "consumers").get(new) == ("quorum", "1"), 60, "the worker's consumer", 0.3)
    assert waiting_in(broker, old) == len(waiting)
    # The way back: the messages of the old queue are of answers that have ended.
    quorum.terminate()
    stack.worker()
    finish(stack, 2)
    until(lambda: waiting_in(broker, old) == 0, 20, "an empty queue", 0.3)
    for generation in waiting:
        assert_ended_once(stack, generation)


@pytest.mark.slow
def test_a_message_that_rabbitmq_drops_at_the_delivery_limit_costs_a_sweep(deploy: Deploy, broker: RabbitMQ) -> None:
    stack = deploy(BROKER_QUEUE_TYPE="quorum")
    queue = queue_of(stack)
    limit = json.dumps({"delivery-limit": DELIVERY_LIMIT})
    broker.command("set_policy", "--apply-to", "queues", "limit", f"^{queue}$", limit)
    workers = stack.workers(DELIVERY_LIMIT + 1, concurrency=1)
    running = [stack.start(f"long {n}", model="offline", parameters=ENDLESS).generation.id for n in range(len(workers))]
    until(lambda: all(stack.generation(one).status == "running" for one in running))
    held = stack.start("held", model="offline-fast").generation.id
    while workers:
        # The message is delivered to a worker that has no free slot. It dies before it acknowledges.
        until(lambda: any(reserved(stack, worker) for worker in workers), 60, "the delivery")
        holder = next(worker for worker in workers if reserved(stack, worker))
        workers.remove(holder)
        holder.kill()
    until(lambda: queues(broker, "messages", "consumers")[queue] == ("0", "0"), 60, "the drop", 0.5)
    assert stack.generation(held).status == "queued"
    for generation in running:
        stack.resources.generations.cancel(stack.user, generation)
    stack.worker(SWEEP_SECONDS=1)
    assert_ended_once(stack, held)


@pytest.mark.slow
def test_a_virtual_host_may_make_quorum_queues_of_all_durable_ones(
    tmp_path: Path, database_url: str, redis_url: str, broker: RabbitMQ
) -> None:
    """The control queue and those of replies become quorum queues there."""
    broker.command("add_vhost", "quorum", "--default-queue-type", "quorum")
    broker.command("set_permissions", "--vhost", "quorum", "guest", ".*", ".*", ".*")
    address = f"{broker.url.removesuffix('//')}/quorum"
    settings = {"CELERY_BROKER_URL": address, "BROKER_QUEUE_TYPE": "quorum"}
    stack = deployment(tmp_path / "stack", database_url, redis_url, broker, **settings)
    try:
        worker = stack.worker()
        finish(stack, 2)
        again = stack.start(model="offline-fast").generation.id
        notify(stack, again)
        assert_ended_once(stack, again)
        mine = [name for name, (kind,) in queues(broker, "type", vhost="quorum").items() if kind == "quorum"]
        assert {queue_of(stack)} < set(mine)
        assert "NOT_IMPLEMENTED" not in worker.log(), worker.tail()
    finally:
        stack.stop()


def set_timeout(broker: RabbitMQ, timeout_ms: int, interval_ms: int) -> None:
    """Set the time in which a message must be acknowledged, and the time between two looks at it."""
    for name, value in (("consumer_timeout", timeout_ms), ("channel_tick_interval", interval_ms)):
        broker.command("eval", f"application:set_env(rabbit, {name}, {value}).")


@pytest.fixture
def impatient(broker: RabbitMQ) -> Iterator[RabbitMQ]:
    """A RabbitMQ that waits a second for an acknowledgement, and not 30 minutes."""
    set_timeout(broker, 1000, 500)
    yield broker
    set_timeout(broker, 1_800_000, 60_000)


@pytest.mark.slow
def test_a_message_that_is_held_past_rabbitmqs_timeout_costs_a_connection(deploy: Deploy, impatient: RabbitMQ) -> None:
    """RabbitMQ closes a channel whose message is not acknowledged in time. A full worker holds some."""
    stack = deploy(BROKER_QUEUE_TYPE="quorum")
    worker = stack.worker(concurrency=1)
    running = stack.start("long", model="offline", parameters=ENDLESS).generation.id
    until(lambda: stack.generation(running).status == "running")
    held = stack.start("held", model="offline-fast").generation.id
    until(lambda: worker.log().count("Connected to") > 1, 60, "a second connection", 0.2)
    assert stack.generation(running).status == "running"
    stack.resources.generations.cancel(stack.user, running)
    assert_ended_once(stack, held)
    again = stack.start("again", model="offline-fast").generation.id
    notify(stack, again)
    assert_ended_once(stack, again)
    assert worker.alive
