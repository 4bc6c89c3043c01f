"""The built-in model: no network, no key, the same answer for the same conversation.

``parameters`` it knows: ``max_tokens`` / ``max_completion_tokens`` (stop early, finish reason ``length``), and for
tests ``tokens`` (exact number of pieces) and ``rate`` (pieces a second; 0 = without waiting). Tools that are
offered are called when the last message asks for them in so many words (offline_tools.py).
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import re
from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import Any

import orjson

from app.domain.answer_format import simple_answer
from app.domain.json_example import NoExample
from worker.providers.base import ChatMessage, Emit, Finished, Prompt, ProviderError, Text, Thought, Usage
from worker.providers.offline import tools as offline_tools
from worker.providers.offline.text import answer, thoughts

RATE = 40.0
# A promise of the interface is 200 events; the rest is for pieces that share an event on a busy machine.
MIN_PIECES = 260
MAX_PIECES = 200_000

_PIECE = re.compile(r"\s*\S{1,12}|\s+")
_THINK = re.compile(r"\b(think|reason|step by step)", re.IGNORECASE)


class Offline:
    """A Provider. ``rate`` is in pieces a second; None yields as fast as the loop allows."""

    continues = True

    def __init__(self, rate: float | None = RATE) -> None:
        self._rate = rate

    async def stream(self, prompt: Prompt, emit: Emit) -> None:
        """See Provider.stream. One piece per list. Raises ProviderError for a form that it cannot answer in."""
        rate = _number(prompt.parameters, "rate")
        pace = _Pace(self._rate if rate is None else rate)
        asked = sum(len(split(message.content)) for message in prompt.messages)
        if calls := offline_tools.wanted(prompt):
            emit([*calls])
            emit([Finished("tool_calls", Usage(asked, len(calls)))])
            return
        told = 0
        for piece in _thinking(prompt):
            await pace.wait(emit([piece]))
            told += 1
        try:
            remaining, finish_reason = _remaining(prompt)
        except NoExample:
            message = "The built-in model cannot make a value of the form that was requested."
            raise ProviderError("upstream_rejected", message, retryable=False) from None
        for text in remaining:
            await pace.wait(emit([Text(text)]))
            told += 1
        emit([Finished(finish_reason, Usage(asked, told))])

    async def close(self) -> None:
        """Nothing is held."""


class _Pace:
    """Waits until the next piece is due, by the clock and not by the last wait, so that lateness does not add up."""

    __slots__ = ("_due", "_interval", "_loop")

    def __init__(self, rate: float | None) -> None:
        self._loop = asyncio.get_running_loop()
        self._interval = 1 / rate if rate else 0.0
        self._due = self._loop.time()

    async def wait(self, room: asyncio.Future[None] | None) -> None:
        """``room``: what the listener returned, who may have none."""
        if room is not None:
            await room
        self._due += self._interval
        # Zero still lets the loop serve the others.
        await asyncio.sleep(max(0.0, self._due - self._loop.time()) if self._interval else 0)


def split(text: str) -> list[str]:
    """The pieces of a text: words with the space before them, long ones in parts."""
    return _PIECE.findall(text)


def full_answer(prompt: Prompt) -> list[str]:
    """All pieces of the answer to this conversation, whatever part of it was given already."""
    if prompt.answer_format is not None:
        return split(orjson.dumps(simple_answer(prompt.answer_format), option=orjson.OPT_INDENT_2).decode())
    wanted = _number(prompt.parameters, "tokens")
    exact = None if wanted is None else min(int(wanted), MAX_PIECES)
    pieces = split(offline_tools.told(prompt.messages))
    for section in answer(prompt.messages, _dice(prompt.messages, "answer")):
        pieces += split(section)
        if len(pieces) >= (MIN_PIECES if exact is None else exact):
            break
    return pieces[:exact]


def _remaining(prompt: Prompt) -> tuple[list[str], str]:
    pieces = full_answer(prompt)
    limit = _number(prompt.parameters, "max_completion_tokens")
    if limit is None:
        limit = _number(prompt.parameters, "max_tokens")
    finish_reason = "stop"
    if limit is not None and limit < len(pieces):
        pieces = pieces[: int(limit)]
        finish_reason = "length"
    return _behind(pieces, prompt.prefix), finish_reason


def _behind(pieces: list[str], prefix: str) -> list[str]:
    """The pieces that follow ``prefix``; a new beginning when it is not ours."""
    if not prefix:
        return pieces
    if not "".join(pieces).startswith(prefix):
        return ["\n\n", *pieces]
    for i, end in enumerate(accumulate(map(len, pieces))):
        if end > len(prefix):
            return [pieces[i][len(prefix) - end :], *pieces[i + 1 :]]
    return []


def _thinking(prompt: Prompt) -> Iterator[Thought]:
    question = next((m.content for m in reversed(prompt.messages) if m.role == "user"), "")
    if not prompt.prefix and _THINK.search(question):
        yield from map(Thought, split(thoughts(prompt.messages, _dice(prompt.messages, "thoughts"))))


def _dice(messages: tuple[ChatMessage, ...], purpose: str) -> random.Random:
    digest = hashlib.sha256(purpose.encode())
    for message in messages:
        for part in (message.role, message.content):
            encoded = part.encode("utf-8", "surrogatepass")
            digest.update(b"%d:" % len(encoded) + encoded)
        for file in message.files:
            digest.update(f"{file.filename}:{file.size}".encode())
    return random.Random(digest.digest())


def _number(parameters: Mapping[str, Any], name: str) -> float | None:
    value = parameters.get(name)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0:
        return float(value)
    return None
