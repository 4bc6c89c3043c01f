"""The HTTP side of an upstream, whatever its protocol: one request, whose body goes into a reader.

The token path is our own: an SDK's model per chunk costs more than everything else in the worker together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import NoReturn
from urllib.parse import SplitResult, urlsplit

from app.domain.answer_errors import AnswerError
from app.telemetry import outgoing
from worker.limits import Limits
from worker.providers.base import ALIVE, AnswerTooLarge, Emit, Piece, ProviderError
from worker.providers.http.answer_body import BodyReader, read_answer
from worker.providers.http.interface import (
    Answer,
    CannotConnect,
    ConnectionBroken,
    ConnectTimeout,
    HttpFailure,
    NoWay,
    TooLarge,
    Transport,
    UnreadableBody,
    content_type,
)
from worker.providers.http.redirects import (
    MOST_REDIRECTS,
    REPEATING,
    endless,
    not_followed,
    redirect_location,
    redirect_target,
)
from worker.providers.http.transports import transport_for
from worker.providers.reading.upstream_errors import from_response

ERROR_BODY_SECONDS = 5.0
ERROR_BODY_BYTES = 64 * 1024

_BROKEN_HTTP: dict[type[HttpFailure], tuple[AnswerError, str]] = {
    ConnectTimeout: ("upstream_timeout", "The upstream did not accept a connection in time."),
    CannotConnect: ("upstream_connection", "The upstream cannot be reached."),
    ConnectionBroken: ("upstream_connection", "The connection to the upstream was lost."),
}


class HttpUpstream:
    """One upstream over HTTP. ``headers`` go with each request; ``secrets`` are kept out of every error.

    The address of a request is the base URL with a path behind it. User and password of the base URL are left out.
    Without a ``transport`` it takes the environment's proxy, or none. ``names_trace``: requests carry the
    ``traceparent`` of their task. Raises ValueError for an unusable URL.
    """

    def __init__(
        self,
        base_url: str,
        headers: Mapping[str, str],
        secrets: Iterable[str],
        limits: Limits,
        transport: Transport | None = None,
        *,
        names_trace: bool = True,
    ) -> None:
        parts = split_base_url(base_url)
        self._url = parts._replace(netloc=parts.netloc.rpartition("@")[2])
        self._headers = dict(headers)
        self.secrets = tuple(secrets)
        self._limits = limits
        # A header of the operator's own stays as it is.
        self._names_trace = names_trace and "traceparent" not in map(str.lower, self._headers)
        self._transport = transport or transport_for(base_url, limits.header_bytes)

    async def stream(
        self, path: str, body: bytes, reader: BodyReader, emit: Emit, accepted: Callable[[], None] | None = None
    ) -> None:
        """Post a request and pass the pieces of its answer to ``emit``, to the end. Raises ProviderError.

        ``accepted`` is called before the first piece of the answer: a status of 200 may have a refusal behind it.
        Cancelling closes the connection at once; so does an exception of ``emit``, which is raised here.
        """
        answer: Answer | None = None
        try:
            answer = await self.open("POST", path, body)
            if accepted is not None:
                emit = _noting(emit, accepted)
            is_over = await read_answer(answer, reader, emit, self._limits)
            if reader.failure is not None:
                raise reader.failure
            if is_over:
                answer.release()
                answer = None
        except HttpFailure as error:
            failure = self.translated(error)
            failure.usage = reader.usage
            raise failure from error
        finally:
            if answer is not None:
                answer.close()

    async def list_models(self, path: str, most_bytes: int) -> bytes:
        """The body of the upstream's list of models; ``most_bytes`` is MAX_MODEL_LIST_BYTES. Raises ProviderError.

        A redirect is followed on the upstream itself only: another origin must not receive the key.
        """
        url = self._address(path)
        headers = {**self._headers, "Accept": "application/json"}
        try:
            for _ in range(MOST_REDIRECTS + 1):
                answer = await self._transport.open("GET", url, headers)
                try:
                    target = redirect_target(url, answer)
                    if target is None:
                        return await self._list(url, answer, most_bytes)
                    url = target
                finally:
                    answer.close()
        except HttpFailure as error:
            raise self.translated(error) from error
        raise endless()

    async def close(self) -> None:
        """Close every connection to the upstream."""
        await self._transport.close()

    async def _list(self, url: str, answer: Answer, most_bytes: int) -> bytes:
        if answer.status != 200:
            await self._refuse(url, answer)
        body = await _read_bounded(answer, most_bytes + 1)
        if len(body) > most_bytes:
            message = f"The upstream's list of models has more than MAX_MODEL_LIST_BYTES ({most_bytes}) bytes."
            raise AnswerTooLarge("MAX_MODEL_LIST_BYTES", message)
        return body

    def _address(self, path: str) -> str:
        path, _, query = path.partition("?")
        queries = "&".join(filter(None, (self._url.query, query)))
        return self._url._replace(path=self._url.path.rstrip("/") + path, query=queries).geturl()

    async def open(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """An answer with status 200. Raises HttpFailure, and ProviderError for any other status.

        A redirect that keeps the request is followed on the upstream itself: another origin must not receive the key.
        """
        sent = {**self._headers, "Content-Type": "application/json", **(headers or {})}
        if self._names_trace and (parent := outgoing.traceparent()) is not None:
            sent["traceparent"] = parent
        url = self._address(path)
        for _ in range(MOST_REDIRECTS + 1):
            answer = await self._transport.open(method, url, sent, body)
            if answer.status == 200:
                return answer
            try:
                target = redirect_target(url, answer) if answer.status in REPEATING else None
                if target is None:
                    await self._refuse(url, answer)
                url = target
            finally:
                answer.close()
        raise endless()

    async def exchange(self, path: str, body: bytes, most_bytes: int, limit: str) -> bytes:
        """Post a request and read the whole answer. Raises ProviderError; ``limit`` is the name of ``most_bytes``."""
        try:
            answer = await self.open("POST", path, body)
            try:
                read = await _read_bounded(answer, most_bytes + 1)
            finally:
                answer.close()
        except HttpFailure as error:
            raise self.translated(error) from error
        if len(read) > most_bytes:
            raise AnswerTooLarge(limit, f"The upstream's answer has more than {most_bytes} bytes ({limit}).")
        return read

    async def document(self, answer: Answer) -> bytes:
        """A whole answer, of the size that an event may have."""
        body = await _read_bounded(answer, self._limits.event_bytes + 1)
        if len(body) > self._limits.event_bytes:
            raise self._limits.exceeded("event_bytes")
        return body

    def translated(self, error: HttpFailure) -> ProviderError:
        """The error of an exchange that did not take place, or broke."""
        if isinstance(error, TooLarge):
            return self._limits.exceeded("header_bytes")
        if isinstance(error, UnreadableBody):
            message = (
                f"The upstream compressed its answer with {error}, which cannot be read here; it was asked not to."
            )
            return ProviderError("upstream_encoding", message, retryable=False)
        if isinstance(error, NoWay):
            return ProviderError("upstream_connection", str(error), retryable=False, charged=False)
        code, message = _BROKEN_HTTP[type(error)]
        return ProviderError(code, message, retryable=True, charged=isinstance(error, ConnectionBroken))

    async def _refuse(self, url: str, answer: Answer) -> NoReturn:
        """Raise the ProviderError of a status other than 200."""
        if location := redirect_location(url, answer):
            raise not_followed(answer.status, location, self.secrets)
        body = b""
        with suppress(TimeoutError, HttpFailure):
            async with asyncio.timeout(ERROR_BODY_SECONDS):
                body = await _read_bounded(answer, ERROR_BODY_BYTES)
        error = from_response(
            answer.status, answer.headers, body, content_type=content_type(answer), secrets=self.secrets
        )
        error.refusal = body
        raise error


def _noting(emit: Emit, accepted: Callable[[], None]) -> Emit:
    """``emit`` that calls ``accepted`` before the first piece of an answer."""
    is_noted = False

    def note(pieces: list[Piece]) -> asyncio.Future[None] | None:
        nonlocal is_noted
        if not is_noted and pieces[0] is not ALIVE:
            is_noted = True
            accepted()
        return emit(pieces)

    return note


def split_base_url(base_url: str) -> SplitResult:
    """The parts of an upstream's base URL. Raises ValueError for any other scheme than http and https."""
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("the base URL of an upstream must be an http or https URL")
    return parts


def checked_key(api_key: str) -> str:
    """The key, which can stand in a header. Raises ValueError."""
    if not (api_key.isascii() and api_key.isprintable()):
        raise ValueError("the API key of an upstream must be printable ASCII")
    return api_key


async def _read_bounded(answer: Answer, limit: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while size < limit and (data := await answer.read()):
        parts.append(data)
        size += len(data)
    return b"".join(parts)[:limit]
