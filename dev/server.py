"""The base of the two embedded servers: a directory, ports of their own, start, stop."""

from __future__ import annotations

import random
import secrets
import socket
import sys
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from dev.process import CannotRun, Process, Program, last_lines, wait_until

HOST = "127.0.0.1"
# Below the kernel's range for outgoing connections (32768 and up on Linux): while a server is down, no connection gets
# its port by chance, and a client that keeps trying cannot connect to itself.
PORTS = range(20_000, 32_000)
# A server binds its port seconds after the port was chosen; until then no other instance may choose that port.
_promised: list[socket.socket] = []
# A first start chooses other ports when a program outside this project has bound one of them meanwhile.
PORT_ATTEMPTS = 3
PORT_TAKEN = b"Address already in use"


def is_free(port: int, host: str = HOST) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def free_port() -> int:
    """A free port. While this process lives, no other call returns it, in any process. Raises CannotRun."""
    for port in random.sample(PORTS, 100):
        if is_free(port) and _promise(port):
            return port
    raise CannotRun(f"no free port on {HOST} between {PORTS[0]} and {PORTS[-1]}")


def _promise(port: int) -> bool:
    """Reserve a port by a socket's name that the kernel removes with this process. False: it is reserved."""
    if sys.platform != "linux":
        return True
    mark = socket.socket(socket.AF_UNIX)
    try:
        mark.bind(f"\0unbroken-port-{port}")
    except OSError:
        mark.close()
        return False
    _promised.append(mark)
    return True


def keep_secret(path: Path) -> str:
    """The secret in `path`, made at the first call; only its owner can read it."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(path.name + ".new")
        fresh.unlink(missing_ok=True)
        fresh.touch(mode=0o600)
        fresh.write_text(secrets.token_urlsafe(32))
        fresh.rename(path)
    return path.read_text()


class Server(ABC):
    """An embedded server whose data are in `directory` and survive `stop()` and kill -9."""

    name: ClassVar[str]
    host = HOST

    def __init__(self, directory: Path, log: Path | None = None) -> None:
        self.directory = directory.resolve()
        self.log = log or self.directory / "server.log"
        self.process: Process | None = None
        self._has_served = False
        self.choose_ports()

    def choose_ports(self) -> None:
        """Choose every port that the server binds; none is computed from another one."""
        self.port = free_port()

    @abstractmethod
    def prepare(self) -> None:
        """Make the directory usable, once. Raises CannotRun."""

    @abstractmethod
    def program(self) -> Program:
        """The server's program, after `prepare()`."""

    @abstractmethod
    def is_ready(self) -> bool:
        """True while it answers clients."""

    @abstractmethod
    def url(self) -> str:
        """The address for clients, after `prepare()`."""

    @abstractmethod
    def before_start(self) -> None:
        """Remove the leftovers of a killed predecessor."""

    def start(self, timeout: float = 60) -> None:
        """Starts the server and waits until it answers. `make run` gives `program()` to its supervisor instead.

        A server that has answered once keeps its port for ever; a first start may choose another one. Raises CannotRun.
        """
        attempts = 1 if self._has_served else PORT_ATTEMPTS
        while not self._start(timeout):
            attempts -= 1
            if not attempts or PORT_TAKEN not in self._output():
                raise CannotRun(f"{self.name} did not start:\n{last_lines(self.log)}")
            self.choose_ports()
        self._has_served = True

    def _start(self, timeout: float) -> bool:
        self.prepare()
        self._log_from = self.log.stat().st_size if self.log.exists() else 0
        self.before_start()
        self.process = self.program().start()
        if wait_until(lambda: self.is_ready() or self._ended(), timeout) and not self._ended():
            return True
        self.kill()
        return False

    def _output(self) -> bytes:
        """The output of this start in the log."""
        with suppress(OSError), self.log.open("rb") as log:
            log.seek(self._log_from)
            return log.read()
        return b""

    def _ended(self) -> bool:
        return self.process is None or self.process.poll() is not None

    def stop(self) -> None:
        if self.process is not None:
            self.process.stop()
            self.process = None

    def kill(self) -> None:
        """Kill it as kill -9 does."""
        if self.process is not None:
            self.process.kill()
            self.process = None
