"""The event log of a generation in Redis: fenced appends, ordered reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha1
from importlib import resources
from typing import Any, Literal, NamedTuple, Protocol

import redis

from app.domain.cursor import START, Cursor
from app.domain.errors import LogDown
from app.domain.events import NOTICE, Entry

Verdict = Literal["OK", "FENCED", "UNOPENED", "GAP", "LOST"]

# Milliseconds. A running log outlives every pause of its worker; a finished one serves readers before the archive does.
RUNNING_TTL_MS = 24 * 3600 * 1000
FINISHED_TTL_MS = 3600 * 1000
KEEP_TTL = 0
PAGE = 5000


class AppendResult(NamedTuple):
    """The result of an append: a verdict, and the newest ``n`` of the revision, or the open epoch when refused."""

    verdict: Verdict
    top: int


class Keys(NamedTuple):
    """The keys and the channel of a generation in Redis; described in append.lua."""

    log: bytes
    meta: bytes
    channel: bytes


class Script(NamedTuple):
    """A Lua script and the digest Redis knows it by."""

    source: bytes
    digest: bytes

    @classmethod
    def load(cls, name: str) -> Script:
        """Read a script that lies beside this module."""
        return cls.of(resources.files("app.eventlog").joinpath(name).read_bytes())

    @classmethod
    def of(cls, source: bytes) -> Script:
        """A script from somewhere else."""
        return cls(source, sha1(source, usedforsecurity=False).hexdigest().encode())


APPEND = Script.load("append.lua")
OPEN = Script.load("open.lua")


def append_command(
    keys: Keys, epoch: int, first: int, payloads: Sequence[bytes], ttl_ms: int = KEEP_TTL
) -> tuple[Any, ...]:
    """The command of RedisLog.append, for a writer of many logs at once."""
    return ("EVALSHA", APPEND.digest, 2, keys.log, keys.meta, keys.channel, epoch, first, ttl_ms, *payloads)


def xadd_command(keys: Keys, epoch: int, n: int, payload: bytes) -> tuple[Any, ...]:
    """The command that adds the next event, as append.lua allows it. The reply is the event's id; None when there is no
    log; an error for which ``is_out_of_step`` is true when the id cannot follow.
    """
    return ("XADD", keys.log, b"NOMKSTREAM", b"%d-%d" % (epoch, n), b"e", payload)


def is_out_of_step(reply: Any) -> bool:
    """True for a reply to ``xadd_command`` that shows another position of the log than its writer expected."""
    return reply is None or "equal or smaller" in str(reply)


def publish_command(keys: Keys, position: bytes, payload: bytes) -> tuple[Any, ...]:
    """The command that publishes an event which has been added."""
    return ("PUBLISH", keys.channel, b"%b %b" % (position, payload))


class FastAppend:
    """``xadd_command`` and ``publish_command`` of one revision, encoded for the wire."""

    __slots__ = ("_add", "_epoch", "_tell")

    def __init__(self, keys: Keys, epoch: int) -> None:
        self._epoch = epoch
        self._add = b"*6\r\n$4\r\nXADD\r\n$%d\r\n%b\r\n$10\r\nNOMKSTREAM\r\n" % (len(keys.log), keys.log)
        self._tell = b"*3\r\n$7\r\nPUBLISH\r\n$%d\r\n%b\r\n" % (len(keys.channel), keys.channel)

    def xadd(self, n: int, payload: bytes) -> bytes:
        """See ``xadd_command``."""
        position = b"%d-%d" % (self._epoch, n)
        parts = (self._add, len(position), position, len(payload), payload)
        return b"%b$%d\r\n%b\r\n$1\r\ne\r\n$%d\r\n%b\r\n" % parts

    def publish(self, position: bytes, payload: bytes) -> bytes:
        """See ``publish_command``."""
        return b"%b$%d\r\n%b %b\r\n" % (self._tell, len(position) + 1 + len(payload), position, payload)


class EventLog(Protocol):
    """A log of events, in Redis or in memory. One suite tests both."""

    def open(self, generation_id: str, epoch: int) -> AppendResult: ...

    def append(
        self, generation_id: str, epoch: int, first: int, payloads: Sequence[bytes], ttl_ms: int = KEEP_TTL
    ) -> AppendResult: ...

    def read(self, generation_id: str, after: Cursor = START, limit: int = PAGE) -> list[Entry]: ...

    def unlink(self, generation_ids: Sequence[str]) -> None: ...


class RedisLog:
    """The log on a Redis-compatible server. Every method raises LogDown when the server does not answer in time.

    ``client`` must not retry by itself: after a lost reply, it would append twice.
    """

    def __init__(self, client: redis.Redis, namespace: str) -> None:
        self._client = client
        self._namespace = namespace.encode()
        # Raw replies: redis-py would build a dictionary for every entry of a page.
        client.set_response_callback("XRANGE", _raw)

    def keys(self, generation_id: str) -> Keys:
        """The keys and the channel of a generation."""
        base = b"%b:{%b}:" % (self._namespace, generation_id.encode())
        return Keys(base + b"log", base + b"meta", base + b"live")

    def open(self, generation_id: str, epoch: int) -> AppendResult:
        """Open revision ``epoch``; earlier ones are fenced from here on. OK or FENCED."""
        keys = self.keys(generation_id)
        return self._run(OPEN, keys, [epoch, RUNNING_TTL_MS])

    def append(
        self, generation_id: str, epoch: int, first: int, payloads: Sequence[bytes], ttl_ms: int = KEEP_TTL
    ) -> AppendResult:
        """Append ``payloads`` as events ``first``, ``first + 1``, … of revision ``epoch``. Safe to repeat."""
        keys = self.keys(generation_id)
        return self._run(APPEND, keys, [keys.channel, epoch, first, ttl_ms, *payloads])

    def read(self, generation_id: str, after: Cursor = START, limit: int = PAGE) -> list[Entry]:
        """Up to ``limit`` entries past ``after``, in order. Empty when there is nothing, or no log."""
        with redis_errors():
            rows = self._client.execute_command(
                "XRANGE", self.keys(generation_id).log, f"({after}", "+", "COUNT", limit
            )
        return [Entry(parse_id(row[0]), row[1][1]) for row in rows]

    def unlink(self, generation_ids: Sequence[str], others: Sequence[str] = ()) -> None:
        """Remove the logs of generations, and other keys with them, in one command. Redis frees the memory later.

        A worker that appends to a removed log gets LOST, and has to prove its lease.
        """
        keys = [key for one in generation_ids for key in self.keys(one)[:2]]
        if keys or others:
            with redis_errors():
                self._client.unlink(*keys, *others)

    def publish_notice(self, generation_id: str, block: bytes) -> None:
        """Send a notice to the readers that follow a generation now. The log does not keep it."""
        with redis_errors():
            self._client.publish(self.keys(generation_id).channel, NOTICE + block)

    def _run(self, script: Script, keys: Keys, args: Sequence[Any]) -> AppendResult:
        with redis_errors():
            try:
                reply = self._client.execute_command("EVALSHA", script.digest, 2, keys.log, keys.meta, *args)
            except redis.exceptions.NoScriptError:
                reply = self._client.execute_command("EVAL", script.source, 2, keys.log, keys.meta, *args)
        return parse_result(reply)


def parse_result(reply: Any) -> AppendResult:
    """A script's reply as it comes over the wire."""
    return AppendResult(reply[0].decode(), int(reply[1]))


def parse_id(raw: bytes) -> Cursor:
    """A stream id as Redis writes it, unchecked."""
    epoch, _, n = raw.partition(b"-")
    return Cursor(int(epoch), int(n))


@contextmanager
def redis_errors() -> Iterator[None]:
    """Raise LogDown for an error of the client library."""
    try:
        yield
    except redis.RedisError as error:
        raise LogDown(f"Redis does not answer: {type(error).__name__}") from error


def _raw(reply: Any, **_: Any) -> Any:
    return reply
