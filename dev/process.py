"""A program as a value, and a running process of it.

Every process goes through `launch.py`, so that it ends with its parent, also when that is killed. It has a session of
its own: Ctrl-C in a terminal reaches the supervisor only, and processes left behind are found by their group.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

LAUNCHER = Path(__file__).with_name("launch.py")
ROOT = LAUNCHER.parent.parent


class CannotRun(Exception):
    """The run cannot go on; the message is the reason, for the person at the terminal."""


@dataclass(frozen=True)
class Program:
    """A command, its surroundings, and the signals that end it. `way` is launch.py's way from uid 0 to another user."""

    name: str
    argv: tuple[str, ...]
    log: Path
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    directory: Path = ROOT
    way: str | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    orphan_signal: signal.Signals = signal.SIGKILL

    def launch_argv(self) -> list[str]:
        python = [sys.executable, "-I", "-S", str(LAUNCHER)]
        options = ["--parent", str(os.getpid()), "--signal", str(int(self.orphan_signal))]
        way = ["--as", self.way] if self.way else []
        return [*python, *options, *way, "--", *self.argv]

    def start(self) -> Process:
        """Start the process. Only the main thread may do that: the kernel's parent is the thread, not the process."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            return Process(
                subprocess.Popen(
                    self.launch_argv(),
                    env=dict(self.environment),
                    cwd=self.directory,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                ),
                self.stop_signal,
            )

    def run(self, timeout: float) -> None:
        """Run to the end. Raises CannotRun with the end of the log when it fails or takes longer than `timeout`."""
        process = self.start()
        try:
            code = process.wait(timeout)
        finally:
            process.kill()
        if code != 0:
            what = "did not end in time" if code is None else f"failed with exit code {code}"
            raise CannotRun(f"{self.name} {what}; the end of {self.log}:\n{last_lines(self.log)}")


class Process:
    """A running program. `pid` is also the number of its session and process group."""

    def __init__(self, popen: subprocess.Popen[bytes], stop_signal: signal.Signals) -> None:
        self._popen = popen
        self._stop_signal = stop_signal
        self.pid = popen.pid

    def poll(self) -> int | None:
        """The exit code, negative for a signal, or None while it runs."""
        return self._popen.poll()

    def wait(self, timeout: float) -> int | None:
        try:
            return self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            return None

    def ask_to_stop(self) -> None:
        if self.poll() is None:
            self._popen.send_signal(self._stop_signal)

    def kill(self) -> None:
        """Kill the process and the rest of its group."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._popen.wait()

    def stop(self, timeout: float = 10) -> None:
        self.ask_to_stop()
        self.wait(timeout)
        self.kill()


def last_lines(path: Path, count: int = 8) -> str:
    with suppress(OSError):
        tail = path.read_bytes()[-4000:].decode(errors="replace").splitlines()[-count:]
        return "\n".join(f"    {line}" for line in tail)
    return ""


def wait_until(condition: Callable[[], bool], timeout: float, step: float = 0.02) -> bool:
    """Wait until `condition` is true. False: it was not, within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(step)
    return True
