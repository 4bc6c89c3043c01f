"""The outgoing events of all generations of a process, written to Redis in one pipelined write per tick.

The outgoing events of a generation are a Draft. Pieces that arrive within a tick, or before the reply to the last
write, become one event, which is encoded once: the busier the worker or Redis is, the less there is to do for a token.
Resending is always safe (append.lua), so a lost connection or reply costs nothing but the resending. The next event of
a log that is known to be in step is appended fast: a plain XADD adds it, and PUBLISH follows the reply (decision 0024).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from time import monotonic

import hiredis
import structlog
from structlog.contextvars import bind_contextvars

from app.domain.backoff import Backoff
from app.domain.errors import LeaseLost, UnbrokenError
from app.domain.lease import Claimed
from app.eventlog.log import (
    FINISHED_TTL_MS,
    KEEP_TTL,
    RUNNING_TTL_MS,
    AppendResult,
    RedisLog,
    append_command,
    is_out_of_step,
    parse_result,
)
from app.eventlog.redis_wire import Reply, packed
from app.ops import metrics
from worker.draft import Draft
from worker.log_connection import LogConnection
from worker.log_ids import log_ids

# An empty append is sent for a silent draft this often, in seconds: it refreshes the log and notices a fence.
REFRESH_SECONDS = 1.0
# So many seconds after append.lua has confirmed the position of a log, plain XADDs may follow it.
IN_STEP_SECONDS = 1.0
# One command appends about so many bytes, and while so many wait for the network no further one is composed: the events
# that are resent after an outage of Redis are not in memory twice.
COMMAND_BYTES = 262_144
WAITING_BYTES = 4_194_304
# The pauses between attempts to open a revision in a log that Redis has lost, in seconds.
REOPENING = Backoff(first=0.1, longest=1.0)

_log = structlog.get_logger()


class Outbox:
    """Sends the drafts of a process. Used from the process's loop only."""

    def __init__(
        self,
        redis_url: str,
        log: RedisLog,
        tick: float,
        self_fence: float,
        reopen: Callable[[Claimed], Awaitable[None]],
    ) -> None:
        self._connection = LogConnection(redis_url, self._on_opened, self._on_lost)
        self._log = log
        self._tick = tick
        self._self_fence = self_fence
        self._reopen = reopen
        self._drafts: dict[str, Draft] = {}
        self._dirty: set[Draft] = set()
        self._flush_at: asyncio.TimerHandle | None = None
        self._last_flush = 0.0
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Connect, and keep connected; refresh the logs of silent drafts."""
        self._connection.start()
        self._spawn(self._refresh())

    async def close(self) -> None:
        """Stop sending."""
        for task in list(self._tasks):
            task.cancel()
        self._connection.close()

    @property
    def is_connected(self) -> bool:
        """True while there is a connection to Redis whose replies have not been missing for too long."""
        return self._connection.wire is not None

    def enter(self, draft: Draft) -> None:
        """Begin to send a draft."""
        self._drafts[draft.claimed.lease.generation_id] = draft
        if not draft.opened:
            self._spawn(self._open(draft))
        self.touch(draft)

    def leave(self, draft: Draft) -> None:
        """Send a draft no more. Events that were not sent stay unsent."""
        self._dirty.discard(draft)
        if self._drafts.get(draft.claimed.lease.generation_id) is draft:
            del self._drafts[draft.claimed.lease.generation_id]

    def touch(self, draft: Draft) -> None:
        """There is something new to send: at once when the line was quiet, with the next tick otherwise."""
        self._dirty.add(draft)
        if self._flush_at is None:
            loop = asyncio.get_running_loop()
            self._flush_at = loop.call_at(max(loop.time(), self._last_flush + self._tick), self._flush)

    async def drain(self, draft: Draft, seconds: float) -> bool:
        """Wait until the log has everything of a draft; False when that takes longer than ``seconds``."""
        draft.seal()
        self.touch(draft)
        until = monotonic() + seconds
        while draft.acked < len(draft.payloads):
            if monotonic() >= until:
                return False
            await asyncio.sleep(self._tick / 2)
        return True

    async def finish(self, draft: Draft, done: bytes, seconds: float) -> bool:
        """Append the committed end and let the log expire in its time."""
        draft.payloads.append(done)
        draft.saved = len(draft.payloads)
        draft.proven_at = monotonic()  # by the commit
        draft.ttl_ms = FINISHED_TTL_MS
        return await self.drain(draft, seconds)

    def _flush(self) -> None:
        """One write for everything that became sendable. This is the token path: no await, no allocation to spare."""
        self._flush_at = None
        self._last_flush = asyncio.get_running_loop().time()
        wire = self._connection.wire
        now = monotonic()
        written = 0
        adding: list[bytes] = []
        appending: list[bytes] = []
        adders: list[Draft] = []
        appenders: list[Draft] = []
        dirty, self._dirty = self._dirty, set()
        if wire is not None and wire.waiting_bytes > WAITING_BYTES:
            wire = None
            for draft in dirty:
                self.touch(draft)
        for draft in dirty:
            if draft.in_flight:
                continue  # comes back with the reply; the text until then becomes one event
            if draft.pending:
                draft.seal()
            acked, sendable = draft.acked, draft.sendable
            if wire is None or not draft.opened or acked >= sendable:
                continue  # comes back with the connection, the opening or the checkpoint
            if now - draft.proven_at > self._self_fence:
                continue  # silent until PostgreSQL confirms the lease
            if sendable - acked == 1 and now < draft.in_step_until and draft.ttl_ms == KEEP_TTL:
                adding.append(draft.fast_append.xadd(acked, draft.payloads[acked]))
                adders.append(draft)
            else:
                sendable = min(sendable, draft.end_of(acked, COMMAND_BYTES))
                appending.append(_append(draft, draft.payloads[acked:sendable], draft.ttl_ms))
                appenders.append(draft)
            draft.in_flight, draft.sent_at = True, now
            written += sendable - acked
        if written:
            # One callback for all replies: the token path makes nothing that the collector of garbage would count.
            if adders:
                self._connection.write(adding, len(adders), partial(self._receive_added, iter(adders)))
            if appenders:
                self._connection.write(appending, len(appenders), partial(self._receive, iter(appenders)))
            metrics.EVENTS_WRITTEN.inc(written)

    def _publish(self, commands: list[bytes]) -> None:
        """Publish events that plain XADDs have added. Without a connection readers find them when they read the log."""
        if commands and self._connection.wire is not None:
            self._connection.write_unread(commands)

    def _receive_added(self, drafts: Iterator[Draft], replies: list[Reply]) -> None:
        """Receive the replies to plain XADDs: the id of the event that was added, or an error."""
        self._connection.note_reply()
        published: list[bytes] = []
        # Strictly in this order: what is not answered yet stays in the iterator.
        for reply, draft in zip(replies, drafts, strict=False):
            draft.in_flight = False
            if isinstance(reply, bytes):
                published.append(draft.fast_append.publish(reply, draft.payloads[draft.acked]))
                draft.acked += 1
                if draft.pending or draft.acked < draft.sendable:
                    self.touch(draft)
            elif is_out_of_step(reply):
                draft.in_step_until = 0.0  # fenced, lost or behind: append.lua finds out which
                self.touch(draft)
            else:
                self._connection.refuse(reply)
        self._publish(published)

    def _receive(self, drafts: Iterator[Draft], replies: list[Reply]) -> None:
        """The answers of append.lua."""
        self._connection.note_reply()
        now = monotonic()
        for reply, draft in zip(replies, drafts, strict=False):
            draft.in_flight = False
            if isinstance(reply, hiredis.ReplyError):
                self._connection.refuse(reply)
            else:
                self._obey(draft, parse_result(reply), now)

    def _obey(self, draft: Draft, answer: AppendResult, now: float) -> None:
        generation_id = draft.claimed.lease.generation_id
        if self._drafts.get(generation_id) is not draft:
            return  # it has left; its run may be writing the next revision, which is why this one is refused
        draft.in_step_until = now + IN_STEP_SECONDS if answer.verdict == "OK" else 0.0
        match answer.verdict:
            case "OK" | "GAP":
                draft.acked = answer.top + 1
                if answer.verdict == "GAP":
                    _log.warning(
                        "log of a generation lost its end", action="resend", top=answer.top, **log_ids(draft.claimed)
                    )
                if draft.pending or draft.acked < draft.sendable:
                    self.touch(draft)
            case "FENCED":
                draft.lost(LeaseLost(generation_id))
            case "LOST" | "UNOPENED":
                _log.warning(
                    "log of a generation lost", action="reopen", verdict=answer.verdict, **log_ids(draft.claimed)
                )
                draft.opened, draft.acked = False, 0
                self._spawn(self._open(draft))

    async def _open(self, draft: Draft) -> None:
        """Open the revision again, after proving the lease; resend all of it."""
        bind_contextvars(**log_ids(draft.claimed))
        failures = 0
        while self._drafts.get(draft.claimed.lease.generation_id) is draft:
            if self._connection.wire is None:  # opened or not, nothing could be written
                await asyncio.sleep(REOPENING.pause(failures))
                continue
            try:
                await self._reopen(draft.claimed)
            except LeaseLost as lost:
                draft.lost(lost)
                return
            except UnbrokenError:
                await asyncio.sleep(REOPENING.pause(failures))
                failures += 1
                continue
            draft.opened, draft.acked = True, 0
            self.touch(draft)
            return

    async def _refresh(self) -> None:
        """Append nothing to the logs of silent drafts: their time to live is refreshed, and a fence is noticed.

        A Redis that does not answer is noticed too.
        """
        while True:
            await asyncio.sleep(REFRESH_SECONDS / 2)
            self._connection.check()
            if self._connection.wire is None:
                continue
            now = monotonic()
            silent = [
                draft
                for draft in self._drafts.values()
                if draft.opened and not draft.in_flight and now - draft.sent_at >= REFRESH_SECONDS
            ]
            if not silent:
                self._connection.ping()
                continue
            commands = [_append(draft, [], RUNNING_TTL_MS) for draft in silent]
            for draft in silent:
                draft.in_flight, draft.sent_at = True, now
            self._connection.write(commands, len(silent), partial(self._receive, iter(silent)))

    def _on_opened(self) -> None:
        for draft in self._drafts.values():
            self.touch(draft)

    def _on_lost(self) -> None:
        for draft in self._drafts.values():
            draft.in_flight, draft.in_step_until = False, 0.0

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _append(draft: Draft, payloads: list[bytes], ttl_ms: int) -> bytes:
    """The call of append.lua that adds these events to a draft's log."""
    return packed(append_command(draft.keys, draft.epoch, draft.acked, payloads, ttl_ms))
