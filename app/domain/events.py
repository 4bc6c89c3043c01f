"""The events of a generation's log: their shapes, and the one way to write and read them.

An event is encoded once, by the worker, and travels as those bytes through Redis, PostgreSQL and SSE.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import orjson

from app.domain.cursor import Cursor

SnapshotReason = Literal["start", "takeover", "continue", "restart", "failover", "cancel"]
ToolState = Literal["started", "finished", "failed"]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """First event of every revision: everything shown so far, and why a new revision began."""

    text: str
    reason: SnapshotReason
    attempt: int
    reasoning: str = ""

    @property
    def forgets_calls(self) -> bool:
        """True when the tool calls so far are forgotten; those that still count follow behind the snapshot."""
        return self.reason in ("restart", "failover")


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of the answer: the text that the provider sent within one tick."""

    content: str


@dataclass(frozen=True, slots=True)
class Reasoning:
    """A piece of the model's reasoning."""

    content: str


@dataclass(frozen=True, slots=True)
class Tool:
    """A change in a tool call's life. ``arguments`` is JSON text as the model wrote it.

    ``extra`` is what the upstream gave with the call and wants back unchanged, by the kind of upstream: a thought's
    signature, thinking blocks. It is opaque here, and left out of a later event about a call that has it.
    """

    call_id: str
    tool: str
    state: ToolState
    arguments: str = ""
    result: str | None = None
    extra: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """The text behind this event is a refusal of the model, in the place of an answer."""


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


Event = Snapshot | Token | Reasoning | Tool | Refusal | Mark | Done

KINDS: dict[str, type[Event]] = {
    "snapshot": Snapshot,
    "token": Token,
    "reasoning": Reasoning,
    "tool": Tool,
    "refusal": Refusal,
    "usage": Mark,
    "done": Done,
}
# The beginning of the payload of a generation's last event.
LAST = b'{"type":"done"'
# How a message on a log's channel begins that is to be sent to its readers as it is: neither event nor doorbell.
NOTICE = b"!"
NAMES: dict[type[Event], str] = {kind: name for name, kind in KINDS.items()}
# Fields that are left out of the JSON while they have their default value.
_OPTIONAL = {"reasoning": "", "result": None, "error": None, "extra": None}
# The JSON before the text of tokens and reasoning, which are nearly all events.
_SAYING = {kind: b'{"type":"%b","content":' % NAMES[kind].encode() for kind in (Token, Reasoning)}
# The bytes of such an event before its text, with the opening quote, and behind it.
_TEXT_HEADS = {kind: head + b'"' for kind, head in _SAYING.items()}
_TEXT_TAIL = b'"}'
# What stands between the line before and such an event's text, and what is packed in its place. No line begins so.
_END = b'"}\n'
_SEAMS = {b'\n"': _END + _SAYING[Token] + b'"', b"\n'": _END + _SAYING[Reasoning] + b'"'}
# A log is packed in blocks of about this many bytes. Each ends before the last event's end, where a seam may begin.
BLOCK_BYTES = 262_144
_CUT = len(_END) - 1


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
    """The encoded event of a piece of the answer or of the reasoning, without making the event first."""
    return b"%b%b}" % (_SAYING[kind], orjson.dumps(text))


def escaped_text(payload: bytes, kind: type[Token] | type[Reasoning]) -> bytes | None:
    """The text of an encoded event of this kind, as JSON writes it between the quotes; None for any other event.

    A translator copies it from frame to frame: the text is neither decoded nor encoded again.
    """
    head = _TEXT_HEADS[kind]
    return payload[len(head) : -len(_TEXT_TAIL)] if payload.startswith(head) else None


def decode(payload: bytes) -> Event:
    """The event in ``payload``. Raises KeyError for a type that does not exist."""
    body = orjson.loads(payload)
    return KINDS[body.pop("type")](**body)


def pack(payloads: Sequence[bytes]) -> bytes:
    """Consecutive encoded events as one compressed body, for a checkpoint row or an archive."""
    blocks = _without_seams(payloads)
    first = next(blocks)
    # The tables of a whole window are 256 kB to clear; for a checkpoint that takes longer than the compression.
    window, memory = (12, 5) if len(first) <= 4096 else (15, 8)
    packer = zlib.compressobj(3, zlib.DEFLATED, window, memory)
    return b"".join([packer.compress(first), *map(packer.compress, blocks), packer.flush()])


def _without_seams(payloads: Sequence[bytes]) -> Iterator[bytes]:
    """The lines of a packed body in blocks of about ``BLOCK_BYTES``, so that a large log is not copied as a whole."""
    rest, begin = _END, 0
    while True:
        end, size = begin, 0
        while end < len(payloads) and size < BLOCK_BYTES:
            size += len(payloads[end])
            end += 1
        block = rest + b"\n".join(payloads[begin:end])
        if end < len(payloads):
            # A seam begins with the end of a line: the bytes behind the cut belong to the next block.
            block, rest = block[:-_CUT], block[-_CUT:] + b"\n"
        for sign, seam in _SEAMS.items():
            block = block.replace(seam, sign)
        yield block
        if end == len(payloads):
            return
        begin = end


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
