"""Blocking calls of generations, run on threads off the event loop, with retries and with their leases kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from contextvars import copy_context
from time import monotonic
from typing import TypeVar

import structlog

from app.domain.backoff import Backoff
from app.domain.errors import DatabaseDown, UnbrokenError
from app.services.leases import Leases
from worker.run_state import RunState

T = TypeVar("T")

# Pauses between two attempts at PostgreSQL, in seconds.
BACKOFF = Backoff(first=0.1, longest=2.0, jitter=0.5)

_log = structlog.get_logger()


def timed(work: Callable[[], T]) -> tuple[float, T]:
    """The monotonic time before a call, and its result. A lease counts from there: its reply may come late."""
    asked_at = monotonic()
    return asked_at, work()


class LeaseKeeper:
    """Renews the leases of claims that no checkpoint renews, all in one statement every ``period`` seconds.

    ``executor`` runs nothing but renewals and checkpoints: a renewal that waits for a thread comes too late.
    """

    def __init__(self, leases: Leases, executor: Executor, period: float) -> None:
        self._leases = leases
        self._executor = executor
        self._period = period
        self._runs: list[RunState] = []
        self._renewal: asyncio.Future[set[str]] | None = None  # the last one
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to renew."""
        self._task = asyncio.ensure_future(self._run())

    @contextmanager
    def keeping(self, run: RunState) -> Iterator[None]:
        """Keep the lease of a run as long as the block runs. A lease that was lost meanwhile stays lost."""
        self._runs.append(run)
        try:
            yield
        finally:
            self._runs.remove(run)

    async def settle(self) -> None:
        """Wait for a renewal that is on its way: it may renew a lease that is not kept any more."""
        if self._renewal is not None:
            await asyncio.wait({self._renewal})

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._period)
            if runs := list(self._runs):
                try:
                    await self._renew(runs)
                except UnbrokenError as error:
                    _log.warning("leases not renewed", action="renew", leases=len(runs), error=error.detail)
                except Exception:  # renewing goes on after any failure
                    _log.exception("renewal of leases failed", action="renew", leases=len(runs))

    async def _renew(self, runs: list[RunState]) -> None:
        asked_at, claims = monotonic(), [run.claimed for run in runs]
        self._renewal = asyncio.get_running_loop().run_in_executor(self._executor, self._leases.keep, claims)
        held = await self._renewal
        for run, claimed in zip(runs, claims, strict=True):
            if run.claimed is claimed and claimed.lease.generation_id in held:
                run.proven_at = max(run.proven_at, asked_at)


class Blocking:
    """Runs blocking calls. ``stores`` is for short transactions, ``redis`` for calls that may wait for Redis."""

    def __init__(self, stores: Executor, redis: Executor, keeper: LeaseKeeper) -> None:
        self._stores = stores
        self._redis = redis
        self._keeper = keeper

    async def run_blocking(self, work: Callable[[], T]) -> T:
        """Run a short transaction. Its log lines carry the context variables of the caller."""
        return await asyncio.get_running_loop().run_in_executor(self._stores, copy_context().run, work)

    async def run_blocking_keeping_lease(self, run: RunState, work: Callable[[], T]) -> T:
        """Run a call that may wait for Redis; the lease of ``run`` is kept until it returns."""
        with self._keeper.keeping(run):
            return await asyncio.get_running_loop().run_in_executor(self._redis, copy_context().run, work)

    async def run_in(self, executor: Executor, run: RunState, work: Callable[[], T]) -> T:
        """Run a call on threads of its own; the lease of ``run`` is kept until it returns."""
        with self._keeper.keeping(run):
            return await asyncio.get_running_loop().run_in_executor(executor, copy_context().run, work)

    async def run_for_redis(self, work: Callable[[], T]) -> T:
        """Run a short call of Redis that concerns no lease."""
        return await asyncio.get_running_loop().run_in_executor(self._redis, copy_context().run, work)

    async def run_after_renewals(self, work: Callable[[], T]) -> T:
        """Run a short transaction that expires a lease. A renewal that is on its way would renew the lease again."""
        await self._keeper.settle()
        return await self.run_blocking(work)

    async def retry_while_db_down(self, run: RunState, work: Callable[[], T], *, may_wait_for_redis: bool = False) -> T:
        """Run a call again and again while PostgreSQL is away; the lease decides whether its result still counts.

        ``may_wait_for_redis``: the lease is kept meanwhile. Raises the reason of an interruption during a pause.
        """
        failures = 0
        while True:
            try:
                if may_wait_for_redis:
                    return await self.run_blocking_keeping_lease(run, work)
                return await self.run_blocking(work)
            except DatabaseDown:
                with run.waiting():
                    await asyncio.sleep(BACKOFF.pause(failures))
                failures += 1
