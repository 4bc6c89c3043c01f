"""The two halves of delivery: a stream process with its readers, and Redis with the processes that it sends to."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from bench import relay
from bench.designs import Target, product
from bench.figures import Run
from bench.machine import OTHER_CORE, SERVER_CORE, cpu_seconds, kernel_bytes, pin, shared_memory_bytes
from bench.relay import Load
from bench.stores import CannotMeasure, Stores
from bench.tools import Tool, subscriber
from dev.process import wait_until
from tests.deploy.proxy import Proxy, binary

# Running answers, readers of each, tokens a second. One process cannot send 20 a second to 10,000 readers.
READERS = (
    Load(10, 10, 20, 4),
    Load(10, 30, 20, 4),
    Load(50, 20, 20, 4),
    Load(50, 60, 20, 4),
    Load(100, 100, 5, 5),
    Load(100, 1, 20, 4),
    Load(400, 1, 20, 4),
    Load(1000, 1, 20, 4),
)
QUICK_READERS = (Load(10, 10, 20, 2), Load(20, 50, 20, 2), Load(200, 1, 20, 2))
PROXIED, QUICK_PROXIED = (
    (Load(10, 10, 20, 4), Load(50, 20, 20, 4), Load(50, 60, 10, 4)),
    (
        Load(10, 10, 20, 2),
        Load(20, 25, 20, 2),
    ),
)
# Processes that receive each event of 50 answers.
PROCESSES, QUICK_PROCESSES = (1, 4, 16, 40), (1, 16)
FAULTS = ("gaps", "repeats", "foreign", "broken", "refused")
# A token that has not arrived so long after the last one was sent is lost.
ARRIVAL_SECONDS = 15.0
# What Redis and the readers still do when the producer has sent its last token.
REST_SECONDS = 0.7


def readers(run: Run) -> list[dict[str, Any]]:
    """A process with more and more readers, a fresh one for each step."""
    return [_with_readers(run, load) for load in (QUICK_READERS if run.quick else READERS)]


def proxy(run: Run) -> list[dict[str, Any]]:
    """nginx with the configuration of deploy/nginx before a stream process. Raises CannotMeasure without nginx."""
    if binary() is None:
        raise CannotMeasure("there is no nginx here")
    return [_behind_proxy(run, load) for load in (QUICK_PROXIED if run.quick else PROXIED)]


def _behind_proxy(run: Run, load: Load) -> dict[str, Any]:
    stores, count = run.stores, load.generations * load.readers
    with product(stores, load.generations) as target:
        address = f"127.0.0.1:{target.port}"
        nginx = Proxy({"web": [address], "streams": [address]})
        try:
            for pid in (target.pid, nginx.pid):
                pin(pid, SERVER_CORE)
            pin(stores.redis_pid, OTHER_CORE)
            with relay.readers(replace(target, port=nginx.port), load, stores) as reading:
                spent, at = cpu_seconds(nginx.pid), time.monotonic()
                point = _window(run, target, load, reading)
                point["proxy_cores"] = (cpu_seconds(nginx.pid) - spent) / (time.monotonic() - at)
                point["memory"] = shared_memory_bytes(nginx.pid)
        finally:
            nginx.stop()
    if point["faults"] or point["lost"]:
        run.fault(f"{count} readers behind nginx: {point['lost']} tokens lost, {point['faults']} faults")
    print(
        f"  {load.generations:5} × {load.readers:<4} at {load.rate:2.0f}/s  {point['delivered']:8,.0f} sent a second"
        f"  nginx {point['proxy_cores']:6.1%} of a core  {point['memory'] / 1e6:6.1f} MB  {point['lost']} lost",
        flush=True,
    )
    return {**point, "name": f"{load.generations} × {load.readers}", "readers": count}


def _with_readers(run: Run, load: Load) -> dict[str, Any]:
    stores, count = run.stores, load.generations * load.readers
    with product(stores, load.generations) as target:
        pin(target.pid, SERVER_CORE)
        pin(stores.redis_pid, OTHER_CORE)
        kernel = kernel_bytes()
        with relay.readers(target, load, stores) as reading:
            kernel = kernel_bytes() - kernel
            point = _window(run, target, load, reading)
            point["memory"] = shared_memory_bytes(target.pid)
    if point["faults"] or point["lost"]:
        run.fault(f"{count} readers: {point['lost']} tokens lost, {point['faults']} faults")
    point |= {"name": f"{load.generations} × {load.readers}", "readers": count, "kernel": kernel}
    print(
        f"  {load.generations:5} × {load.readers:<4} at {load.rate:2.0f}/s  {point['delivered']:8,.0f} sent a second"
        f"  {point['stream_cores']:6.1%} of a core  Redis {point['redis_cores']:6.1%}"
        f"  {point['memory'] / 1e6:6.1f} MB  p99 {point['p99_ms']:6.1f} ms  {point['lost']} lost",
        flush=True,
    )
    return point


def _window(run: Run, target: Target, load: Load, reading: Tool) -> dict[str, Any]:
    stores, pids = run.stores, (target.pid, run.stores.redis_pid)
    producer = relay.started_producer(target, load, stores)
    try:
        before, spent, at = reading.counters(), [cpu_seconds(pid) for pid in pids], time.monotonic()
        producer.send("")
        sent = json.loads(producer.read_line())["said"]
        time.sleep(REST_SECONDS)
        # Delays are counted up to here: a further line of counters has those since this one.
        after = reading.counters()
        wanted = before["delivered"] + sent * load.readers
        arrived = _arrived([reading], wanted)
        spent = [cpu_seconds(pid) - was for pid, was in zip(pids, spent, strict=True)]
        took = time.monotonic() - at
    finally:
        producer.end()
    delivered = arrived - before["delivered"]
    return {
        "received": sent / took,
        "delivered": delivered / took,
        "bytes_an_event": (after["bytes"] - before["bytes"]) / (after["delivered"] - before["delivered"]),
        "stream_cores": spent[0] / took,
        "redis_cores": spent[1] / took,
        "lost": sent * load.readers - delivered,
        "faults": sum(after[fault] for fault in FAULTS),
        "p50_ms": after["p50_us"] / 1000,
        "p99_ms": after["p99_us"] / 1000,
    }


def _arrived(tools: list[Tool], wanted: int) -> int:
    """The tokens that all readers together have received, once there are as many as wanted or it has taken too long."""

    def delivered() -> int:
        return sum(tool.counters()["delivered"] for tool in tools)

    wait_until(lambda: delivered() >= wanted, ARRIVAL_SECONDS, step=0.1)
    return delivered()


def processes(run: Run) -> list[dict[str, Any]]:
    """Redis with more and more subscribers. Each receives everything, as a process with a reader of each answer."""
    stores, load = run.stores, Load(50, 1, 20, 2 if run.quick else 4)
    target = Target(0, 0, [str(n) for n in range(load.generations)], [])
    points = []
    for count in QUICK_PROCESSES if run.quick else PROCESSES:
        with ExitStack() as stack:
            tools = [stack.enter_context(subscriber(stores, "bench:{*}:live")) for _ in range(count)]
            points.append(_published(run, target, load, tools))
    return points


def _published(run: Run, target: Target, load: Load, tools: list[Tool]) -> dict[str, Any]:
    stores: Stores = run.stores
    pin(stores.redis_pid, SERVER_CORE)
    producer = relay.started_producer(target, load, stores)
    try:
        spent, at = cpu_seconds(stores.redis_pid), time.monotonic()
        producer.send("")
        sent = json.loads(producer.read_line())["said"]
        time.sleep(REST_SECONDS)
        arrived = _arrived(tools, sent * len(tools))
        spent, took = cpu_seconds(stores.redis_pid) - spent, time.monotonic() - at
    finally:
        producer.end()
    lost = sent * len(tools) - arrived
    if lost or any(one[fault] for one in [tool.counters() for tool in tools] for fault in FAULTS):
        run.fault(f"{len(tools)} subscribers: {lost} tokens lost")
    print(f"  {len(tools):4} processes  {sent / took:7,.0f} published a second  Redis {spent / took:6.1%}", flush=True)
    return {
        "name": f"{len(tools)} processes",
        "processes": len(tools),
        "published": sent / took,
        "delivered": sent * len(tools) / took,
        "redis_cores": spent / took,
        "lost": lost,
    }
