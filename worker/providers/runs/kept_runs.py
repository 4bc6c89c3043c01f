"""The runs that an upstream keeps, over HTTP: begun, read over as many connections as it takes, and cancelled.

A provider of a protocol makes the requests and has the reader; the rest is here.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import suppress
from time import monotonic
from urllib.parse import quote

import orjson

from app.domain.backoff import Backoff
from worker.providers.base import ALIVE, Emit, KnownRun, Piece, Prompt, ProviderError
from worker.providers.http.answer_body import kind, sink
from worker.providers.http.call import HttpUpstream
from worker.providers.http.interface import Answer, HttpFailure
from worker.providers.learning.adjusting import Adjuster, Body
from worker.providers.learning.learned import Lacks
from worker.providers.reading.continuation import OverlapCutter, without_repeat
from worker.providers.runs.reader import RunReader
from worker.providers.runs.unseen import Unseen, gone

# A connection to a run is made again for so many seconds without news of the run. Then the call has failed.
REATTACH_SECONDS = 20.0
BACKOFF = Backoff(first=0.1, longest=2.0, jitter=0.5)
CANCEL_SECONDS = 5.0
# The statuses of an upstream that has no such run.
_GONE = frozenset({404, 410})
# The statuses of an upstream that has the run and cannot stream it.
_NO_STREAM = frozenset({400, 405, 409, 422, 501})

Began = Callable[[str], Awaitable[None]]


class KeptRuns(ABC):
    """A RunKeeper over HTTP. ``stream`` makes a call that nobody comes back to, such as a title's.

    ``path`` is the place of the runs behind the base URL.
    """

    def __init__(self, http: HttpUpstream, path: str, adjuster: Adjuster, continuation: str) -> None:
        self._http = http
        self._path = path
        self._adjuster = adjuster
        self._continuation = continuation

    @property
    def continues(self) -> bool:
        """True unless the continuation of texts is switched off."""
        return self._continuation != "none"

    @abstractmethod
    def _reader(self, prompt: Prompt) -> RunReader:
        """A reader for one run."""

    @abstractmethod
    def _body(self, prompt: Prompt, lacks: Lacks, *, background: bool) -> Body:
        """The request without what the model lacks."""

    @abstractmethod
    def _repeats(self, prompt: Prompt) -> bool:
        """True where the model may repeat the end of the prefix."""

    async def stream(self, prompt: Prompt, emit: Emit) -> None:
        """See Provider.stream. Raises ValueError for a prefix when this upstream cannot continue."""
        reader, out = self._reader(prompt), self._from(prompt, emit)

        async def send(body: Body, lacks: Lacks, accepted: Callable[[], None] | None) -> None:
            await self._http.stream(self._path, orjson.dumps(body), reader, out, accepted)

        await self._adjuster.run(prompt.model, self._builder(prompt, background=False), send)
        if not reader.ended:
            raise _truncated()

    async def run(self, prompt: Prompt, emit: Emit, began: Began, known: KnownRun | None, key: str) -> None:
        """See RunKeeper.run. Raises ValueError for a prefix when this upstream cannot continue."""
        reader = self._reader(prompt)
        if known is None:
            emit = out = self._from(prompt, emit)

            async def send(body: Body, lacks: Lacks, accepted: Callable[[], None] | None) -> None:
                # Another body is another request: a server would answer an old key with the old refusal.
                own = "-".join((key, *sorted(lacks)))
                await self._begin(orjson.dumps(body), own, reader, out, began, accepted)

            await self._adjuster.run(prompt.model, self._builder(prompt, background=True), send)
        else:
            reader.attach(known.run_id)
            emit = self._from(prompt, Unseen(known, emit).receive)
        await self._follow(reader, emit)
        if reader.failure is not None:
            raise reader.failure

    async def cancel_run(self, run_id: str) -> None:
        """See RunKeeper.cancel_run."""
        with suppress(HttpFailure, ProviderError, TimeoutError):
            async with asyncio.timeout(CANCEL_SECONDS):
                (await self._http.open("POST", f"{self._address(run_id)}/cancel", b"{}")).release()

    async def close(self) -> None:
        """Close every connection to the upstream."""
        await self._http.close()

    def _builder(self, prompt: Prompt, *, background: bool) -> Callable[[Lacks], Body]:
        if prompt.prefix and not self.continues:
            raise ValueError("this upstream cannot continue from a prefix")
        return lambda lacks: self._body(prompt, lacks, background=background)

    def _from(self, prompt: Prompt, emit: Emit) -> Emit:
        """``emit`` for the pieces of an answer, without what the model repeats of the prefix."""
        return without_repeat(emit, OverlapCutter(prompt.prefix)) if self._repeats(prompt) else emit

    def _address(self, run_id: str) -> str:
        return f"{self._path}/{quote(run_id, safe='')}"

    async def _begin(
        self,
        body: bytes,
        key: str,
        reader: RunReader,
        emit: Emit,
        began: Began,
        accepted: Callable[[], None] | None,
    ) -> None:
        """Begin a run and read it as far as the first connection leads. Raises ProviderError without a run."""
        try:
            answer = await self._http.open("POST", self._path, body, {"Idempotency-Key": key})
            if accepted is not None:
                accepted()
            await self._read(answer, reader, emit, began)
        except HttpFailure as error:
            failure = self._http.translated(error)
            if reader.run_id is None or not failure.retryable:
                raise failure from error
        if reader.run_id is None and not reader.ended:
            raise _truncated()

    async def _follow(self, reader: RunReader, emit: Emit) -> None:
        """Come back to a run until it has ended. Raises ProviderError when that fails for too long."""
        patience, is_streamed = _Patience(), True
        while not reader.ended:
            before, lost = reader.sequence, None
            try:
                is_streamed = await self._attach(reader, emit, is_streamed)
            except HttpFailure as error:
                lost = self._http.translated(error)
            except ProviderError as error:
                lost = error
            if lost is not None and not (lost.retryable and _is_passing(lost)):
                raise lost
            await asyncio.sleep(patience.pause(lost, is_over=reader.ended, has_news=reader.sequence > before))

    async def _attach(self, reader: RunReader, emit: Emit, is_streamed: bool) -> bool:
        """Read a run over one more connection. False: the upstream gives the run as one object only.

        Raises HttpFailure, and ProviderError.
        """
        if is_streamed:
            before = reader.sequence
            try:
                comes_as_stream = await self._fetch(reader.query(), reader, emit)
            except ProviderError as error:
                if error.upstream_status not in _NO_STREAM:
                    raise
                comes_as_stream = False
            if reader.ended or reader.sequence > before or not comes_as_stream:
                return comes_as_stream
        # A stream that ends with nothing new may be one of a run that has ended: the object of the run says so.
        await self._fetch("", reader, emit)
        return is_streamed

    async def _fetch(self, query: str, reader: RunReader, emit: Emit) -> bool:
        """Read what the upstream has of a run; whether it came as a stream."""
        assert reader.run_id is not None, "a run has begun"
        reader.reconnect()
        try:
            answer = await self._http.open("GET", self._address(reader.run_id) + query)
        except ProviderError as error:
            if error.upstream_status in _GONE:
                raise gone() from error
            raise
        is_document = kind(answer) == "application/json"
        await self._read(answer, reader, emit, None)
        return not is_document

    async def _read(self, answer: Answer, reader: RunReader, emit: Emit, began: Began | None) -> None:
        """Read one body of a run; the run may go on behind it. ``began`` is awaited before any piece is passed on.

        Raises HttpFailure when the connection breaks before the end of the run.
        """
        try:
            is_document = kind(answer) == "application/json"
            pieces = await self._beginning(answer, reader, is_document)
            if began is not None and reader.run_id is not None:
                await began(reader.run_id)
            if pieces:
                emit(pieces)
            is_read = is_document or reader.done or await answer.pour(sink(answer, reader, emit))
            if not is_read and (pieces := reader.close()):
                emit(pieces)
        except HttpFailure:
            if not reader.ended:
                raise
        finally:
            if reader.ended:
                answer.release()
            else:
                answer.close()

    async def _beginning(self, answer: Answer, reader: RunReader, is_document: bool) -> list[Piece]:
        """The pieces of a body as far as it says the id of its run; a document is read whole."""
        if is_document:
            return reader.feed_document(await self._http.document(answer)) or [ALIVE]
        pieces: list[Piece] = []
        while reader.run_id is None and not reader.done and (data := await answer.read()):
            pieces += [piece for piece in reader.feed(data) if piece is not ALIVE]
        return pieces


class _Patience:
    """The pauses between connections to one run, and the end of the attempts."""

    def __init__(self) -> None:
        self._until = monotonic() + REATTACH_SECONDS
        self._failures = 0

    def pause(self, lost: ProviderError | None, *, is_over: bool, has_news: bool) -> float:
        """Seconds until the next connection. Raises ``lost`` when the upstream has been away for too long."""
        if is_over:
            return 0.0
        if lost is None or has_news:
            self._until = monotonic() + REATTACH_SECONDS
        if has_news:
            self._failures = 0
        pause = BACKOFF.pause(self._failures)
        if lost is not None:
            pause = max(pause, lost.retry_after or 0.0)
            if monotonic() + pause > self._until:
                raise lost
        self._failures += 1
        return pause


def _is_passing(error: ProviderError) -> bool:
    """True for an error of a connection; the others are of the run, or of the listener."""
    return error.upstream_status is not None or error.code in ("upstream_connection", "upstream_timeout")


def _truncated() -> ProviderError:
    return ProviderError("upstream_truncated", "The upstream ended its answer without finishing it.", retryable=True)
