"""A real RabbitMQ for the tests: one node with its own epmd, on 127.0.0.1 unless another address is given.

with RabbitMQ(directory) as broker:
    ...  # broker.url is an amqp:// address
    broker.command("close_all_connections", "a reason")
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from kombu import Connection, Exchange, Queue

from dev.process import CannotRun, Process, Program, last_lines, wait_until
from dev.server import HOST, free_port

_SCRIPTS = "/usr/lib/rabbitmq/bin"
# The plugin that publishes what happens in the node.
EVENTS = "rabbitmq_event_exchange"


def missing() -> str | None:
    """The reason why RabbitMQ cannot run here; None when it can."""
    return None if _binary("rabbitmq-server", _SCRIPTS) and _binary("epmd") else "rabbitmq-server is not installed"


def _binary(name: str, *places: str) -> str | None:
    # The scripts on PATH change to a user of their own; those in `places` run as the calling user.
    return shutil.which(name, path=os.pathsep.join([*places, os.environ.get("PATH", ""), "/usr/sbin"]))


class RabbitMQ:
    """A broker, started by ``start`` or ``with``. The node's files are in ``directory``; its epmd ends with it.

    ``fellow``: a node whose epmd and secret it shares, so that it can ``join`` its cluster.
    """

    def __init__(
        self, directory: Path, host: str = HOST, plugins: Sequence[str] = (), fellow: RabbitMQ | None = None
    ) -> None:
        self.host = host
        self._plugins = ", ".join(plugins)
        self._fellow = fellow
        self.port = free_port()
        self._directory = directory
        self._variables = self._environment()
        self._processes: list[Process] = []

    def __enter__(self) -> RabbitMQ:
        self.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@{self.host}:{self.port}//"

    def start(self, timeout: float = 60) -> None:
        """Start epmd and the node. Raises CannotRun where RabbitMQ is not installed, or does not start."""
        self.begin()
        if not wait_until(self._answers, timeout, 0.2):
            self.stop()
            raise CannotRun(f"rabbitmq did not start:\n{last_lines(self._directory / 'rabbitmq.log')}")

    def begin(self) -> None:
        """Start epmd and the node without waiting for it. Raises CannotRun where RabbitMQ is not installed."""
        if reason := missing():
            raise CannotRun(reason)
        self._directory.mkdir(parents=True, exist_ok=True)
        (self._directory / "plugins").write_text(f"[{self._plugins}].\n")
        # Otherwise the user `guest` may connect from the node's own loopback only.
        (self._directory / "rabbitmq.conf").write_text("loopback_users = none\n")
        log, environment = self._directory / "rabbitmq.log", self._variables
        cookie = self._directory / ".erlang.cookie"
        cookie.unlink(missing_ok=True)
        cookie.write_text("testsalone")
        cookie.chmod(0o400)
        for name in ("rabbitmq-server",) if self._fellow else ("epmd", "rabbitmq-server"):
            argv = (str(_binary(name, _SCRIPTS)),)
            self._processes.append(Program(name, argv, log, environment).start())

    def command(self, *arguments: str) -> str:
        """The output of ``rabbitmqctl`` with these arguments. Raises CalledProcessError."""
        argv = (str(_binary("rabbitmqctl", _SCRIPTS)), "--quiet", *arguments)
        return subprocess.run(
            argv, env=self._variables, cwd=self._directory, capture_output=True, text=True, timeout=60, check=True
        ).stdout

    def join(self) -> None:
        """Become a node of the fellow's cluster."""
        assert self._fellow is not None
        self.command("stop_app")
        self.command("join_cluster", self._fellow._variables["RABBITMQ_NODENAME"])
        self.command("start_app")

    def kill(self) -> None:
        """kill -9 of the node alone: its epmd serves the other nodes."""
        self._processes.pop().kill()

    def stop(self) -> None:
        for process in reversed(self._processes):
            process.kill()
        self._processes.clear()

    def _environment(self) -> dict[str, str]:
        directory = str(self._directory)
        return {
            **os.environ,
            "HOME": directory,
            "ERL_EPMD_ADDRESS": HOST,
            "ERL_EPMD_PORT": self._fellow._variables["ERL_EPMD_PORT"] if self._fellow else str(free_port()),
            "RABBITMQ_NODENAME": f"tests{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": self.host,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": f"{directory}/mnesia",
            "RABBITMQ_LOG_BASE": f"{directory}/log",
            "RABBITMQ_PID_FILE": f"{directory}/pid",
            "RABBITMQ_CONFIG_FILE": f"{directory}/rabbitmq.conf",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{directory}/plugins",
        }

    def _answers(self) -> bool:
        """True when the node answers the greeting of AMQP."""
        with suppress(OSError), socket.create_connection((self.host, self.port), timeout=2) as connection:
            connection.sendall(b"AMQP\0\0\x09\x01")
            return len(connection.recv(64)) > 8
        return False


@dataclass(frozen=True)
class DeclaredQueue:
    """A queue at its creation."""

    name: str
    type: str
    durable: bool
    exclusive: bool


@contextmanager
def declared_queues(broker: RabbitMQ) -> Iterator[Callable[[], list[DeclaredQueue]]]:
    """A function with all queues that are created inside the block, those that live for a moment too.

    The broker has the plugin EVENTS.
    """
    with Connection(broker.url) as connection, connection.channel() as channel:
        exchange = Exchange("amq.rabbitmq.event", type="topic", passive=True)
        events = Queue(exchange=exchange, routing_key="queue.created", exclusive=True, channel=channel)
        events.declare()
        found: list[DeclaredQueue] = []

        def look() -> list[DeclaredQueue]:
            while event := events.get(no_ack=True):
                found.append(_declared(event.headers))
            return found

        yield look


def _declared(headers: dict[str, Any]) -> DeclaredQueue:
    # Only the event of another type has a type.
    kind = str(headers.get("type", "rabbit_classic_queue")).removeprefix("rabbit_").removesuffix("_queue")
    return DeclaredQueue(str(headers["name"]), kind, headers["durable"], headers["exclusive"])
