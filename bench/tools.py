"""The programs of bench/c. They are compiled once and take commands on their standard input."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from bench.machine import OTHER_CORE, pin
from bench.stores import CannotMeasure, Stores
from dev.server import free_port

HERE = Path(__file__).parent


@cache
def compiled(name: str) -> Path:
    """The path of a compiled program of bench/c. Raises CannotMeasure without a compiler."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise CannotMeasure("there is no C compiler here")
    target = Path("out/bench") / name
    target.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run([compiler, "-O2", "-o", str(target), str(HERE / "c" / f"{name}.c")], check=True)
    return target.resolve()


class Tool:
    """A running program that takes commands and prints replies, a line each."""

    def __init__(self, *argv: str) -> None:
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=local())
        self.pid = self.process.pid

    def read_line(self) -> str:
        """Read the next line. Raises CannotMeasure when the program has ended."""
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise CannotMeasure(f"{self.process.args!r} has ended")
        return line.strip()

    def send(self, line: str) -> None:
        """Write a line to the program."""
        assert self.process.stdin
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def counters(self) -> dict[str, Any]:
        """The counters of the program so far."""
        self.send("?")
        return json.loads(self.read_line())  # type: ignore[no-any-return]

    def end(self) -> None:
        """Kill the program."""
        self.process.kill()
        self.process.wait()


@contextmanager
def tool(name: str, *arguments: object, ready: str = "ready") -> Iterator[Tool]:
    """Start a program of bench/c on the core that is not the server's, and wait until it prints that it is ready."""
    running = Tool(str(compiled(name)), *map(str, arguments))
    try:
        pin(running.pid, OTHER_CORE)
        if ready and running.read_line() != ready:
            raise CannotMeasure(f"{name} could not begin")
        yield running
    finally:
        running.end()


@contextmanager
def upstream(rate: float, tokens: int, text: str = "marks") -> Iterator[tuple[Tool, str]]:
    """Start a model's server. Yields it with its base URL. It sends no token before the command ``go``."""
    port = free_port()
    with tool("upstream", port, rate, tokens, text) as running:
        yield running, f"http://127.0.0.1:{port}/v1"


@contextmanager
def subscriber(stores: Stores, pattern: str) -> Iterator[Tool]:
    """Start a subscriber of all channels that match ``pattern``."""
    with tool("ear", stores.redis_port, stores.redis_password, pattern) as running:
        yield running


def local() -> dict[str, str]:
    """This process's environment without proxy settings, for requests to servers on this machine."""
    return {**os.environ, "NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost"}
