"""The drafts of a worker process: entered where they are held, sent and saved, and brought into both stores."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

import structlog

from app.domain.errors import DatabaseDown
from worker import memory
from worker.buffer import Buffer
from worker.checkpoint import Checkpointer
from worker.draft import Draft
from worker.outbox import Outbox
from worker.run_state import RunState

# How long a leaving worker waits for Redis to take the events of an answer, in seconds.
LAST_APPEND_SECONDS = 0.3
# For how long a leaving worker repeats its last checkpoint while PostgreSQL is away: a part of DRAIN_SECONDS, in
# seconds. Until then what readers saw last is in Redis only.
LAST_CHECKPOINT_SECONDS = 10.0
# After a draft of more bytes the memory of the process is given back, so many seconds later.
LARGE_BYTES = 1_000_000
GARBAGE_SECONDS = 0.1

_log = structlog.get_logger()


class Drafts:
    """The drafts of a process, in its buffer, its outbox and its checkpointer."""

    def __init__(self, buffer: Buffer, outbox: Outbox, checkpointer: Checkpointer) -> None:
        self.buffer = buffer
        self.outbox = outbox
        self._checkpointer = checkpointer

    @contextmanager
    def entered(self, draft: Draft) -> Iterator[None]:
        """Hold, send and save a draft as long as the block runs."""
        parts = (self.buffer, self.outbox, self._checkpointer)
        for part in parts:
            part.enter(draft)
        try:
            yield
        finally:
            for part in parts:
                part.leave(draft)
            if draft.size > LARGE_BYTES:
                # The traceback of an error and a closed connection refer to garbage that nothing else collects.
                asyncio.get_running_loop().call_later(GARBAGE_SECONDS, memory.give_back)

    async def save(self, run: RunState, draft: Draft) -> None:
        """Save all of a draft in PostgreSQL, however long that is away: Redis may lose the end of the log.

        Raises LeaseLost after a takeover, and the reason of an interruption during a pause.
        """
        while True:
            try:
                await self._checkpointer.save(draft)
                return
            except DatabaseDown:
                with run.waiting():
                    await asyncio.sleep(random.uniform(0.1, 0.3))

    async def save_once(self, draft: Draft) -> None:
        """Save all of a draft in PostgreSQL. Raises LeaseLost after a takeover, and DatabaseDown."""
        await self._checkpointer.save(draft)

    async def save_last(self, draft: Draft) -> None:
        """Bring all of a draft into both stores, as long as a leaving worker may wait for them. Raises LeaseLost."""
        await self.outbox.drain(draft, LAST_APPEND_SECONDS)
        until = monotonic() + LAST_CHECKPOINT_SECONDS
        while True:
            try:
                await self._checkpointer.save(draft)
                return
            except DatabaseDown:
                if monotonic() >= until:
                    _log.warning("worker left without a checkpoint", action="drain", limit="LAST_CHECKPOINT_SECONDS")
                    return
                await asyncio.sleep(random.uniform(0.05, 0.15))
