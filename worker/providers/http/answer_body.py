"""The body of one answer on its way into a reader, to its end: which may come without an end of the body."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Protocol

from worker.limits import Limits
from worker.providers.base import ALIVE, Emit, Piece, ProviderError, Usage
from worker.providers.http.charset import Recoder, charset_of, marked
from worker.providers.http.interface import Answer, HttpFailure, Sink, content_type

# An answer whose text is complete ends after so many seconds, if neither an end of the body nor anything more comes.
FINISH_SECONDS = 1.5
# The wait takes at most this share of the longest silence: an answer that is complete must not count as a silent one.
FINISH_SHARE = 0.75


class BodyReader(Protocol):
    """Reads the body of one answer. It raises nothing: an error is in ``failure``, after the pieces before it."""

    @property
    def done(self) -> bool:
        """True when nothing more can follow. Then the last piece was a Finished, or ``failure`` is set."""
        ...

    @property
    def failure(self) -> ProviderError | None:
        """The error the answer ended with."""
        ...

    @property
    def finish_seen(self) -> bool:
        """True when the text is complete, even if the rest of the body is lost."""
        ...

    @property
    def usage(self) -> Usage | None:
        """The usage that the upstream has reported until now; None before its first report."""
        ...

    def feed(self, data: bytes) -> list[Piece]:
        """The pieces of one network read; the list is the caller's."""
        ...

    def feed_document(self, body: bytes) -> list[Piece]:
        """The pieces of a whole answer in one JSON document, from an upstream that does not stream."""
        ...

    def close(self) -> list[Piece]:
        """The pieces left at the end of the body. Afterwards the answer is ``done``."""
        ...


async def read_answer(answer: Answer, reader: BodyReader, emit: Emit, limits: Limits) -> bool:
    """Read an answer to its end. True when the body ended, or its reader needs no more of it.

    The bytes decide, not the label: a body that is called JSON may be a stream. Raises HttpFailure, and AnswerTooLarge.
    """
    first = b""
    if content_type(answer) == "application/json":
        first = await _beginning(answer)
        if first.lstrip()[:1] in (b"{", b"["):
            return await _read_document(answer, first, reader, emit, limits)
    try:
        async with asyncio.timeout(None) as limit:
            take = sink(answer, reader, emit, limit, min(FINISH_SECONDS, FINISH_SHARE * limits.silence))
            recoder = None
            if charset := charset_of(answer.headers.get("content-type", "")) or marked(first):
                recoder = Recoder(charset, limits.event_bytes)
            if (first and take(_recoded(recoder, first))) or await answer.pour(
                take if recoder is None else lambda data: take(recoder.feed(data))
            ):
                return True
            if recoder is not None and (rest := recoder.close()):
                take(rest)
            _say(reader.close(), emit)
            return True
    except (TimeoutError, HttpFailure):
        if not reader.finish_seen:
            raise
    _say(reader.close(), emit)  # the answer is whole, only the end of the body is missing
    return False


def sink(
    answer: Answer, reader: BodyReader, emit: Emit, limit: asyncio.Timeout | None = None, wait: float = FINISH_SECONDS
) -> Sink:
    """The function that takes the parts of a body. The socket's callback calls it: this is the token path.

    ``limit`` is set to ``wait`` seconds behind the finish reason.
    """
    loop = asyncio.get_running_loop()
    give, waits = emit, True

    def begin(pieces: list[Piece]) -> asyncio.Future[None] | None:
        nonlocal give, waits
        give, waits = emit, False
        return emit(pieces)

    give = begin

    def take(data: bytes) -> bool:
        pieces = reader.feed(data)
        if pieces:
            room = give(pieces)
            if room is not None:
                answer.pause()
                room.add_done_callback(partial(_go_on, answer))
        elif waits or (reader.finish_seen and limit is not None and limit.when() is None):
            emit([ALIVE])  # a comment, what has no text yet, or the finish reason
        if reader.finish_seen and limit is not None and (pieces or limit.when() is None):
            limit.reschedule(loop.time() + wait)
        return reader.done

    return take


def kind(answer: Answer) -> str:
    """The content type of an answer. Raises ProviderError for a web page."""
    found = content_type(answer)
    if found == "text/html":
        # A login page or a wrong address; a retry would read the same.
        raise ProviderError("upstream_malformed", "The upstream answered with a web page.", retryable=False)
    return found


def _recoded(recoder: Recoder | None, data: bytes) -> bytes:
    return data if recoder is None else recoder.feed(data)


async def _read_document(answer: Answer, first: bytes, reader: BodyReader, emit: Emit, limits: Limits) -> bool:
    """Read a whole answer, of the size that an event may have."""
    parts, size = [first], len(first)
    while size <= limits.event_bytes and (data := await answer.read()):
        parts.append(data)
        size += len(data)
    if size > limits.event_bytes:
        raise limits.exceeded("event_bytes")
    body = b"".join(parts)
    if charset := charset_of(answer.headers.get("content-type", "")):
        recoder = Recoder(charset, limits.event_bytes)
        body = recoder.feed(body) + recoder.close()
    _say(reader.feed_document(body), emit)
    return True


async def _beginning(answer: Answer) -> bytes:
    """The body up to its first byte that is no white space; empty for a body without any."""
    first = b""
    while not first.strip() and (data := await answer.read()):
        first = (first + data).lstrip()
    return first


def _say(pieces: list[Piece], emit: Emit) -> None:
    if pieces:
        emit(pieces)


def _go_on(answer: Answer, room: asyncio.Future[None]) -> None:
    """Resume when the listener has room again. A cancelled future means that the listener has left."""
    if not room.cancelled():
        answer.resume()
