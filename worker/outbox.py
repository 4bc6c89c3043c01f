"""What the generations of a process say, written to Redis in one pipelined write per tick.

A generation's outgoing events are a Draft. Whatever pieces arrive within a tick, or while the answer to the write
before is awaited, become one event; it is encoded once. So there is less to do per token the busier we or Redis are.
Resending is always safe (append.lua), so a lost connection or reply costs nothing but the resending. The next
event of a log that is known to be in step goes the short way: added by a plain command, published when it is there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from time import monotonic

import hiredis
import structlog

from app.domain.cursor import Cursor
from app.domain.errors import LeaseLost, LogDown, UnbrokenError
from app.domain.events import Event, Reasoning, Token, encode, encode_said
from app.domain.transcript import Transcript
from app.eventlog.log import (
    APPEND,
    FINISHED_TTL_MS,
    KEEP_TTL,
    RUNNING_TTL_MS,
    Answer,
    Keys,
    RedisLog,
    ShortWay,
    appending,
    is_out_of_step,
    parse_answer,
)
from app.eventlog.pipe import Pipe, Reply, packed
from app.ops import metrics
from app.store.leases import Claimed

# A silent generation asks this often whether it is still wanted; its log's time to live is refreshed with it.
POKE_SECONDS = 1.0
# For so long after append.lua has said where a log stands it is believed to grow by our words only.
IN_STEP_SECONDS = 1.0
# A Redis that does not answer a write for this long is treated as gone.
REPLY_SECONDS = 2.0

_log = structlog.get_logger()


class Draft:
    """The events of one revision: what was said, and how far the log and the checkpoints have it."""

    __slots__ = (
        "acked",
        "claimed",
        "epoch",
        "first_token_at",
        "in_flight",
        "in_step_until",
        "keys",
        "lost",
        "opened",
        "payloads",
        "pending",
        "proven_at",
        "saved",
        "saved_at",
        "saved_size",
        "sent_at",
        "short_way",
        "size",
        "strict",
        "thinking",
        "transcript",
        "ttl_ms",
    )

    def __init__(
        self,
        claimed: Claimed,
        keys: Keys,
        transcript: Transcript,
        lost: Callable[[LeaseLost], None],
        *,
        opened: bool,
        strict: bool,
    ) -> None:
        now = monotonic()
        self.claimed = claimed
        self.epoch = claimed.lease.epoch
        self.keys = keys
        self.short_way = ShortWay(keys, self.epoch)
        self.transcript = transcript
        self.lost = lost
        self.opened = opened
        self.strict = strict
        self.payloads: list[bytes] = []
        self.pending: list[str] = []
        self.thinking = False
        self.acked = 0  # events the log has
        self.saved = 0  # events PostgreSQL has
        self.size = self.saved_size = 0  # bytes of the events, and of those that PostgreSQL has
        self.in_flight = False
        self.in_step_until = 0.0  # how long the next event may go the short way, on this connection
        self.ttl_ms = KEEP_TTL
        self.proven_at = now  # when PostgreSQL last confirmed the lease
        self.sent_at = self.saved_at = now
        self.first_token_at: float | None = None

    def say(self, text: str, thinking: bool) -> None:
        """Add a piece of the answer or of the reasoning. It leaves with the next tick."""
        if thinking is not self.thinking:
            self.seal()
            self.thinking = thinking
        self.pending.append(text)

    def add(self, event: Event) -> None:
        """Add a whole event behind everything said."""
        self.seal()
        self.transcript.add(Cursor(self.epoch, len(self.payloads)), event)
        self._append(encode(event))

    def seal(self) -> None:
        """Make one event of what was said since the last one."""
        if self.pending:
            said = "".join(self.pending)
            self.pending.clear()
            self.transcript.say(said, self.thinking)
            self._append(encode_said(Reasoning if self.thinking else Token, said))
            if self.first_token_at is None:
                self.first_token_at = monotonic()

    def _append(self, payload: bytes) -> None:
        self.payloads.append(payload)
        self.size += len(payload)

    def first_token_age(self, at: float) -> float | None:
        """Seconds from this draft's first piece to ``at``; None before it."""
        return None if self.first_token_at is None else at - self.first_token_at

    @property
    def sendable(self) -> int:
        """How many events may be visible: in strict mode only what is durable."""
        return self.saved if self.strict else len(self.payloads)


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
        self._url = redis_url
        self._log = log
        self._tick = tick
        self._self_fence = self_fence
        self._reopen = reopen
        self._drafts: dict[str, Draft] = {}
        self._dirty: set[Draft] = set()
        self._pipe: Pipe | None = None
        self._flush_at: asyncio.TimerHandle | None = None
        self._last_flush = 0.0
        self._oldest_unanswered: float | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Connect, and keep connected; keep asking for the silent ones."""
        self._spawn(self._stay_connected())
        self._spawn(self._poke())

    async def close(self) -> None:
        """Stop sending."""
        for task in list(self._tasks):
            task.cancel()
        if self._pipe:
            self._pipe.close()

    @property
    def is_connected(self) -> bool:
        """Whether Redis answered lately."""
        return self._line is not None

    @property
    def _line(self) -> Pipe | None:
        """The connection, if it can be written to: between its end and our noticing it cannot."""
        return self._pipe if self._pipe is not None and self._pipe.is_open else None

    def enter(self, draft: Draft) -> None:
        """Take a draft on."""
        self._drafts[draft.claimed.lease.generation_id] = draft
        if not draft.opened:
            self._spawn(self._open(draft))
        self.touch(draft)

    def leave(self, draft: Draft) -> None:
        """Let a draft go; what it has not sent is not sent."""
        self._dirty.discard(draft)
        if self._drafts.get(draft.claimed.lease.generation_id) is draft:
            del self._drafts[draft.claimed.lease.generation_id]

    def touch(self, draft: Draft) -> None:
        """There is something new to send: at once when the line was quiet, with the next tick otherwise."""
        self._dirty.add(draft)
        if self._flush_at is None:
            loop = asyncio.get_running_loop()
            self._flush_at = loop.call_at(max(loop.time(), self._last_flush + self._tick), self._flush)

    async def drain(self, draft: Draft, patience: float) -> bool:
        """Wait until the log has everything of a draft; False when that takes longer than ``patience`` seconds."""
        draft.seal()
        self.touch(draft)
        until = monotonic() + patience
        while draft.acked < len(draft.payloads):
            if monotonic() >= until:
                return False
            await asyncio.sleep(self._tick / 2)
        return True

    async def finish(self, draft: Draft, done: bytes, patience: float) -> bool:
        """Append the committed end and let the log expire in its time."""
        draft.payloads.append(done)
        draft.saved = len(draft.payloads)
        draft.proven_at = monotonic()  # by the commit
        draft.ttl_ms = FINISHED_TTL_MS
        return await self.drain(draft, patience)

    def _flush(self) -> None:
        """One write for everything that became sendable. This is the token path: no await, no allocation to spare."""
        self._flush_at = None
        self._last_flush = asyncio.get_running_loop().time()
        pipe = self._line
        now = monotonic()
        written = 0
        adding: list[bytes] = []
        appending: list[bytes] = []
        adders: list[Draft] = []
        appenders: list[Draft] = []
        dirty, self._dirty = self._dirty, set()
        for draft in dirty:
            if draft.in_flight:
                continue  # comes back with the reply; all that is said until then is one event
            if draft.pending:
                draft.seal()
            acked, sendable = draft.acked, draft.sendable
            if pipe is None or not draft.opened or acked >= sendable:
                continue  # comes back with the connection, the opening or the checkpoint
            if now - draft.proven_at > self._self_fence:
                continue  # silent until PostgreSQL confirms the lease
            if sendable - acked == 1 and now < draft.in_step_until and draft.ttl_ms == KEEP_TTL:
                adding.append(draft.short_way.adding(acked, draft.payloads[acked]))
                adders.append(draft)
            else:
                appending.append(self._append(draft, draft.payloads[acked:sendable], draft.ttl_ms))
                appenders.append(draft)
            draft.in_flight, draft.sent_at = True, now
            written += sendable - acked
        if written:
            assert pipe, "nothing is composed without a connection"
            self._oldest_unanswered = self._oldest_unanswered or now
            # One callback for all replies: the token path makes nothing that the collector of garbage would count.
            if adders:
                pipe.write(adding, len(adders), partial(self._receive_added, iter(adders)))
            if appenders:
                pipe.write(appending, len(appenders), partial(self._receive, iter(appenders)))
            metrics.EVENTS_WRITTEN.inc(written)

    def _append(self, draft: Draft, payloads: list[bytes], ttl_ms: int) -> bytes:
        return packed(appending(draft.keys, draft.epoch, draft.acked, payloads, ttl_ms))

    def _tell(self, untold: list[bytes]) -> None:
        """Publish what was added, by commands of the short way."""
        pipe = self._line
        if untold and pipe is not None:  # without it they are not heard of before the log is read
            pipe.write(untold, len(untold), self._on_told)

    def _on_told(self, replies: list[Reply]) -> None:
        if refused := [reply for reply in replies if isinstance(reply, hiredis.ReplyError)]:
            self._refused(refused[0])

    def _on_pong(self, _: list[Reply]) -> None:
        self._oldest_unanswered = None

    def _receive_added(self, drafts: Iterator[Draft], replies: list[Reply]) -> None:
        """The answers to plain XADDs: an id for each event that is in the log."""
        self._oldest_unanswered = None
        untold: list[bytes] = []
        # Strictly in this order: what is not answered yet stays in the iterator.
        for reply, draft in zip(replies, drafts, strict=False):
            draft.in_flight = False
            if isinstance(reply, bytes):
                untold.append(draft.short_way.telling(reply, draft.payloads[draft.acked]))
                draft.acked += 1
                if draft.pending or draft.acked < draft.sendable:
                    self.touch(draft)
            elif is_out_of_step(reply):
                draft.in_step_until = 0.0  # fenced, lost or behind: append.lua says which
                self.touch(draft)
            else:
                self._refused(reply)
        self._tell(untold)

    def _receive(self, drafts: Iterator[Draft], replies: list[Reply]) -> None:
        """The answers of append.lua."""
        self._oldest_unanswered = None
        now = monotonic()
        for reply, draft in zip(replies, drafts, strict=False):
            draft.in_flight = False
            if isinstance(reply, hiredis.ReplyError):
                self._refused(reply)
            else:
                self._obey(draft, parse_answer(reply), now)

    def _refused(self, error: Reply) -> None:
        # NOSCRIPT after a restart, OOM, a replica, loading: connect anew, resend after a pause.
        _log.warning("log refused a write", action="append", error=str(error).split("\n")[0][:200])
        self._break()

    def _obey(self, draft: Draft, answer: Answer, now: float) -> None:
        generation_id = draft.claimed.lease.generation_id
        if self._drafts.get(generation_id) is not draft:
            return  # it has left; its run may be writing the next revision, which is why this one is refused
        draft.in_step_until = now + IN_STEP_SECONDS if answer.verdict == "OK" else 0.0
        match answer.verdict:
            case "OK" | "GAP":
                draft.acked = answer.top + 1
                if answer.verdict == "GAP":
                    _log.warning("log lost a suffix", action="resend", generation_id=generation_id, top=answer.top)
                if draft.pending or draft.acked < draft.sendable:
                    self.touch(draft)
            case "FENCED":
                draft.lost(LeaseLost(generation_id))
            case "LOST" | "UNOPENED":
                _log.warning("log lost", action="reopen", generation_id=generation_id, verdict=answer.verdict)
                draft.opened, draft.acked = False, 0
                self._spawn(self._open(draft))

    async def _open(self, draft: Draft) -> None:
        """Open the revision again, after proving the lease; resend all of it."""
        pause = 0.1
        while self._drafts.get(draft.claimed.lease.generation_id) is draft:
            if self._line is None:  # opened or not, nothing could be written
                await asyncio.sleep(pause)
                continue
            try:
                await self._reopen(draft.claimed)
            except LeaseLost as lost:
                draft.lost(lost)
                return
            except UnbrokenError:
                await asyncio.sleep(pause)
                pause = min(pause * 2, 1.0)
                continue
            draft.opened, draft.acked, draft.proven_at = True, 0, monotonic()
            self.touch(draft)
            return

    async def _poke(self) -> None:
        """Ask for the silent ones whether they are still wanted, and notice a Redis that does not answer."""
        while True:
            await asyncio.sleep(POKE_SECONDS / 2)
            now = monotonic()
            if self._oldest_unanswered and now - self._oldest_unanswered > REPLY_SECONDS:
                _log.warning("log does not answer", action="reconnect")
                self._break()
            pipe = self._line
            if pipe is None:
                continue
            silent = [
                draft
                for draft in self._drafts.values()
                if draft.opened and not draft.in_flight and now - draft.sent_at >= POKE_SECONDS
            ]
            if not silent and self._oldest_unanswered is None:
                # Also who has nothing to say has to know whether anybody would hear it.
                self._oldest_unanswered = now
                pipe.write([packed(("PING",))], 1, self._on_pong)
            if not silent:
                continue
            commands = [self._append(draft, [], RUNNING_TTL_MS) for draft in silent]
            for draft in silent:
                draft.in_flight, draft.sent_at = True, now
            self._oldest_unanswered = self._oldest_unanswered or now
            pipe.write(commands, len(silent), partial(self._receive, iter(silent)))

    async def _stay_connected(self) -> None:
        pause = 0.05
        while True:
            began, lost = monotonic(), asyncio.Event()
            try:
                pipe = await self._connect(lost.set)
            except (LogDown, hiredis.HiredisError) as error:
                _log.warning("log is away", action="connect", error=str(error)[:200])
                await asyncio.sleep(pause)
                pause = min(pause * 2, 1.0)
                continue
            self._pipe, self._oldest_unanswered = pipe, None
            for draft in self._drafts.values():
                self.touch(draft)
            await lost.wait()
            self._pipe = None
            for draft in self._drafts.values():
                draft.in_flight, draft.in_step_until = False, 0.0
            # A server that accepts and then refuses (loading, out of memory) is asked ever more slowly.
            pause = 0.05 if monotonic() - began > 5 else min(pause * 2, 1.0)
            await asyncio.sleep(pause)

    async def _connect(self, on_lost: Callable[[], None]) -> Pipe:
        """A connection to a server that knows append.lua. Raises LogDown, HiredisError."""
        pipe = await Pipe.connect(self._url, on_lost)
        try:
            await pipe.ask("SCRIPT", "LOAD", APPEND.source)
        except BaseException:
            pipe.close()
            raise
        return pipe

    def _break(self) -> None:
        self._oldest_unanswered = None
        if self._pipe:
            self._pipe.close()

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
