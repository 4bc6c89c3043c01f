"""Runs of the machine, bounded in time, each with a seed that repeats it."""

from __future__ import annotations

import gc
import os
import traceback
from contextlib import nullcontext
from dataclasses import dataclass
from secrets import randbelow
from time import monotonic

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.relay_machine.machine import RelayMachine
from tests.relay_machine.plants import Plant

# Examples of one round; a new round has a new seed.
ROUND = 30
STEPS = 50


@dataclass
class Found:
    """The result of a run: its seed, its size, and the error that it found or None."""

    seed: int
    rounds: int
    steps: int
    seconds: float
    error: str | None

    def summary(self) -> str:
        """The result in one line."""
        outcome = "nothing found" if self.error is None else "FOUND"
        return (
            f"relay machine: {outcome}, seed {self.seed}, {self.rounds} rounds of {ROUND} examples, "
            f"{self.steps} rounds of the hub, {self.seconds:.0f} s"
        )


def run(seconds: float, dice: int | None = None, plant: Plant | None = None, *, shrink: bool = True) -> Found:
    """Run until ``seconds`` have passed or a fault is found. The seed of the first round is ``dice``, or random."""
    first = randbelow(2**32) if dice is None else dice
    began, rounds, steps = monotonic(), 0, 0
    error, descriptors = None, 0
    while error is None and (rounds == 0 or monotonic() - began < seconds):
        with (plant or nullcontext)():
            error, made = _round(first + rounds, began + seconds, shrink)
        rounds += 1
        steps += made
        gc.collect()
        opened = len(os.listdir("/proc/self/fd"))
        descriptors = descriptors or opened
        if error is None and opened > descriptors + 20:
            error = f"seed {first}: {descriptors} descriptors became {opened} in {rounds} rounds"
    return Found(first + (rounds - 1 if error else 0), rounds, steps, monotonic() - began, error)


def _round(dice: int, until: float, shrink: bool) -> tuple[str | None, int]:
    made = 0

    class Bounded(RelayMachine):
        """A machine that counts the rounds of the hub."""

        def step(self, count: int) -> None:
            nonlocal made
            made += count
            super().step(count)

    phases = (Phase.generate, Phase.shrink) if shrink else (Phase.generate,)
    chosen = settings(
        max_examples=ROUND, stateful_step_count=STEPS, deadline=None, database=None, phases=phases, print_blob=False,
        suppress_health_check=list(HealthCheck), report_multiple_bugs=False,
    )  # fmt: skip
    try:
        run_state_machine_as_test(seed(dice)(Bounded), settings=chosen)
    except Exception:
        return f"{os.linesep}seed {dice}{os.linesep}{traceback.format_exc()}", made
    return None, made
