"""Transcripts of chat completions, and mutations of them that real servers and networks make.

A mutation adds what the specification allows a client to ignore, cuts, reorders, repeats ends, or encodes. None of them
changes what an answer says: a reader either comes to what the transcript says, or reports a failure.
"""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from app.domain.decompression import Decoder
from tests.outcome import summary
from worker.attempts import EndedCall, record
from worker.providers.base import Piece, Text, Thought
from worker.providers.chat.completions import AnswerReader
from worker.providers.http.charset import Recoder
from worker.retry_policy import Rules, may_retry

FOLDER = Path(__file__).parent.parent / "transcripts" / "chat"
# The law of retries: an answer is requested so often at most.
MOST_CALLS = 3

# What a client may ignore, between the events of a stream.
JUNK = [
    b": comment\n\n", b": comment\n", b"\n\n\n", b"data:\n\n", b"data: null\n\n", b"data: []\n\n", b'data: "ping"\n\n',
    b"data: keep-alive\n\n", b'data: {"type":"ping"}\n\n', b"data: {}\n\n", b"id: 7\n", b"retry: 3000\n",
    b"mood: blue\n",
    b"event: ping\ndata: {}\n\n", b'data: {"choices":[]}\n\n', b'data: {"choices":null,"id":"x"}\n\n', b"mood\n",
    b'data: {"choices":[{"index":0,"delta":{},"finish_reason":null}]}\n\n', b"data: 17\n\n", b"event: ping\n\n",
    b'data: {"choices":[{"index":1,"delta":{"content":"other"},"finish_reason":"stop"}]}\n\n',
]  # fmt: skip
# What comes behind an end that has been said.
BEHIND = [
    b"data: [DONE]\n\n", b'data: "[DONE]"\n\n', b"data: DONE\n\n", b"data: null\n\n", b"data: {broken\n\n",
    b'data: {"error":{"message":"late","code":500}}\n\n', b"event: error\ndata: late\n\n", b"<html>\n\n",
    b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n', b"\x00\xff\xfe", b'data: {"choices":[{"d',
    b'data: {"choices":3}\n\n',
]  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One transcript: the body as it comes, and what it says."""

    name: str

    @cached_property
    def body(self) -> bytes:
        return (FOLDER / f"{self.name}.sse").read_bytes()

    @cached_property
    def expected(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((FOLDER / f"{self.name}.json").read_text())
        return found

    @cached_property
    def events(self) -> list[bytes]:
        """The events of a stream that is framed by blank lines; empty for any other body."""
        events = self.body.split(b"\n\n")
        is_plain = b"\r" not in self.body and events[-1] == b"" and all(e[:1] in b"de:" for e in events[:-1])
        return [event + b"\n\n" for event in events[:-1]] if is_plain else []

    @property
    def fails(self) -> bool:
        return self.expected["error"] is not None


CASES = [Case(path.stem) for path in sorted(FOLDER.glob("*.sse"))]


def read(parts: Iterable[bytes]) -> tuple[AnswerReader, list[Piece]]:
    """The pieces of a body that comes in these parts and then ends."""
    reader = AnswerReader()
    pieces: list[Piece] = []
    for part in parts:
        if reader.done:
            break
        pieces += reader.feed(part)
    if not reader.done:
        pieces += reader.close()
    return reader, pieces


@dataclass
class Mutation:
    """A mutated body in the parts it comes in. ``may_fail``: something was lost, so that a failure is right."""

    case: Case
    body: bytes
    steps: list[str] = field(default_factory=list)
    may_fail: bool = False
    parts: list[bytes] = field(default_factory=list)

    def check(self, reader: AnswerReader, pieces: Sequence[Piece]) -> None:
        """Assert the law of the reader."""
        assert reader.done, self.steps
        found = summary(reader, pieces)
        for name in ("text", "reasoning", "tools", "finish_reason"):
            if reader.failure is None:
                assert not self.case.fails, self.steps
                assert found[name] == self.case.expected[name], (name, self.steps)
        if not self.may_fail:
            assert found["error"] == self.case.expected["error"], self.steps


def calls_of(case: Case, chance: random.Random) -> int:
    """The number of requests for an answer whose upstream sends a mutation of the transcript each time."""
    made: list[Any] = []
    again = mutated(case, chance)
    while True:
        mutation = again if chance.random() < 0.5 else mutated(case, chance)
        reader, pieces = read(mutation.parts)
        mutation.check(reader, pieces)
        error = reader.failure
        if error is None:
            return len(made) + 1
        said = sum(len(piece.text) for piece in pieces if isinstance(piece, (Text, Thought)))
        call = EndedCall(1, "m", 0.1, said > 0, 5, said, error.usage, error)
        made.append(record(len(made) + 1, call))
        if not may_retry(made, error, Rules(5, ("continue", "restart"), False)):
            return len(made)


def mutated(case: Case, chance: random.Random) -> Mutation:
    """A mutation of a transcript, by as many steps as chance decides."""
    mutation = Mutation(case, case.body)
    if case.events:
        mutation.body = b"".join(_rearranged(mutation, list(case.events), chance))
        for change in chance.sample(_FRAMINGS, chance.randint(0, 1)):
            change(mutation, chance)
    if chance.random() < 0.35:
        _cut(mutation, chance)
    mutation.parts = _split(mutation.body, chance)
    if chance.random() < 0.3:
        chance.choice(_ENCODINGS)(mutation, chance)
    return mutation


def _rearranged(mutation: Mutation, events: list[bytes], chance: random.Random) -> list[bytes]:
    ends = [at for at, event in enumerate(events) if b'"finish_reason":"' in event and b'"error"' not in event]
    if not mutation.case.fails and ends:
        final = events[ends[-1]]
        if chance.random() < 0.3:
            events = _usage_first(mutation, events, ends[-1])
        if chance.random() < 0.4:
            mutation.steps.append("behind")
            events = [event for event in events if b"[DONE]" not in event]
            events += [chance.choice(BEHIND) for _ in range(chance.randint(1, 4))]
        if chance.random() < 0.2:
            mutation.steps.append("end twice")
            events.append(final)
    if chance.random() < 0.7:
        mutation.steps.append("junk")
        for _ in range(chance.randint(1, 6)):
            events.insert(chance.randint(0, len(events)), chance.choice(JUNK))
    return events


def _usage_first(mutation: Mutation, events: list[bytes], end: int) -> list[bytes]:
    usages = [at for at, event in enumerate(events) if at > end and b'"choices":[],' in event]
    if usages:
        mutation.steps.append("usage first")
        usage = events.pop(usages[0])
        events.insert(0, usage)
    return events


def _line_feeds(mutation: Mutation, chance: random.Random) -> None:
    # Without blank lines the name of an event would be that of the next one, too.
    if b"event:" not in mutation.body and b"error:" not in mutation.body and b"mood" not in mutation.body:
        mutation.steps.append("single line feeds")
        mutation.body = mutation.body.replace(b"\n\n", b"\n")


def _carriage_returns(mutation: Mutation, chance: random.Random) -> None:
    mutation.steps.append("carriage returns")
    mutation.body = mutation.body.replace(b"\n", chance.choice([b"\r\n", b"\r"]))


def _mark(mutation: Mutation, chance: random.Random) -> None:
    mutation.steps.append("mark")
    mutation.body = b"\xef\xbb\xbf" + mutation.body


def _no_space(mutation: Mutation, chance: random.Random) -> None:
    mutation.steps.append("no space")
    mutation.body = mutation.body.replace(b"data: ", b"data:")


_FRAMINGS: list[Callable[[Mutation, random.Random], None]] = [_line_feeds, _carriage_returns, _mark, _no_space]


def _cut(mutation: Mutation, chance: random.Random) -> None:
    at = chance.randint(0, len(mutation.body))
    mutation.steps.append(f"cut at {at}")
    mutation.body = mutation.body[:at]
    mutation.may_fail = True


def _split(body: bytes, chance: random.Random) -> list[bytes]:
    edges = sorted(chance.choices(range(len(body) + 1), k=chance.randint(0, 12)))
    return [body[a:b] for a, b in zip([0, *edges], [*edges, len(body)], strict=True)]


def _gzip(mutation: Mutation, chance: random.Random) -> None:
    """Compress the body, as one member or one for each part, with a label or without."""
    mutation.steps.append("gzip")
    parts = mutation.parts if chance.random() < 0.5 else [mutation.body]
    packed = b"".join(map(gzip.compress, filter(None, parts)))
    decoder = Decoder(chance.choice(["gzip", "GZIP", "x-gzip", ""]))
    mutation.parts = []
    for part in _split(packed, chance):
        decoder.feed(part)
        while decoder.pending:
            mutation.parts.append(decoder.step())
    mutation.parts.append(decoder.close())


def _charset(mutation: Mutation, chance: random.Random) -> None:
    """Send the body in another charset, or under a label that is wrong."""
    text = mutation.body.decode("utf-8", "replace")
    if "\ufffd" in text:
        return
    charset = chance.choice(["gbk", "gb18030", "big5", "shift_jis", "utf-16", "latin-1"])
    mutation.steps.append(charset)
    try:
        sent = text.encode(charset)
    except UnicodeEncodeError:
        sent = mutation.body  # the label is wrong
    recoder = Recoder(charset, 1_000_000)
    mutation.parts = [*map(recoder.feed, _split(sent, chance)), recoder.close()]


_ENCODINGS = [_gzip, _charset]
