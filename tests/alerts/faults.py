"""The faults: how each is made and ended, and what has to tell it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import redis

from app.ops import verdicts
from tests.alerts.deployment import SLOTS, Deployment
from tests.faults.test_frozen_database import family
from tests.stack import until

Undo = Callable[[], None]
# Says of a status and a JSON whether they name the fault.
Says = Callable[[int, Any], bool]

# Answers that take two minutes.
SLOW = "fake?tokens=2400&rate=20"
REFUSED = "fake?status=503"
# Answers that are asked for while the provider refuses.
ASKED = 12


@dataclass(frozen=True)
class Fault:
    """A fault. ``make`` returns the function that ends it. ``alerts`` have to fire.

    ``readyz`` and ``overview`` say of a reply whether it names the fault; None where only an alert warns of it.
    """

    name: str
    make: Callable[[Deployment], Undo]
    alerts: tuple[str, ...]
    readyz: Says | None
    overview: Says | None


def degraded(*sentences: str) -> Says:
    """The reply of a ready service names one of these gaps."""
    return lambda status, report: status == 200 and bool(set(sentences) & set(report["degraded"]))


def not_ready(beginning: str) -> Says:
    """The service is not ready, for a reason that begins so."""
    return lambda status, report: status == 503 and any(said.startswith(beginning) for said in report["reasons"])


def not_ready_in_overview(status: int, overview: Any) -> bool:
    return status == 200 and not overview["ready"]


def is_unavailable(status: int, problem: Any) -> bool:
    return status == 503 and problem["status"] == 503


def has_open_breaker(status: int, overview: Any) -> bool:
    return status == 200 and any(one["breaker"] == "open" for one in overview["upstreams"] or ())


def says_nothing(status: int, report: Any) -> bool:
    """No process answers."""
    return status == 0


def freeze_worker(deployed: Deployment) -> Undo:
    """Freeze one of two workers, which has answers at work."""
    worker = busy_worker(deployed)
    worker.signal(signal.SIGSTOP)
    return lambda: worker.signal(signal.SIGCONT)


def kill_worker(deployed: Deployment) -> Undo:
    """Kill one of two workers, which has answers at work."""
    busy_worker(deployed).kill()
    return deployed.restart_workers


def kill_workers(deployed: Deployment) -> Undo:
    """Kill every worker."""
    for worker in deployed.workers.values():
        worker.kill()
    return deployed.restart_workers


def busy_worker(deployed: Deployment) -> Any:
    """A worker that runs an answer of some seconds."""
    deployed.rig.model("some-seconds", ("b-openai", "fake?tokens=100&rate=20"))
    made = deployed.rig.stack.start("Count", model="some-seconds").generation.id
    until(lambda: deployed.rig.stack.generation(made).status == "running", 60)
    with_name = {worker.name: worker for worker in deployed.workers.values()}
    return with_name[str(worker_of(deployed, made))]


def worker_of(deployed: Deployment, generation_id: str) -> str | None:
    """The worker of a generation."""
    status, found = deployed.call(f"/api/v1/ops/generations?id={generation_id}")
    assert status == 200, found
    [row] = [one for one in found["items"] if one["id"] == generation_id]
    name: str | None = row["worker"]
    return name


def grow_queue(deployed: Deployment) -> Undo:
    """Send three times as many slow answers as there are slots."""
    deployed.rig.model("slow", ("b-openai", SLOW))
    stack = deployed.rig.stack
    ids = [stack.start("Count", model="slow").generation.id for _ in range(3 * SLOTS * len(deployed.workers))]

    def undo() -> None:
        for one in ids:
            stack.resources.generations.cancel(stack.user, one)

    return undo


def refuse(deployed: Deployment) -> Undo:
    """Let the provider of a model refuse every call."""
    deployed.rig.model("refused", ("a-openai", REFUSED))
    for _ in range(ASKED):
        deployed.rig.stack.start("Count", model="refused")
    return lambda: None


def freeze_postgresql(deployed: Deployment) -> Undo:
    """Freeze every process of PostgreSQL, while an answer is made and readers come back."""
    assert deployed.postgres.process is not None
    deployed.rig.model("slow", ("b-openai", SLOW))
    stack = deployed.rig.stack
    made = stack.start("Count", model="slow").generation.id
    until(lambda: stack.log(made), 60)
    thaw = freeze(family(deployed.postgres.process.pid))
    ended = threading.Event()
    readers = threading.Thread(target=come_back, args=(deployed, made, ended))
    readers.start()

    def undo() -> None:
        thaw()
        ended.set()
        readers.join()
        stack.resources.generations.cancel(stack.user, made)

    return undo


def come_back(deployed: Deployment, generation_id: str, ended: threading.Event) -> None:
    """Follow an answer from a cursor again and again, as readers whose stream is broken do."""
    while not ended.wait(0.2):
        deployed.call(f"/api/v1/generations/{generation_id}/stream?after=1-0")


def freeze_redis(deployed: Deployment) -> Undo:
    """Freeze Redis."""
    assert deployed.valkey.process is not None
    return freeze(family(deployed.valkey.process.pid))


def kill_web(deployed: Deployment) -> Undo:
    """Kill the only web process."""
    port = int(deployed.web.url.rpartition(":")[2])
    deployed.web.kill()

    def undo() -> None:
        deployed.web = deployed.rig.stack.web(port=port)

    return undo


def freeze(members: list[int]) -> Undo:
    def send(number: signal.Signals) -> None:
        for pid in members:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    send(signal.SIGSTOP)
    return lambda: send(signal.SIGCONT)


def nearly_fill_redis(deployed: Deployment) -> Undo:
    """Give Redis a tenth more memory than it uses."""
    client = redis.Redis.from_url(deployed.valkey.url(), socket_timeout=10)
    client.config_set("maxmemory", int(client.info("memory")["used_memory"] * 1.1))

    def undo() -> None:
        client.config_set("maxmemory", "0")
        client.close()

    return undo


def fill_redis(deployed: Deployment) -> Undo:
    """Give Redis less memory than it uses: it refuses writes from now on."""
    client = redis.Redis.from_url(deployed.valkey.url(), socket_timeout=10)
    client.config_set("maxmemory", "1mb")

    def undo() -> None:
        client.config_set("maxmemory", "0")
        client.close()

    return undo


FAULTS = (
    Fault(
        "one of two workers frozen",
        freeze_worker,
        ("UnbrokenWorkerLost", "UnbrokenProcessDown"),
        degraded(verdicts.LOST, verdicts.LOST_IDLE),
        degraded(verdicts.LOST, verdicts.LOST_IDLE),
    ),
    Fault(
        "one of two workers gone",
        kill_worker,
        ("UnbrokenWorkerLost", "UnbrokenProcessDown"),
        degraded(verdicts.LOST, verdicts.LOST_IDLE),
        degraded(verdicts.LOST, verdicts.LOST_IDLE),
    ),
    Fault(
        "every worker gone",
        kill_workers,
        ("UnbrokenNoWorker", "UnbrokenNotReady"),
        not_ready("No worker"),
        not_ready_in_overview,
    ),
    Fault(
        "PostgreSQL frozen",
        freeze_postgresql,
        (
            "UnbrokenPostgresqlDown",
            "UnbrokenNotReady",
            "UnbrokenCheckpointsLag",
            "UnbrokenRequestsFail",
            "UnbrokenReconnectionsFail",
        ),
        not_ready("PostgreSQL"),
        is_unavailable,
    ),
    Fault(
        "Redis full",
        fill_redis,
        ("UnbrokenRedisFull",),
        degraded(verdicts.NO_WRITES),
        degraded(verdicts.NO_WRITES),
    ),
    Fault(
        "Redis frozen",
        freeze_redis,
        ("UnbrokenRedisDown", "UnbrokenRelaySilent"),
        degraded(verdicts.NO_REDIS),
        degraded(verdicts.NO_REDIS),
    ),
    Fault("every web process gone", kill_web, ("UnbrokenNoWebProcess",), says_nothing, says_nothing),
    Fault("Redis nearly full", nearly_fill_redis, ("UnbrokenRedisNearlyFull",), None, None),
    Fault(
        "queue growing",
        grow_queue,
        ("UnbrokenQueueGrowing",),
        degraded(verdicts.FULL),
        degraded(verdicts.FULL),
    ),
    Fault(
        "provider refusing",
        refuse,
        ("UnbrokenBreakerOpen", "UnbrokenAnswersFail"),
        degraded(verdicts.REFUSING),
        has_open_breaker,
    ),
)
