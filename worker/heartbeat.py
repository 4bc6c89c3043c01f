"""The heartbeat row of this worker process, renewed from the loop that runs the generations."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import structlog

from app.domain.errors import UnbrokenError
from app.domain.workers import DrainOrder
from app.store import workers
from app.store.database import Database, Tx
from app.store.workers import Report

_log = structlog.get_logger()

Write = Callable[[Tx, Report, float], DrainOrder | None]


class Heartbeat:
    """Writes ``report()`` every ``period`` seconds, and passes the request to drain that the row has to ``follow``.

    The loop begins each beat, so that a loop that hangs stops the beats. The thread that writes is the heartbeat's
    own, so that a pool of busy threads does not. ``lost``: seconds after which a silent worker counts as lost.
    """

    def __init__(
        self,
        database: Database,
        report: Callable[[], Report],
        follow: Callable[[DrainOrder | None], None],
        period: float,
        lost: float,
    ) -> None:
        self._database = database
        self._report = report
        self._follow = follow
        self._period = period
        self._lost = lost
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="heartbeat")
        self._registered = False
        self._failing = False

    async def run(self) -> None:
        """Beat until cancelled."""
        while True:
            await self.beat()
            await asyncio.sleep(self._period)

    async def beat(self) -> None:
        """Write one beat. A database that is away is logged once; the row grows old meanwhile."""
        written, order = await self._send(workers.beat if self._registered else workers.register)
        if written:
            self._follow(order)

    async def leave(self) -> None:
        """Write that the process ends on purpose."""
        await self._send(workers.leave)

    async def _send(self, write: Write) -> tuple[bool, DrainOrder | None]:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._write, write, self._report())

    def _write(self, write: Write, report: Report) -> tuple[bool, DrainOrder | None]:
        """Write the row. Returns whether it was written, and the request that it has."""
        try:
            with self._database.system() as tx:
                order = write(tx, report, self._lost)
        except UnbrokenError as error:
            self._warn(error.detail)
        except Exception as error:  # a beat that fails must not end the beats
            self._warn(repr(error))
        else:
            self._registered, self._failing = True, False
            return True, order
        return False, None

    def _warn(self, reason: str) -> None:
        if not self._failing:
            _log.warning("heartbeat not written", action="heartbeat", error=reason)
        self._failing = True
