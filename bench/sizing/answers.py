"""A worker with more and more running answers: its processor time and memory, those of the stores, WAL and sessions."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import redis

from bench import worker
from bench.database import connection
from bench.figures import Run
from bench.machine import OTHER_CORE, SERVER_CORE, cpu_seconds, pin, shared_memory_bytes
from bench.stores import CannotMeasure, Stores, clear
from bench.tools import Tool, subscriber, upstream
from bench.worker import ENDLESS, RATE
from dev.process import wait_until

STEPS, QUICK_STEPS = (50, 100, 200, 400), (20, 100)


def generations(run: Run) -> list[dict[str, Any]]:
    """A fresh worker for each step, with an upstream that sends 50 tokens a second to each answer."""
    return [_with_answers(run, count) for count in (QUICK_STEPS if run.quick else STEPS)]


def _with_answers(run: Run, count: int) -> dict[str, Any]:
    stores = run.stores
    clear(stores)
    with upstream(RATE, ENDLESS) as (model, base_url), worker.product(stores, base_url, count) as crew:
        if not wait_until(lambda: model.counters()["waiting"] >= count, 60):
            raise CannotMeasure(f"only {model.counters()['waiting']} of {count} answers were requested")
        pin(crew.pid, SERVER_CORE)
        pin(stores.redis_pid, OTHER_CORE)
        pin(stores.postgres_pid, OTHER_CORE)
        with subscriber(stores, crew.pattern) as receiver:
            model.send("go")
            worker.settle(crew.settled, partial(_behind, model, receiver, count))
            point = _window(run, crew.pid, model, receiver)
    if point["faults"]:
        run.fault(f"{count} answers: {point['faults']} tokens lost or repeated")
    print(
        f"  {count:4} answers  {point['tokens']:7,.0f} tokens a second  worker {point['worker_cores']:6.1%}"
        f"  Redis {point['redis_cores']:6.1%}  PostgreSQL {point['database_cores']:6.1%}"
        f"  {point['memory'] / 1e6:6.1f} MB  WAL {point['wal'] / 1e3:6,.0f} kB/s  {point['sessions']} sessions"
        f"  p99 {point['p99_ms']:6.1f} ms",
        flush=True,
    )
    return {"name": f"{count} answers", "generations": count, **point}


def _behind(model: Tool, receiver: Tool, count: int) -> float:
    """The tokens that were sent and not received, in seconds of all answers."""
    return float(model.counters()["said"] - receiver.counters()["delivered"]) / (count * RATE)


def _window(run: Run, pid: int, model: Tool, receiver: Tool) -> dict[str, Any]:
    stores, seconds = run.stores, 3.0 if run.quick else 5.0
    pids = (pid, stores.redis_pid, stores.postgres_pid)
    before, sent, held = receiver.counters(), model.counters()["said"], held_by(stores)
    spent, at = [cpu_seconds(one) for one in pids], time.monotonic()
    time.sleep(seconds)
    spent = [cpu_seconds(one) - was for one, was in zip(pids, spent, strict=True)]
    took, after, now = time.monotonic() - at, receiver.counters(), held_by(stores)
    tokens = after["delivered"] - before["delivered"]
    return {
        "tokens": tokens / took,
        "sent": (model.counters()["said"] - sent) / took,
        "worker_cores": spent[0] / took,
        "redis_cores": spent[1] / took,
        "database_cores": spent[2] / took,
        "memory": shared_memory_bytes(pid),
        "wal": (now["wal"] - held["wal"]) / took,
        "redis_bytes_a_token": (now["redis"] - held["redis"]) / max(tokens, 1),
        "sessions": int(now["sessions"]),
        "session_bytes": shared_memory_bytes(stores.postgres_pid, "Pss_Anon") / max(now["sessions"], 1),
        "faults": sum(after[fault] for fault in ("gaps", "repeats", "foreign")),
        "p50_ms": after["p50_us"] / 1000,
        "p99_ms": after["p99_us"] / 1000,
    }


def held_by(stores: Stores) -> dict[str, float]:
    """Bytes of WAL so far, open sessions other than this one, sessions opened so far, and bytes of Redis."""
    with connection(stores) as cursor:
        cursor.execute("SELECT pg_current_wal_insert_lsn() - '0/0', (SELECT count(*) FROM pg_stat_activity"
                       " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()), sessions"
                       " FROM pg_stat_database WHERE datname = current_database()")  # fmt: skip
        wal, sessions, opened = cursor.fetchone()
    with redis.Redis.from_url(stores.redis_url, socket_timeout=10) as client:
        used = client.info("memory")["used_memory"]
    return {"wal": float(wal), "sessions": float(sessions), "sessions_opened": float(opened), "redis": float(used)}
