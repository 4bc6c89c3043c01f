"""The bound on the memory that the answers of a worker process take: reading from providers pauses beyond it.

An answer is held until its end: Redis may lose its log, and the end is written from it. Events that PostgreSQL has not
taken yet exist here only. So reading pauses where too much of an answer is unsaved. Where all answers together are too
large, it pauses for those that hold more than their share. Two answers never wait for the others: the oldest and the
largest. They end and make room; the largest makes most of it, and would otherwise stay in memory as long as a slow
oldest one takes.
"""

from __future__ import annotations

import asyncio

from worker.draft import Draft

# The sizes of all drafts are added up again when the drafts have grown by this many bytes.
MEASURE_BYTES = 262_144


class Buffer:
    """Lets drafts grow while there is room: ``most`` bytes for all of a process, ``each`` unsaved bytes for a draft.

    Used from the process's loop only. ``resume`` has to be called some times a second, and when room was made.
    """

    def __init__(self, most: int, each: int) -> None:
        self._most = most
        self._each = each
        self._drafts: dict[Draft, asyncio.Future[None] | None] = {}
        self._is_full = False
        self._largest: Draft | None = None
        self._grown = 0  # bytes since it was measured

    def enter(self, draft: Draft) -> None:
        """Count a draft from now on; those entered earlier are older."""
        self._drafts[draft] = None

    def leave(self, draft: Draft) -> None:
        """Count a draft no more; others may use its room."""
        self._release(draft)
        self._drafts.pop(draft, None)
        self.resume()

    @property
    def held(self) -> int:
        """Bytes of all drafts."""
        return sum(draft.held for draft in self._drafts)

    @property
    def paused(self) -> int:
        """The number of drafts that wait for room."""
        return sum(waiting is not None for waiting in self._drafts.values())

    def room(self, draft: Draft) -> asyncio.Future[None] | None:
        """None while the draft may grow; otherwise a future that is done when it may."""
        if draft not in self._drafts:
            return None
        self._grown += draft.held - draft.counted
        draft.counted = draft.held
        if self._grown >= MEASURE_BYTES:
            self._measure()
        if self._may_grow(draft):
            return None
        waiting = self._drafts[draft]
        if waiting is None:
            waiting = self._drafts[draft] = asyncio.get_running_loop().create_future()
        return waiting

    def resume(self) -> None:
        """Let paused drafts grow that have room again."""
        self._measure()
        for draft, waiting in list(self._drafts.items()):
            if waiting is not None and self._may_grow(draft):
                self._release(draft)

    def _measure(self) -> None:
        self._grown = 0
        self._is_full = self.held > self._most
        self._largest = max(self._drafts, key=lambda draft: draft.held, default=None)

    def _may_grow(self, draft: Draft) -> bool:
        if draft.held - draft.saved_size > self._each:
            return False
        if not self._is_full or draft is self._largest or draft is next(iter(self._drafts)):
            return True
        return draft.held <= self._most / len(self._drafts)

    def _release(self, draft: Draft) -> None:
        waiting = self._drafts.get(draft)
        if waiting is not None:
            self._drafts[draft] = None
            if not waiting.done():
                waiting.set_result(None)
