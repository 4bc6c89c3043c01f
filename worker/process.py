"""One worker process: its asyncio loop in a thread of its own, and everything that lives on it."""

from __future__ import annotations

import asyncio
import os
import socket
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event, Thread

import structlog
import uvloop

from app.config import Settings
from app.domain.errors import LeaseLost, LogDown
from app.services.dispatch import Sweeper
from app.services.leases import Leases
from app.store.leases import Claimed
from app.wiring import Resources, build
from worker.checkpoint import Checkpointer, Policy
from worker.outbox import Outbox
from worker.policy import Deadlines, Rules
from worker.providers.registry import Providers
from worker.runner import Runner
from worker.titles import Titler
from worker.toolbox import Toolbox
from worker.tools.registry import find_tools

# Enough for the short transactions of a thousand generations; more would only queue in PostgreSQL.
EXECUTOR_THREADS = 8
# What may wait for Redis waits seconds when that is away: many must be able to, and nobody else behind them.
PATIENT_THREADS = 64
# How long a takeover waits for Redis before it goes on from the checkpoints: seconds, and a part of the lease.
TAKEOVER_PATIENCE = 5.0
TAKEOVER_PART = 1 / 6
# A worker that is told to leave is gone within about a second.
DRAIN_SECONDS = 5.0
WATCH_SECONDS = 0.2

_log = structlog.get_logger()


class WorkerProcess:
    """Runs generations for Celery's threads, and for the sweeper when Celery's broker has forgotten one."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._loop = uvloop.new_event_loop()
        self._ready = Event()
        self._failure: Exception | None = None
        self._thread = Thread(target=self._serve, name="generations", daemon=True)
        self._resources: Resources
        self._runner: Runner
        self._sweeper: Sweeper

    def start(self) -> None:
        """Start the loop and the sweeper; returns when generations can run. Raises what keeps them from running."""
        self._thread.start()
        self._ready.wait()
        if self._failure:
            raise self._failure
        self._sweeper.start()

    def run(self, generation_id: str) -> None:
        """Run a generation to its end, from a thread that has nothing else to do."""
        self.submit(generation_id).result()

    def submit(self, generation_id: str) -> Future[None]:
        """Begin to run a generation."""
        return asyncio.run_coroutine_threadsafe(self._runner.run(generation_id), self._loop)

    def drain(self) -> None:
        """Give back everything that is at work, so that other workers continue it."""
        self._sweeper.stop()
        self._loop.call_soon_threadsafe(self._titler.close)
        _log.info("worker leaves", action="drain", running=self._runner.running)
        asyncio.run_coroutine_threadsafe(self._runner.drain(), self._loop).result(DRAIN_SECONDS)

    def close(self) -> None:
        """Stop the loop."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(2)
        self._resources.close()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._begin())
        except Exception as error:
            self._failure = error
        self._ready.set()
        if not self._failure:
            self._loop.run_forever()

    async def _begin(self) -> None:
        """Build everything that lives on the loop."""
        settings = self._settings
        self._resources = resources = build(settings)
        executor = ThreadPoolExecutor(EXECUTOR_THREADS, thread_name_prefix="stores")
        patient = ThreadPoolExecutor(PATIENT_THREADS, thread_name_prefix="patient")
        # Of their own: a lease that is renewed late is a lease that is lost.
        renewals = ThreadPoolExecutor(2, thread_name_prefix="leases")
        leases = Leases(resources.database, worker_name(), settings.lease_seconds, settings.generation_timeout)

        async def reopen(claimed: Claimed) -> None:
            await self._loop.run_in_executor(patient, _reopen, leases, resources, claimed)

        outbox = Outbox(settings.redis_url, resources.log, settings.tick_ms / 1000, settings.self_fence_seconds, reopen)
        policy = Policy(settings.checkpoint_events, settings.checkpoint_seconds, settings.heartbeat_seconds)
        checkpointer = Checkpointer(leases, outbox, policy, renewals)
        # Of its own too: no answer begins later because another one is given a title.
        naming = ThreadPoolExecutor(1, thread_name_prefix="titles")
        self._titler = Titler(resources.titles, naming, settings.titles)
        self._runner = Runner(
            leases=leases,
            takeover=resources.takeover,
            finisher=resources.finisher,
            generations=resources.generations,
            history=resources.history,
            catalogue=resources.catalogue,
            log=resources.log,
            titler=self._titler,
            outbox=outbox,
            checkpointer=checkpointer,
            providers=_providers(settings),
            tools=Toolbox(find_tools()),
            executor=executor,
            patient=patient,
            heartbeat=settings.heartbeat_seconds,
            patience=min(TAKEOVER_PATIENCE, settings.lease_seconds * TAKEOVER_PART),
            hesitation=min(TAKEOVER_PATIENCE, settings.lease_seconds / 2),
            deadlines=Deadlines(settings.first_token_timeout, settings.token_timeout, settings.generation_timeout),
            rules=Rules(settings.max_attempts, settings.on_interruption, settings.strict_durability),
            hand_on=resources.queue.run_generation,
        )
        self._sweeper = Sweeper(
            resources.database,
            settings.lease_seconds,
            settings.sweep_seconds,
            handle=lambda generation_id: void(self.submit(generation_id)),
            room=lambda: settings.worker_concurrency - self._runner.running,
            late=lambda: self._runner.late,
        )
        await outbox.start()
        checkpointer.start()
        self._watching = asyncio.ensure_future(self._watch())

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            self._runner.watch()


def worker_name() -> str:
    """Who holds a lease, for people who look at the table."""
    return f"{socket.gethostname()}:{os.getpid()}"


def void(future: Future[None]) -> None:
    """Let a generation run by itself; what goes wrong is logged."""
    future.add_done_callback(_report)


def _report(future: Future[None]) -> None:
    if not future.cancelled() and (error := future.exception()):
        _log.error("run failed", action="run", error=repr(error))


def _reopen(leases: Leases, resources: Resources, claimed: Claimed) -> None:
    """Prove the lease, then open its revision in a log that has lost it. Raises LeaseLost, StoreDown."""
    if not leases.holds(claimed.lease):
        raise LeaseLost(claimed.lease.generation_id)
    if not resources.takeover.freeze(claimed, 0).opened:
        raise LogDown


def _providers(settings: Settings) -> Providers:
    key = settings.openai_api_key
    return Providers(
        base_url=settings.openai_base_url,
        api_key=key.get_secret_value() if key else None,
        continuation=settings.openai_continuation,
    )
