"""The events of a generation's log: their shapes, and the one way to write and read them.

An event is encoded once, by the worker, and travels as those bytes through Redis, PostgreSQL and SSE.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import orjson

from app.domain.cursor import Cursor

SnapshotReason = Literal["start", "takeover", "continue", "restart", "cancel"]
ToolState = Literal["started", "finished", "failed"]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """First event of every revision: everything shown so far, and why a new revision began."""

    text: str
    reason: SnapshotReason
    attempt: int
    reasoning: str = ""


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of the answer: what the provider sent within one tick."""

    content: str


@dataclass(frozen=True, slots=True)
class Reasoning:
    """A piece of the model's reasoning."""

    content: str


@dataclass(frozen=True, slots=True)
class Tool:
    """A change in a tool call's life. ``arguments`` is JSON text as the model wrote it."""

    call_id: str
    tool: str
    state: ToolState
    arguments: str = ""
    result: str | None = None


@dataclass(frozen=True, slots=True)
class Mark:
    """The provider has finished; on the wire its type is ``usage``. Only the commit is missing."""

    finish_reason: str
    usage: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Done:
    """The end, sent only after the commit. ``sha256`` is of the content as UTF-8, in hex."""

    status: Literal["completed", "error", "cancelled"]
    finish_reason: str | None
    usage: dict[str, Any] | None
    sha256: str
    error: dict[str, Any] | None = None


Event = Snapshot | Token | Reasoning | Tool | Mark | Done

KINDS: dict[str, type[Event]] = {
    "snapshot": Snapshot,
    "token": Token,
    "reasoning": Reasoning,
    "tool": Tool,
    "usage": Mark,
    "done": Done,
}
# How a message on a log's channel begins that is to be sent to its readers as it is: neither event nor doorbell.
NOTICE = b"!"
NAMES: dict[type[Event], str] = {kind: name for name, kind in KINDS.items()}
# Fields that are left out of the JSON while they say nothing.
_OPTIONAL = {"reasoning": "", "result": None, "error": None}
# What stands before the text of the two events that are nearly all there are.
_SAYING = {kind: b'{"type":"%b","content":' % NAMES[kind].encode() for kind in (Token, Reasoning)}
# What stands between the line before and such an event's text, and what is packed in its place. No line begins so.
_END = b'"}\n'
_SEAMS = {b'\n"': _END + _SAYING[Token] + b'"', b"\n'": _END + _SAYING[Reasoning] + b'"'}


class Entry(NamedTuple):
    """One line of a log: its position and its encoded event."""

    cursor: Cursor
    payload: bytes


def encode(event: Event) -> bytes:
    """One line of JSON, UTF-8, the same bytes for the same event."""
    if isinstance(event, (Token, Reasoning)):
        return encode_said(type(event), event.content)
    body: dict[str, Any] = {"type": NAMES[type(event)]}
    for name in event.__slots__:
        value = getattr(event, name)
        if name not in _OPTIONAL or value != _OPTIONAL[name]:
            body[name] = value
    return orjson.dumps(body)


def encode_said(kind: type[Token] | type[Reasoning], text: str) -> bytes:
    """The same for a piece of the answer or of the reasoning that nobody needs as an event."""
    return b"%b%b}" % (_SAYING[kind], orjson.dumps(text))


def decode(payload: bytes) -> Event:
    """The event in ``payload``. Raises KeyError for a type that does not exist."""
    body = orjson.loads(payload)
    return KINDS[body.pop("type")](**body)


def pack(payloads: Sequence[bytes]) -> bytes:
    """Consecutive encoded events as one compressed body, for a checkpoint row or an archive."""
    lines = _END + b"\n".join(payloads)
    for sign, seam in _SEAMS.items():
        lines = lines.replace(seam, sign)
    # The tables of a whole window are 256 kB to clear; for a checkpoint that takes longer than the compression.
    window, memory = (12, 5) if len(lines) <= 4096 else (15, 8)
    packer = zlib.compressobj(3, zlib.DEFLATED, window, memory)
    return packer.compress(lines) + packer.flush()


def unpack(body: bytes) -> list[bytes]:
    """The encoded events of a packed body, byte for byte as they were packed.

    Bodies may stand one behind the other, the newest first: a row of checkpoints grows at its beginning.
    """
    newest_first: list[list[bytes]] = []
    while body:
        unpacker = zlib.decompressobj()
        lines = unpacker.decompress(body)
        if not unpacker.eof:
            raise zlib.error("a packed body is incomplete")
        newest_first.append(_apart(lines))
        body = unpacker.unused_data
    return [line for lines in reversed(newest_first) for line in lines]


def _apart(lines: bytes) -> list[bytes]:
    for sign, seam in _SEAMS.items():
        lines = lines.replace(sign, seam)
    # A body of an earlier release begins with its first event and has no seams.
    lines = lines.removeprefix(_END)
    return lines.split(b"\n") if lines else []


def number(epoch: int, first: int, payloads: Iterable[bytes]) -> list[Entry]:
    """Give consecutive positions to ``payloads``, starting at ``<epoch>-<first>``."""
    return [Entry(Cursor(epoch, n), payload) for n, payload in enumerate(payloads, first)]
