"""What a delivered token costs, and how late it comes: the product beside other relays."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

from bench.designs import DESIGNS, CannotMeasure, Stores, Target, compiled
from bench.machine import OTHER_CORE, SERVER_CORE, cpu_seconds, memory_bytes, pin


@dataclass(frozen=True, slots=True)
class Load:
    """``generations`` speak ``rate`` tokens a second for ``seconds``; each has ``readers``."""

    generations: int
    readers: int
    rate: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one design did under one load. Processor time is the server's and Redis's together."""

    design: str
    delivered: int
    expected: int
    faults: int
    cpu_us_per_token: float
    server_share: float
    p50_ms: float
    p99_ms: float
    memory_per_stream: float

    @property
    def exact(self) -> bool:
        """Whether everything arrived exactly once."""
        return self.delivered == self.expected and self.faults == 0


def measure(name: str, load: Load, stores: Stores, redis_pid: int) -> Outcome:
    """Start a design, connect every reader, say the tokens, and count. Raises CannotMeasure."""
    with DESIGNS[name](stores, load.generations) as target:
        pin(target.pid, SERVER_CORE)
        pin(redis_pid, OTHER_CORE)
        empty = memory_bytes(target.pid)
        with _readers(target, load, stores) as readers:
            idle = memory_bytes(target.pid)
            producer = _start_producer(target, load, stores)
            before, at = cpu_seconds(target.pid), time.monotonic()
            redis_before = cpu_seconds(redis_pid)
            _line(producer, "\n")
            said = json.loads(producer.stdout.readline())  # type: ignore[union-attr]
            took = time.monotonic() - at
            time.sleep(0.7)
            server, redis = cpu_seconds(target.pid) - before, cpu_seconds(redis_pid) - redis_before
            counted = _finish(readers)
        expected = said["said"] * load.readers
        connections = load.generations * load.readers
        return Outcome(
            name,
            counted["delivered"],
            expected,
            counted["gaps"] + counted["repeats"] + counted["foreign"] + counted["broken"] + counted["refused"],
            1e6 * (server + redis) / max(counted["delivered"], 1),
            server / took,
            counted["p50_us"] / 1000,
            counted["p99_us"] / 1000,
            (idle - empty) / connections,
        )


class _readers:
    """The load client, connected and waiting."""

    def __init__(self, target: Target, load: Load, stores: Stores) -> None:
        lines = [
            f"{generation} {target.paths[generation]} {target.header}\n"
            for _ in range(load.readers)
            for generation in range(load.generations)
        ]
        requests = stores.directory / "requests.txt"
        requests.write_text("".join(lines))
        self._argv = [str(compiled("load")), str(target.port), str(requests)]

    def __enter__(self) -> subprocess.Popen[str]:
        self.process = subprocess.Popen(self._argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        pin(self.process.pid, OTHER_CORE)
        assert self.process.stdout
        if self.process.stdout.readline() != "ready\n":
            raise CannotMeasure("its readers could not connect")
        return self.process

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()


def _start_producer(target: Target, load: Load, stores: Stores) -> subprocess.Popen[str]:
    plan = {
        "redis_url": stores.redis_url,
        "namespace": target.namespace,
        "ids": target.ids,
        "rate": load.rate,
        "seconds": load.seconds,
    }
    argv = [sys.executable, "-m", "bench.producer", json.dumps(plan)]
    producer = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert producer.stdout
    producer.stdout.readline()
    pin(producer.pid, OTHER_CORE)
    return producer


def _line(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdin
    process.stdin.write(text)
    process.stdin.flush()


def _finish(readers: subprocess.Popen[str]) -> dict[str, Any]:
    assert readers.stdin
    assert readers.stdout
    readers.stdin.close()
    return json.loads(readers.stdout.readline())  # type: ignore[no-any-return]


def as_json(outcome: Outcome) -> dict[str, Any]:
    """For the report."""
    return {**asdict(outcome), "exact": outcome.exact}
