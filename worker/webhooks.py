"""The sender of webhooks of a worker process, on a loop and a thread of its own: it delays no token.

Deliveries are rows. The sender claims those that are due, sends each once, and records the attempt.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from threading import Thread
from typing import TypeVar

import structlog
import uvloop

from app.config import Settings
from app.domain.backoff import Backoff
from app.domain.errors import DatabaseDown, LogDown
from app.domain.webhook_schedule import Attempt, verdict
from app.egress.client import EgressClient
from app.egress.resolver import LINGER_SECONDS, LOOKUP_SECONDS
from app.ops import metrics
from app.store import webhook_outbox
from app.store.database import Database
from app.store.webhook_outbox import DueDelivery, Share
from worker.webhook_attempts import Attempts, log_fields

T = TypeVar("T")

# A claim at least every so many seconds; ends of this process's answers wake the sender at once.
POLL_SECONDS = 1.0
# The least time between two claims: what ends in one moment is claimed together.
REST_SECONDS = 0.02
# The part of all places that one user may take, and the least number.
USER_PART = 0.25
# Threads for transactions. Their number also bounds the connections to PostgreSQL that webhooks take.
STORE_THREADS = 2
# Seconds of a claim beyond its attempt and a look-up that lingers: recording an attempt may wait for PostgreSQL.
SETTLE_SECONDS = 20.0
# A worker that leaves waits so many seconds for the attempts under way; the rest is given back and sent again.
LEAVE_SECONDS = 3.0
_RETRY = Backoff(first=0.2, longest=2.0)

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class SenderBounds:
    """``at_once`` and ``per_lane``: attempts at the same time, in all and to one receiver. ``lease``: of a claim."""

    at_once: int
    per_lane: int
    lease: float

    @classmethod
    def of(cls, settings: Settings) -> SenderBounds:
        """The bounds of the settings."""
        lease = settings.webhook_timeout_seconds + LOOKUP_SECONDS + LINGER_SECONDS + SETTLE_SECONDS
        return cls(settings.webhooks_at_once, settings.webhooks_at_once_per_endpoint, lease)

    @property
    def per_user(self) -> int:
        """The most attempts of one user at the same time."""
        return max(round(self.at_once * USER_PART), 1)


class WebhookSender:
    """Sends due deliveries until it leaves. Any thread may call its methods."""

    def __init__(self, database: Database, client: EgressClient, bounds: SenderBounds) -> None:
        self._database = database
        self._attempts = Attempts(client)
        self._bounds = bounds
        self._loop = uvloop.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="webhooks", daemon=True)
        self._threads = ThreadPoolExecutor(STORE_THREADS, thread_name_prefix="webhook store")
        self._woken = asyncio.Event()
        self._active: dict[asyncio.Task[None], DueDelivery] = {}
        # By lane, the time until which its receiver gets nothing, in seconds of the monotonic clock.
        self._pauses: dict[str, float] = {}
        # The lane at which the last claim has stopped.
        self._after = webhook_outbox.FIRST
        self._serving: Future[None] | None = None
        self._is_down = False
        self._is_paused = False
        self._is_claiming = False
        self._is_leaving = False
        self._has_left = False
        # Called in a thread with the id of a test that was attempted. May raise LogDown.
        self.tested: Callable[[str], None] = _nothing

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()
        self._serving = asyncio.run_coroutine_threadsafe(self._serve(), self._loop)

    def wake(self) -> None:
        """Claim at once: an end was committed. Cheap, and harmless when nothing is due."""
        if not self._woken.is_set():
            self._loop.call_soon_threadsafe(self._woken.set)

    @property
    def is_idle(self) -> bool:
        """True when no delivery is claimed."""
        return not (self._active or self._is_claiming)

    def pause(self) -> None:
        """Claim no more until ``resume``; what is under way goes on."""
        self._is_paused = True

    def resume(self) -> None:
        """Claim again."""
        self._is_paused = False
        self.wake()

    def leave(self) -> Future[None]:
        """Claim no more, and give back what is not sent within ``LEAVE_SECONDS``."""
        return asyncio.run_coroutine_threadsafe(self._leave(), self._loop)

    def close(self) -> None:
        """Stop the loop."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(2)
        self._threads.shutdown(wait=False, cancel_futures=True)

    # --- on the loop

    async def _serve(self) -> None:
        while not self._is_leaving:
            self._woken.clear()
            began = time.monotonic()
            self._is_claiming = True
            for due in await self._claim():
                task = asyncio.ensure_future(self._deliver(due))
                self._active[task] = due
                task.add_done_callback(self._ended)
            self._is_claiming = False
            # A claim from a large backlog takes longer: PostgreSQL rests as long as it has worked.
            rest = max(REST_SECONDS, time.monotonic() - began)
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS):
                    await self._woken.wait()
            if not self._is_leaving:
                await asyncio.sleep(rest)

    def _ended(self, task: asyncio.Task[None]) -> None:
        due = self._active.pop(task)
        self._woken.set()  # a place is free
        if not task.cancelled() and (error := task.exception()):
            _log.error("webhook not settled", action="webhook", exc_info=error, **log_fields(due))

    async def _claim(self) -> list[DueDelivery]:
        """Claim what there is room for. A database that is away is logged once."""
        now = time.monotonic()
        self._pauses = {lane: until for lane, until in self._pauses.items() if until > now}
        share = Share(self._bounds.at_once - len(self._active), self._bounds.per_lane, self._bounds.per_user)
        if share.room <= 0 or self._is_paused:
            return []
        try:
            claimed, self._after = await self._do(partial(self._claimed, share, set(self._pauses), self._after))
        except DatabaseDown as error:
            self._note_outage(error.detail)
            return []
        except Exception as error:  # the next poll claims again
            self._note_outage(repr(error))
            return []
        self._is_down = False
        return claimed

    def _claimed(self, share: Share, paused: set[str], after: str) -> tuple[list[DueDelivery], str]:
        with self._database.system() as tx:
            claimed, after = webhook_outbox.claim(tx, share, self._bounds.lease, paused, after)
        if self._has_left:
            self._give_back(claimed)
        return claimed, after

    def _note_outage(self, reason: str) -> None:
        if not self._is_down:
            _log.warning("webhook claim failed", action="webhook", error=reason)
        self._is_down = True

    async def _deliver(self, due: DueDelivery) -> None:
        until = time.monotonic() + self._bounds.lease
        if due.obstacle is not None:
            await self._insist(partial(self._end, due, due.obstacle), until)
            _note(due, "dead", reason=due.obstacle)
            return
        attempt = await self._attempts.make(due)
        if attempt.pause:
            self._pauses[due.lane] = time.monotonic() + attempt.pause
        if await self._insist(partial(self._settle, due, attempt), until):
            metrics.WEBHOOK_SECONDS.observe(attempt.latency_ms / 1000)

    def _end(self, due: DueDelivery, reason: str) -> bool:
        with self._database.system() as tx:
            is_ended = webhook_outbox.end(tx, due, reason)
        _report_test(due, self.tested)
        return is_ended

    def _settle(self, due: DueDelivery, attempt: Attempt) -> bool:
        reached = verdict(attempt, due.round, 1 if due.is_test else None)
        with self._database.system() as tx:
            is_settled = webhook_outbox.settle(tx, due, attempt, reached)
        fields = {"status": attempt.status, "error": attempt.error, "latency_ms": attempt.latency_ms}
        _note(due, reached.state if is_settled else "replaced", **fields)
        _report_test(due, self.tested)
        return is_settled

    async def _insist(self, work: Callable[[], bool], until: float) -> bool:
        """Run a transaction until PostgreSQL has taken it. Another process claims the delivery after its lease."""
        failures = 0
        while True:
            try:
                return await self._do(work)
            except DatabaseDown as error:
                if time.monotonic() >= until:
                    _log.warning("webhook attempt lost", action="webhook", error=error.detail)
                    return False
            await asyncio.sleep(_RETRY.pause(failures))
            failures += 1

    async def _do(self, work: Callable[[], T]) -> T:
        return await self._loop.run_in_executor(self._threads, work)

    async def _leave(self) -> None:
        """Wait for a claim and for attempts under way, and give the rest back; a late claim gives itself back."""
        self._is_leaving = True
        self._woken.set()
        until = time.monotonic() + LEAVE_SECONDS
        if self._serving is not None:
            await asyncio.wait({asyncio.wrap_future(self._serving)}, timeout=LEAVE_SECONDS)
        if self._active:
            await asyncio.wait(list(self._active), timeout=max(until - time.monotonic(), 0.0))
        self._has_left = True
        left = dict(self._active)
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(list(left))
            with suppress(DatabaseDown):  # their leases end
                await self._do(partial(self._give_back, list(left.values())))

    def _give_back(self, left: list[DueDelivery]) -> None:
        with self._database.system() as tx:
            webhook_outbox.give_back(tx, left)


def sender_of(settings: Settings, database: Database) -> WebhookSender:
    """The sender of a worker process."""
    client = EgressClient(settings.egress_rules, settings.webhook_timeout_seconds)
    return WebhookSender(database, client, SenderBounds.of(settings))


def _report_test(due: DueDelivery, report: Callable[[str], None]) -> None:
    """Report a test that was attempted: a request waits for it, and reads the row itself when no report comes."""
    if due.is_test:
        with suppress(LogDown):
            report(due.id)


def _nothing(delivery_id: str) -> None:
    pass


def _note(due: DueDelivery, outcome: str, **fields: str | int | None) -> None:
    """Count and log the outcome of a claim."""
    metrics.WEBHOOK_DELIVERIES.labels("retried" if outcome == "waiting" else outcome).inc()
    if outcome == "dead" and due.is_test:
        _log.info("webhook test failed", action="webhook", **log_fields(due), **fields)
    elif outcome == "dead":
        _log.warning("webhook delivery is dead", action="webhook", **log_fields(due), **fields)
    elif outcome == "waiting":
        _log.info("webhook delivery failed", action="webhook", **log_fields(due), **fields)
    elif outcome == "delivered":
        _log.info("webhook delivered", action="webhook", **log_fields(due), **fields)
    else:
        _log.warning("webhook attempt is not recorded", action="webhook", **log_fields(due), **fields)
