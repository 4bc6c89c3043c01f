"""One worker process: its asyncio loop in a thread of its own, and everything that lives on it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from threading import Event, Thread

import structlog
import uvloop

from app.broker.application import RUN_EMBEDDINGS, RUN_GENERATION
from app.config import WorkerSettings
from app.domain.errors import DatabaseDown, LeaseLost, LogDown
from app.domain.lease import Claimed
from app.domain.version import VERSION
from app.eventlog.learned_capabilities import LearnedCapabilities
from app.ops import metrics
from app.services import model_admin, restores
from app.services.leases import Leases
from app.services.sweeper import DueGenerations, Sweeper
from app.services.upstream_status import store_kinds
from app.store.workers import Report
from app.wiring import Resources, build
from worker.blocking import Blocking, LeaseKeeper
from worker.buffer import Buffer
from worker.capability_exchange import CapabilityExchange
from worker.checkpoint import Checkpointer, Policy
from worker.chores import chores
from worker.drafts import Drafts
from worker.drain import Drain, Parts
from worker.embeddings import Embedder
from worker.gauges import Gauges
from worker.generation_trace import GenerationTraces
from worker.heartbeat import Heartbeat
from worker.intake import Intake
from worker.limits import Limits, limits_of
from worker.log_access import LogAccess, LogTimes
from worker.model_lists import start_all
from worker.outbox import Outbox
from worker.outcome import Outcome
from worker.prompt_messages import prompt_messages_of
from worker.provider_calls import ProviderCalls
from worker.providers.registry import Providers
from worker.retry_policy import Deadlines, Rules
from worker.revision import Revisions
from worker.runner import Runner, nothing
from worker.shared_breakers import breakers_of
from worker.target_choice import TargetChoice
from worker.threads import Threads
from worker.titles import Titler
from worker.toolbox import Toolbox
from worker.tools.registry import find_tools
from worker.upstream_runs import UpstreamRuns
from worker.webhooks import sender_of

# How long a takeover waits for Redis before it goes on from the checkpoints: seconds at most, and a part of the lease.
LONGEST_TAKEOVER_WAIT = 5.0
TAKEOVER_PART = 1 / 6
# The longest that a worker takes to give its answers back, in seconds. It takes about one second; the rest is for a
# PostgreSQL that is away. Supervisors kill a worker 15 s (make run) or 20 s (Docker Compose) after SIGTERM.
DRAIN_SECONDS = 12.0
WATCH_SECONDS = 0.2

_log = structlog.get_logger()


class WorkerProcess:
    """Runs generations for the threads of Celery, and for the sweeper when the broker has lost a message."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._name = ""
        self._leaving = False
        self._loop = uvloop.new_event_loop()
        self.intake = Intake(self._hand_on)
        self._ready = Event()
        self._failure: Exception | None = None
        self._thread = Thread(target=self._serve, name="generations", daemon=True)
        self._resources: Resources
        self._runner: Runner
        self._sweeper: Sweeper

    def start(self, name: str) -> None:
        """Start the loop and the sweeper; returns when generations can run. Raises the error of a failed start.

        ``name`` is Celery's name of this node; leases, rows, log lines and metrics carry it.
        """
        self._name = name
        self._thread.start()
        self._ready.wait()
        if self._failure:
            raise self._failure
        self._sweeper.start()
        self._webhooks.start()

    def submit(self, generation_id: str, on_claim: Callable[[Claimed], None] = nothing) -> Future[Outcome]:
        """Begin to run a generation. ``on_claim`` is called by the loop and must not block."""
        future = asyncio.run_coroutine_threadsafe(self._runner.run(generation_id, on_claim), self._loop)
        future.add_done_callback(lambda _: self._webhooks.wake())
        return future

    def embed(self, request_id: str) -> str:
        """Answer a request for embeddings, from a thread that has nothing else to do."""
        return self._embedder.run(request_id)

    def drain(self) -> None:
        """Give all generations back, so that other workers continue them, for at most ``DRAIN_SECONDS``."""
        self._sweeper.stop()
        self._embedder.leave()
        _log.info("worker leaves", action="drain", running=self._runner.running)
        self._leaving = True
        try:
            asyncio.run_coroutine_threadsafe(self._leave(), self._loop).result(DRAIN_SECONDS)
        except TimeoutError:
            _log.warning(
                "worker left before it gave everything back",
                action="drain",
                limit="DRAIN_SECONDS",
                running=self._runner.running,
            )

    def close(self) -> None:
        """Stop the loop."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(2)
        self._messages.close()
        self._webhooks.close()
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
        """Build everything that lives on the loop, and start it."""
        settings = self._settings
        self._resources = resources = build(settings)
        threads = Threads.start()
        leases = Leases(
            resources.database,
            self._name,
            settings.lease_seconds,
            settings.generation_timeout,
            resources.slots.most_per_user,
        )

        async def reopen(claimed: Claimed) -> None:
            await self._loop.run_in_executor(threads.redis, _reopen, leases, resources, claimed)

        outbox = Outbox(settings.redis_url, resources.log, settings.tick_ms / 1000, settings.self_fence_seconds, reopen)
        policy = Policy(settings.checkpoint_events, settings.checkpoint_seconds, settings.heartbeat_seconds)
        buffer = Buffer(settings.worker_buffer_bytes, settings.generation_buffer_bytes)
        checkpointer = Checkpointer(leases, outbox, policy, threads.leases, buffer.resume)
        keeper = LeaseKeeper(leases, threads.leases, settings.heartbeat_seconds)
        blocking = Blocking(threads.stores, threads.redis, keeper)
        limits = limits_of(settings)
        providers = Providers(settings.configured_upstreams, limits)
        with suppress(DatabaseDown):
            restores.notice(resources.database)
            store_kinds(resources.database, settings.configured_upstreams)
            _log_unanswerable(resources, providers)
        self._webhooks = sender_of(settings, resources.database)
        self._webhooks.tested = partial(resources.mailbox.reply, reply=b"1")
        resources.finisher.webhooks_added = self._webhooks.wake
        self._embedder = Embedder(resources, providers, self._loop)
        self._titler = Titler(resources.titles, resources.usage, threads.titles, settings.titles)
        self._runner = self._make_runner(leases, blocking, Drafts(buffer, outbox, checkpointer), providers, limits)
        self._sweeper = self._make_sweeper(resources)
        await outbox.start()
        checkpointer.start()
        keeper.start()
        shared = LearnedCapabilities(resources.redis, settings.redis_namespace)
        self._exchange = await CapabilityExchange(shared, providers.learned).start()
        self._listings = await start_all(resources.database, providers, settings.max_model_list_bytes)
        self._watching = asyncio.ensure_future(self._watch())
        gauges = Gauges(settings.worker_concurrency, lambda: self._runner.running, checkpointer, resources.queue)
        self._showing = asyncio.ensure_future(gauges.run())
        await self._start_heartbeat()

    async def _start_heartbeat(self) -> None:
        """Report for the first time. A request to drain that this name is still under is in force before any task."""
        settings = self._settings
        parts = (self._runner, self._sweeper, self._embedder, self._titler, self._webhooks)
        self._drain = Drain(Parts(self.intake, parts, self._hand_over))
        self._heartbeat = Heartbeat(
            self._resources.database,
            self._report,
            self._drain.follow,
            settings.worker_beat_seconds,
            settings.worker_lost_seconds,
        )
        await self._heartbeat.beat()
        self._beating = asyncio.ensure_future(self._heartbeat.run())

    def _make_runner(
        self, leases: Leases, blocking: Blocking, drafts: Drafts, providers: Providers, limits: Limits
    ) -> Runner:
        settings, resources = self._settings, self._resources
        rules = Rules(
            settings.max_attempts, settings.on_interruption, settings.strict_durability, settings.max_schema_steps
        )
        self._log_access = LogAccess(
            drafts.outbox,
            LogTimes(
                redis_timeout=min(LONGEST_TAKEOVER_WAIT, settings.lease_seconds * TAKEOVER_PART),
                takeover_delay=min(LONGEST_TAKEOVER_WAIT, settings.lease_seconds / 2),
            ),
        )
        toolbox = Toolbox(find_tools())
        runs = UpstreamRuns(leases, blocking, drafts, providers)
        breakers = breakers_of(settings, resources, lambda: drafts.outbox.is_connected)
        targets = TargetChoice(blocking, leases, breakers, rules)
        self._messages = prompt_messages_of(settings, resources, blocking)
        calls = ProviderCalls(self._messages, drafts, runs, toolbox, self._titler, limits, targets)
        return Runner(
            leases,
            blocking,
            Revisions(resources, blocking, self._log_access, drafts, calls, providers, rules),
            self._log_access,
            drafts.buffer,
            Deadlines(settings.first_token_timeout, settings.token_timeout, settings.generation_timeout),
            GenerationTraces(self._name, settings.configured_upstreams),
            hand_on=resources.queue.run_generation,
        )

    def _make_sweeper(self, resources: Resources) -> Sweeper:
        due = DueGenerations(
            resources.database,
            self._settings.lease_seconds,
            most=resources.slots.most_per_user,
            room=lambda: self._settings.worker_concurrency - self._runner.running,
            takeover_delay=lambda: self._log_access.takeover_delay,
        )
        return Sweeper(due, self._run_alone, self._settings.sweep_seconds, chores(resources))

    def _hand_on(self, task: str, object_id: str) -> None:
        """Send another task for an object to other workers; a task of another name was none of ours."""
        queue = self._resources.queue
        if send := {RUN_GENERATION: queue.run_generation, RUN_EMBEDDINGS: queue.run_embeddings}.get(task):
            send(object_id)

    def _hand_over(self, most: int) -> int:
        """Give up to ``most`` answers back, with the titles that are made beside them; the number of answers."""
        conversations = self._runner.hand_over(most)
        self._titler.release(conversations)
        return len(conversations)

    def _run_alone(self, generation_id: str) -> None:
        """Run a generation whose doorbell was lost: no task of Celery waits for its outcome."""
        metrics.SWEPT.inc()
        self.submit(generation_id).add_done_callback(partial(_log_failure, generation_id))

    def _report(self) -> Report:
        drain, slots = self._drain, self._settings.worker_concurrency
        state = "draining" if self._leaving or drain.is_requested else "working"
        return Report(self._name, VERSION, state, slots, self._runner.running, drain.may_stop)

    async def _leave(self) -> None:
        """Give everything back, and write last that this worker has left on purpose."""
        await asyncio.gather(self._runner.drain(), self._titler.close(), asyncio.wrap_future(self._webhooks.leave()))
        self._beating.cancel()
        await self._heartbeat.leave()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            self._runner.watch()


def _log_unanswerable(resources: Resources, providers: Providers) -> None:
    """Log each model that names an upstream that is not configured. Raises DatabaseDown."""
    for model, missing in model_admin.unanswerable(resources.database, providers.names).items():
        names = ", ".join(missing)
        _log.warning("model has no provider", action="start", model=model, providers=names, setting="UPSTREAMS")


def _log_failure(doorbell: str, future: Future[Outcome]) -> None:
    if not future.cancelled() and (error := future.exception()):
        _log.error("generation found by a sweep failed", action="sweep", doorbell=doorbell, error=repr(error))


def _reopen(leases: Leases, resources: Resources, claimed: Claimed) -> None:
    """Prove the lease, then open its revision in a log that has lost it. Raises LeaseLost, StoreDown."""
    if not leases.holds(claimed.lease):
        raise LeaseLost(claimed.lease.generation_id)
    if not resources.takeover.freeze(claimed, 0).opened:
        raise LogDown
