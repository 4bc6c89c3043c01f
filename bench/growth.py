"""The growth of a token's cost with generations and with readers, and the limit of one process."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from bench import relay, report, servers
from bench.designs import DESIGNS, Target
from bench.figures import Figure, Run
from bench.machine import OTHER_CORE, SERVER_CORE, memory_bytes, pin
from bench.relay import Load, Outcome, as_json, readers
from bench.stores import CannotMeasure, Stores

GENERATIONS = (10, 50, 200, 1000)
READERS = (10, 100, 1000, 5000)
STREAMS = 5000
RATE = 20.0
# The larger load may cost this much more per token before it is called growth: a round is not better known.
SAME = 1.1


def run(run: Run) -> None:
    """Measure growth. The quick form leaves it out: it takes minutes, and the other parts show the same trend."""
    if run.quick:
        return
    print("\nGrowth: generations with a reader each, 20 tokens a second", flush=True)
    generations = [_measure(run, Load(count, 1, RATE, 5)) for count in GENERATIONS]
    print("\nGrowth: readers of one generation, 20 tokens a second", flush=True)
    audience = [_measure(run, Load(1, count, RATE, 5)) for count in READERS]
    print("\n5,000 streams in one process, 100,000 tokens a second", flush=True)
    crowd = _measure(run, Load(50, STREAMS // 50, RATE, 6))
    run.add(Figure("cost from 10 to 1,000 generations", [_growth(generations)], SAME, "ten generations"))
    run.add(Figure("cost from 10 to 5,000 readers", [_growth(audience)], SAME, "ten readers"))
    run.add(Figure("5,000 streams × 20/s, p99", [crowd.p99_ms], 250, unit="ms"))
    run.add(Figure("5,000 streams × 20/s, of a core", [crowd.server_share], 0.6, unit="cores"))
    memory = _memories(run)
    run.data["growth"] = {
        "generations": [as_json(outcome) for outcome in generations],
        "readers": [as_json(outcome) for outcome in audience],
        "crowd": as_json(crowd),
        "memory_per_idle_stream": memory,
    }
    lines = {
        "generations": list(zip(map(float, GENERATIONS), (o.cpu_us_per_token for o in generations), strict=True)),
        "readers": list(zip(map(float, READERS), (o.cpu_us_per_token for o in audience), strict=True)),
    }
    plots = "".join(
        report.plot({"unbroken": line}, f"{name}, 20 tokens a second", "µs per token") for name, line in lines.items()
    )
    run.sections.append(("What a token costs as the load grows", plots))
    bars = report.bars({name: value / 1024 for name, value in memory.items()}, "kB")
    run.sections.append((f"Memory of an idle stream, {STREAMS:,} open", bars))


def _growth(outcomes: list[Outcome]) -> float:
    """The cost of a token under the largest load, divided by its cost under the smallest."""
    return outcomes[-1].cpu_us_per_token / outcomes[0].cpu_us_per_token


def _measure(run: Run, load: Load) -> Outcome:
    outcome = relay.show(relay.measure("unbroken", load, run.stores))
    if not outcome.exact:
        run.fault(f"{load.generations} × {load.readers} streams: not everything was delivered exactly once")
    return outcome


@contextmanager
def resumable(stores: Stores, count: int) -> Iterator[Target]:
    """resumable-stream, with streams that have sent one token."""
    with servers.resumable(stores) as (pid, port):
        for n in range(count):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request("POST", f"/{n}?replay=1")
            connection.getresponse().read()
        yield Target(pid, port, [str(n) for n in range(count)], [f"/{n}" for n in range(count)])


def _memories(run: Run) -> dict[str, float]:
    """Bytes of memory for each of 5,000 idle streams of 50 generations, by design."""
    print("\nMemory of an idle stream, 5,000 open", flush=True)
    designs: dict[str, Callable[[Stores, int], Any]] = {
        "unbroken": DESIGNS["unbroken"],
        "naive gevent": DESIGNS["naive gevent"],
        "resumable-stream": resumable,
        "starlette hub": DESIGNS["starlette hub"],
        "granian rsgi hub": DESIGNS["granian rsgi hub"],
        "durable-streams": DESIGNS["durable-streams"],
        "pushpin": DESIGNS["pushpin"],
        "nchan": DESIGNS["nchan"],
    }
    found: dict[str, float] = {}
    for name in run.chosen(designs):
        try:
            found[name] = _idle(designs[name], run.stores)
        except CannotMeasure as reason:
            run.leave_out(f"{name}, memory", reason)
            continue
        print(f"  {name:<18} {found[name] / 1024:6.1f} kB", flush=True)
    run.add(Figure("memory per idle stream at 5,000", [found["unbroken"] / 1024], 4, unit="kB"))
    targets = {"naive gevent": 1 / 15, "resumable-stream": 1 / 4}
    for peer in found:
        if peer != "unbroken":
            ratio = found["unbroken"] / found[peer]
            run.add(Figure("memory per idle stream at 5,000", [ratio], targets.get(peer), peer))
    return found


def _idle(start: Callable[[Stores, int], Any], stores: Stores) -> float:
    with start(stores, 50) as target:
        pin(target.pid, SERVER_CORE)
        pin(stores.redis_pid, OTHER_CORE)
        with readers(target, Load(50, 2, 0, 0), stores):
            # Modules that the first streams load belong to the process, not to a stream.
            empty = memory_bytes(target.pid)
            with readers(target, Load(50, STREAMS // 50, 0, 0), stores):
                return (memory_bytes(target.pid) - empty) / STREAMS
