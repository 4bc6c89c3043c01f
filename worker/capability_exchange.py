"""Shares what a worker has learned about upstreams with the other workers: in the background, so no answer waits."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import structlog

from app.domain.errors import LogDown
from app.eventlog.learned_capabilities import Entry, LearnedCapabilities
from worker.providers.learning import learned
from worker.providers.learning.learned import KEPT_SECONDS, Learned

# Seconds between two looks at what other workers have learned.
LOOK_SECONDS = 10.0
# A worker that starts waits so long for the first look.
FIRST_SECONDS = 0.5

_log = structlog.get_logger()


class CapabilityExchange:
    """Writes what ``learned`` learns, and adds what others have written. Used from the worker's loop."""

    def __init__(self, shared: LearnedCapabilities, learned: Learned, look_seconds: float = LOOK_SECONDS) -> None:
        self._shared = shared
        self._learned = learned
        self._look_seconds = look_seconds
        self._new: dict[tuple[str, str], Entry] = {}
        self._wake = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="capabilities")
        learned.on_change = self._add

    async def start(self) -> asyncio.Future[None]:
        """Begin to share in the background; returns after the first look, or FIRST_SECONDS."""
        first = asyncio.ensure_future(self.exchange())
        await asyncio.wait({first}, timeout=FIRST_SECONDS)
        return asyncio.ensure_future(self._run(first))

    async def exchange(self) -> None:
        """Write what is new here, then read everything. A Redis that does not answer is tried again later."""
        new, self._new = self._new, {}
        try:
            found = await asyncio.get_running_loop().run_in_executor(self._thread, self._write_and_read, new)
        except LogDown as error:
            self._new = new | self._new
            _log.warning("capabilities not shared", action="adjust", error=error.detail)
        except Exception:  # the next look may succeed
            _log.exception("capabilities not shared", action="adjust")
        else:
            self._learned.merge({(e.upstream, e.model): learned.Entry(frozenset(e.lacks), e.until) for e in found})

    async def _run(self, first: asyncio.Future[None]) -> None:
        await first
        while True:
            try:
                async with asyncio.timeout(self._look_seconds):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            await self.exchange()

    def _write_and_read(self, new: dict[tuple[str, str], Entry]) -> list[Entry]:
        self._shared.write(new.values(), KEPT_SECONDS)
        return self._shared.read()

    def _add(self, upstream: str, model: str, entry: learned.Entry) -> None:
        self._new[upstream, model] = Entry(upstream, model, tuple(sorted(entry.lacks)), entry.until)
        self._wake.set()
