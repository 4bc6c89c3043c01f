"""A cluster of three RabbitMQs that loses the node to which everything is connected."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.broker.application import producer
from tests.fakes import rabbitmq
from tests.fakes.rabbitmq import RabbitMQ
from tests.operating.rabbitmq_stack import assert_ended_once, deployment, finish, notify
from tests.stack import Stack, until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(rabbitmq.missing() is not None, reason=str(rabbitmq.missing())),
]


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[list[RabbitMQ]]:
    first = RabbitMQ(tmp_path / "node-0")
    nodes = [first, *(RabbitMQ(tmp_path / f"node-{number}", fellow=first) for number in (1, 2))]
    try:
        for node in nodes:
            node.start(120)
        for node in nodes[1:]:
            node.join()
        yield nodes
    finally:
        for node in reversed(nodes):
            node.stop()


@pytest.fixture
def stack(tmp_path: Path, database_url: str, redis_url: str, nodes: list[RabbitMQ]) -> Iterator[Stack]:
    addresses = ";".join(node.url for node in nodes)
    settings = {"CELERY_BROKER_URL": addresses, "BROKER_QUEUE_TYPE": "quorum"}
    stack = deployment(tmp_path / "stack", database_url, redis_url, nodes[0], **settings)
    yield stack
    stack.stop()


def test_a_worker_goes_on_with_quorum_queues_when_its_node_is_lost(stack: Stack, nodes: list[RabbitMQ]) -> None:
    worker = stack.worker()
    finish(stack, 2)
    running = stack.start("long", model="offline").generation.id
    until(lambda: stack.generation(running).status == "running")
    nodes[0].kill()
    until(lambda: worker.log().count("Connected to") > 1, 60, "a second connection", 0.2)
    for _ in range(3):
        generation = stack.start(model="offline-fast").generation.id
        notify(stack, generation)
        assert_ended_once(stack, generation)
    assert_ended_once(stack, running)
    app = producer(stack.settings.broker_url, stack.namespace)
    assert [name for reply in app.control.ping(timeout=5) for name in reply] == [worker.name]
    app.close()
