"""The programs of bench/c as Python drives them: compiled once, spoken to over their standard input."""

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
    """A program of bench/c, compiled. Raises CannotMeasure without a compiler."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise CannotMeasure("there is no C compiler here")
    target = Path("out/bench") / name
    target.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run([compiler, "-O2", "-o", str(target), str(HERE / "c" / f"{name}.c")], check=True)
    return target.resolve()


class Tool:
    """A running program that answers lines."""

    def __init__(self, *argv: str) -> None:
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=local())
        self.pid = self.process.pid

    def hear(self) -> str:
        """Its next line. Raises CannotMeasure when it has ended."""
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise CannotMeasure(f"{self.process.args!r} has ended")
        return line.strip()

    def tell(self, line: str) -> None:
        """Send it a line."""
        assert self.process.stdin
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def ask(self) -> dict[str, Any]:
        """What it has counted so far."""
        self.tell("?")
        return json.loads(self.hear())  # type: ignore[no-any-return]

    def end(self) -> None:
        """Kill it."""
        self.process.kill()
        self.process.wait()


@contextmanager
def tool(name: str, *arguments: object, ready: str = "ready") -> Iterator[Tool]:
    """A program of bench/c on the core that is not the server's, once it has said that it is ready."""
    running = Tool(str(compiled(name)), *map(str, arguments))
    try:
        pin(running.pid, OTHER_CORE)
        if ready and running.hear() != ready:
            raise CannotMeasure(f"{name} could not begin")
        yield running
    finally:
        running.end()


@contextmanager
def upstream(rate: float, tokens: int, text: str = "marks") -> Iterator[tuple[Tool, str]]:
    """A model's server, and its base URL. It says nothing before it is told to ``go``."""
    port = free_port()
    with tool("upstream", port, rate, tokens, text) as running:
        yield running, f"http://127.0.0.1:{port}/v1"


@contextmanager
def ear(stores: Stores, pattern: str) -> Iterator[Tool]:
    """Hears everything that is published."""
    with tool("ear", stores.redis_port, stores.redis_password, pattern) as running:
        yield running


def local() -> dict[str, str]:
    """This environment, without a proxy on the way to ourselves."""
    return {**os.environ, "NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost"}
