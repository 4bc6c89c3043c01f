"""Web process and worker stop at once, with one sentence that names the reason, when a store does not suit."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from app.broker.application import producer
from dev.process import ROOT
from dev.server import HOST, free_port
from dev.valkey import CONFIGURATION, Valkey
from tests.integration.test_log_lines import lines_of
from tests.stack import Stack


class Cluster(Valkey):
    """One node of a Redis Cluster; the port of its cluster bus is chosen like the port of its clients."""

    def choose_ports(self) -> None:
        super().choose_ports()
        self.bus_port = free_port()

    def prepare(self) -> None:
        super().prepare()
        configuration = CONFIGURATION + f"cluster-enabled yes\ncluster-port {self.bus_port}\n"
        path = self.directory / "valkey.conf"
        path.write_text(configuration.format(host=HOST, port=self.port, password=self.password))


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    server = Cluster(tmp_path / "cluster")
    server.start(60)
    yield server
    server.stop()


@pytest.mark.parametrize(
    "command", [["gunicorn", "wsgi:app"], ["celery", "-A", "worker.celery_app", "worker", "--pool", "threads"]]
)
def test_a_redis_cluster_is_refused_with_the_reason(stack: Stack, cluster: Cluster, command: list[str]) -> None:
    environment = {**os.environ, **stack.variables, "REDIS_URL": cluster.url(), "PORT": "0", "BIND": "127.0.0.1:0"}
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
        timeout=180,
    )  # fmt: skip
    assert done.returncode != 0
    [line] = [line for line in lines_of(done.stdout + done.stderr) if "cannot start" in line["event"]]
    assert f"REDIS_URL ({HOST}:{cluster.port}) is a Redis Cluster" in line["event"]
    assert cluster.password not in done.stdout + done.stderr


def test_the_bus_of_a_cluster_is_no_neighbour_of_its_port(tmp_path: Path) -> None:
    """The default bus port, 10,000 above the clients' port, is in the kernel's range of outgoing connections."""
    server = Cluster(tmp_path / "cluster")
    with socket.socket() as other:
        # The port is in use either way.
        with suppress(OSError):
            other.bind((HOST, server.port + 10_000))
            other.listen()
        server.start(60)
        server.stop()


def test_deployments_on_one_rabbitmq_are_kept_apart() -> None:
    """Each deployment has tasks, remote control and events of its own. The default namespace keeps its old names."""
    first, second, third = (producer("amqp://nowhere", name) for name in ("unbroken", "staging", "other"))
    named = ("task_default_queue", "task_default_exchange", "control_exchange", "event_exchange", "event_queue_prefix")
    assert first.conf.task_default_queue == "generations"
    assert first.conf.control_exchange == "celery"
    for name in named:
        assert len({getattr(app.conf, name) or "generations" for app in (first, second, third)}) == 3, name
    assert second.amqp.queues["staging.generations"].exchange.name == "staging.generations"
    quorum = [producer("amqp://nowhere", name, "quorum").amqp.queues for name in ("unbroken", "staging")]
    assert [list(queues) for queues in quorum] == [["generations.quorum"], ["staging.generations.quorum"]]
    assert quorum[0]["generations.quorum"].exchange.name == "generations.quorum", "the classic queue gets no copies"
    assert producer("redis://nowhere", "staging").conf.task_default_queue == "generations", "its keys have a prefix"
