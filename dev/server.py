"""What the two embedded servers have in common: a directory, a port of their own, start, stop."""

from __future__ import annotations

import random
import secrets
import socket
import sys
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from dev.process import CannotRun, Process, Program, last_lines, wait_until

HOST = "127.0.0.1"
# Below the range the kernel takes the ports of outgoing connections from (32768 and up on Linux): while a server is
# down nobody else gets its port by chance, nor can a client that keeps trying connect to itself.
PORTS = range(20_000, 32_000)
# Whoever starts a server binds its port only seconds later: others who look for one in between must not find this one.
_promised: list[socket.socket] = []


def is_free(port: int, host: str = HOST) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def free_port() -> int:
    """A port that nobody uses; while we live, nobody else who asks here is given it, bound or not."""
    for port in random.sample(PORTS, 100):
        if is_free(port) and _promise(port):
            return port
    raise CannotRun(f"no free port on {HOST} between {PORTS[0]} and {PORTS[-1]}")


def _promise(port: int) -> bool:
    """Whether the port was promised to nobody yet. What is promised is a name that the kernel forgets with us."""
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

    def __init__(self, directory: Path, log: Path | None = None) -> None:
        self.directory = directory.resolve()
        self.log = log or self.directory / "server.log"
        self.port = free_port()
        self.process: Process | None = None

    @abstractmethod
    def prepare(self) -> None:
        """Make the directory usable, once. Raises CannotRun."""

    @abstractmethod
    def program(self) -> Program:
        """What to run after `prepare()`; the same port each time."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Whether it answers a client right now."""

    @abstractmethod
    def url(self) -> str:
        """For a client; after `prepare()`."""

    @abstractmethod
    def before_start(self) -> None:
        """Clear away what a killed predecessor left."""

    def start(self, timeout: float = 60) -> None:
        """For tests; `make run` gives `program()` to its supervisor. Raises CannotRun."""
        self.prepare()
        self.before_start()
        self.process = self.program().start()
        if not wait_until(lambda: self.is_ready() or self._ended(), timeout) or self._ended():
            self.kill()
            raise CannotRun(f"{self.name} did not start:\n{last_lines(self.log)}")

    def _ended(self) -> bool:
        return self.process is None or self.process.poll() is not None

    def stop(self) -> None:
        if self.process is not None:
            self.process.stop()
            self.process = None

    def kill(self) -> None:
        """As kill -9 does."""
        if self.process is not None:
            self.process.kill()
            self.process = None
