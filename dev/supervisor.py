"""Keeps programs running: one loop in the main thread, woken by signals.

A program that ends is started again, at first after 0.2 s, then twice as late each time up to 5 s; one that has lived
for 30 s begins anew. Children start in the main thread only: the kernel binds their life to the thread that made them.
"""

from __future__ import annotations

import select
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

from app.domain.backoff import Backoff
from dev.process import CannotRun, Process, Program, last_lines

BACKOFF = Backoff(first=0.2, longest=5.0)
PROVEN_AFTER = 30.0
# One request to stop may arrive as several signals: from a terminal, from make, from `timeout` to the whole group.
SAME_WISH = 1.0
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stop(Exception):
    """A signal has requested the end of the run."""


class Child:
    """A program that is started again when it ends. `before_start` removes the leftovers of the last process."""

    def __init__(self, program: Program, say: Callable[[str], None], before_start: Callable[[], None]) -> None:
        self.program = program
        self.process: Process | None = None
        self._say = say
        self._before_start = before_start
        self._failures = 0
        self._start_at = 0.0
        self._started_at = 0.0

    def tick(self) -> None:
        """Record an end of the process, and start it again when its pause is over."""
        now = time.monotonic()
        if self.process is not None:
            code = self.process.poll()
            if code is not None:
                self._ended(now, code)
        elif now >= self._start_at:
            self._before_start()
            self.process = self.program.start()
            self._started_at = now

    def _ended(self, now: float, code: int) -> None:
        assert self.process is not None
        self.process.kill()
        self.process = None
        if now - self._started_at >= PROVEN_AFTER:
            self._failures = 0
        delay = BACKOFF.pause(self._failures)
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        self._say(f"{self.program.name} {how}; starting it again in {delay:g} s (see {self.program.log})")
        if code > 0 and (tail := last_lines(self.program.log, 3)):
            self._say(tail)
        self._start_at = now + delay
        self._failures += 1


class Supervisor:
    """Supervises programs in stages. Stages are stopped in reverse: later ones need earlier ones."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._stages: list[list[Child]] = []
        self._first_wish = 0.0
        self._last_wish = 0.0
        self._wake_read, self._wake_write = socket.socketpair()
        for side in (self._wake_read, self._wake_write):
            side.setblocking(False)

    def listen_to_signals(self) -> None:
        signal.set_wakeup_fd(self._wake_write.fileno(), warn_on_full_buffer=False)
        for number in STOP_SIGNALS:
            signal.signal(number, self.request_stop)
        # The handler does nothing; the signal wakes the loop when a child ends.
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def request_stop(self, _number: int = 0, _frame: FrameType | None = None) -> None:
        self._last_wish = time.monotonic()
        self._first_wish = self._first_wish or self._last_wish

    def new_stage(self) -> None:
        self._stages.append([])

    def add(self, program: Program, before_start: Callable[[], None] = lambda: None) -> Child:
        """Keep `program` running from now on."""
        child = Child(program, self._say, before_start)
        self._stages[-1].append(child)
        child.tick()
        return child

    def run_until(self, condition: Callable[[], bool], timeout: float = float("inf"), step: float = 0.05) -> bool:
        """Supervise until `condition` is true. False: it was not, within `timeout` seconds. Raises Stop at a signal."""
        deadline = time.monotonic() + timeout
        while True:
            if self._first_wish:
                raise Stop
            for stage in self._stages:
                for child in stage:
                    child.tick()
            if condition():
                return True
            if time.monotonic() >= deadline:
                return False
            self._sleep(step)

    def run_once(self, program: Program, timeout: float) -> None:
        """Run a program to its end. Raises CannotRun when it fails, and Stop."""
        process = program.start()
        try:
            finished = self.run_until(lambda: process.poll() is not None, timeout)
        finally:
            process.stop(2)
        if not finished or process.poll():
            raise CannotRun(f"{program.name} failed; the end of {program.log}:\n{last_lines(program.log)}")

    def run_for_ever(self) -> None:
        """Supervise until a signal, and raise Stop then."""
        # There is no condition to wait for: the end of a child wakes the loop, and 0.5 s is soon enough for a restart.
        self.run_until(lambda: False, step=0.5)

    def _sleep(self, seconds: float) -> None:
        select.select([self._wake_read], [], [], seconds)
        with suppress(BlockingIOError):
            while self._wake_read.recv(4096):
                pass

    def stop(self, patience: float = 15.0) -> None:
        """End all programs, the last stage first; after `patience` seconds or a second signal, by SIGKILL."""
        for stage in reversed(self._stages):
            running = [child.process for child in stage if child.process is not None]
            for process in running:
                process.ask_to_stop()
            deadline = time.monotonic() + patience
            while any(process.poll() is None for process in running):
                if time.monotonic() > deadline or self._last_wish - self._first_wish > SAME_WISH:
                    break
                self._sleep(0.05)
            for process in running:
                process.kill()
        self._stages.clear()
