"""Any upstream that speaks OpenAI's chat completions: OpenAI itself, vLLM, llama.cpp, Ollama, OpenRouter, …

Only the HTTP side; the protocol is in ``chat_completions``. The token path is our own: an SDK's model per chunk costs
more than everything else in the worker together.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

import aiohttp
import orjson

from worker.providers.base import Finished, Piece, Prompt, ProviderError, Text
from worker.providers.chat_completions import CONTINUATIONS, AnswerReader, request_body
from worker.providers.continuation import OverlapCutter
from worker.providers.http import HttpSession, environment_proxy
from worker.providers.upstream_errors import from_response

LIST_MODELS_SECONDS = 3.0
ERROR_BODY_SECONDS = 5.0
ERROR_BODY_BYTES = 64 * 1024
DOCUMENT_BYTES = 16 * 1024 * 1024
# How long a finished connection may take to become reusable before it is dropped.
DRAIN_SECONDS = 0.1


class OpenAICompatible:
    """A Provider over HTTP.

    ``base_url`` ends where ``/chat/completions`` begins (usually in ``/v1``). ``continuation`` says how this upstream
    goes on from a prefix: ``prefill`` (a last assistant message is continued), ``vllm`` (the same, asked for by
    vLLM's own parameters), ``instruction`` (a user message asks for it; what it repeats is cut, exactness is not
    guaranteed), ``none``. Raises ValueError for an unusable URL or an unknown continuation.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str | None = None,
        *,
        continuation: str = "instruction",
        include_usage: bool = True,
        session: HttpSession | None = None,
    ) -> None:
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("the base URL of an upstream must be an http or https URL")
        if continuation not in CONTINUATIONS:
            raise ValueError(f"unknown continuation {continuation!r}")
        self._base_url = base_url.rstrip("/")
        self._proxy = environment_proxy(base_url)
        self._secrets = tuple(filter(None, (api_key, parts.password)))
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._continuation = continuation
        self._include_usage = include_usage
        self._session = session or HttpSession()
        self._owns_session = session is None

    @property
    def continues(self) -> bool:
        return self._continuation != "none"

    async def stream(self, prompt: Prompt) -> AsyncGenerator[list[Piece], None]:
        """See Provider.stream. Raises ValueError for a prefix when this upstream cannot continue."""
        if prompt.prefix and not self.continues:
            raise ValueError("this upstream cannot continue from a prefix")
        body = request_body(prompt, continuation=self._continuation, include_usage=self._include_usage)
        reader = AnswerReader(secrets=self._secrets)
        cutter = OverlapCutter(prompt.prefix) if prompt.prefix and self._continuation == "instruction" else None
        async with self._request("POST", "/chat/completions", body) as response:
            read = _document if _kind(response) == "application/json" else _next
            while not reader.done:
                pieces = await read(response, reader)
                if cutter is not None:
                    pieces = _cut(pieces, cutter)
                if pieces:
                    yield pieces
            if reader.failure is not None:
                raise reader.failure
            await _drain(response)

    async def list_models(self) -> list[str]:
        """The ids the upstream offers, in its order. Raises ProviderError; takes three seconds at most."""
        try:
            async with asyncio.timeout(LIST_MODELS_SECONDS), self._request("GET", "/models") as response:
                document = orjson.loads(await _read_bounded(response, DOCUMENT_BYTES))
                return [model["id"] for model in document["data"] if isinstance(model["id"], str)]
        except TimeoutError as error:
            raise ProviderError("upstream_timeout", "The upstream did not list its models in time.", retryable=True) \
                from error  # fmt: skip
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise ProviderError("upstream_malformed", "The upstream's list of models is unreadable.", retryable=True) \
                from error  # fmt: skip

    async def close(self) -> None:
        if self._owns_session:
            await self._session.close()

    @asynccontextmanager
    async def _request(
        self, method: str, path: str, body: dict[str, object] | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A 200 answer. Leaving the block ends the connection unless its body was read to the end."""
        data = None if body is None else orjson.dumps(body, default=str)
        headers = self._headers if body is None else {**self._headers, "Content-Type": "application/json"}
        try:
            # Redirects are refused: they would carry the key elsewhere.
            async with self._session.get().request(
                method, self._base_url + path, data=data, headers=headers, proxy=self._proxy, allow_redirects=False
            ) as response:
                if response.status != 200:
                    raise await self._refusal(response)
                yield response
        except aiohttp.ServerTimeoutError as error:
            raise ProviderError("upstream_timeout", "The upstream did not accept a connection in time.",
                                retryable=True) from error  # fmt: skip
        except aiohttp.ClientConnectorError as error:
            raise ProviderError("upstream_connection", "The upstream cannot be reached.", retryable=True) from error
        except (aiohttp.ClientError, OSError) as error:
            message = "The connection to the upstream was lost."
            raise ProviderError("upstream_connection", message, retryable=True) from error

    async def _refusal(self, response: aiohttp.ClientResponse) -> ProviderError:
        body = b""
        with suppress(TimeoutError, aiohttp.ClientError):
            async with asyncio.timeout(ERROR_BODY_SECONDS):
                body = await _read_bounded(response, ERROR_BODY_BYTES)
        return from_response(
            response.status, response.headers, body, content_type=response.content_type, secrets=self._secrets
        )


def _kind(response: aiohttp.ClientResponse) -> str:
    kind = response.content_type
    if kind == "text/html":
        # A login page or a wrong address; a retry would read the same.
        raise ProviderError("upstream_malformed", "The upstream answered with a web page.", retryable=False)
    return kind


async def _document(response: aiohttp.ClientResponse, reader: AnswerReader) -> list[Piece]:
    """The whole answer of an upstream that does not stream."""
    return reader.feed_document(await _read_bounded(response, DOCUMENT_BYTES))


async def _next(response: aiohttp.ClientResponse, reader: AnswerReader) -> list[Piece]:
    """The pieces of one network read; none for a keep-alive, or for half an event."""
    try:
        data = await response.content.readany()
    except aiohttp.ClientError:
        if not reader.finish_seen:
            raise
        data = b""  # the answer is whole, only the goodbye is missing
    return reader.feed(data) if data else reader.close()


def _cut(pieces: list[Piece], cutter: OverlapCutter) -> list[Piece]:
    """The same pieces without what the model repeated of the prefix."""
    kept: list[Piece] = []
    for piece in pieces:
        if isinstance(piece, Text):
            if text := cutter.feed(piece.text):
                kept.append(Text(text))
            continue
        if isinstance(piece, Finished) and (rest := cutter.close()):
            kept.append(Text(rest))
        kept.append(piece)
    return kept


async def _drain(response: aiohttp.ClientResponse) -> None:
    """Read the few bytes behind the answer, so that the connection can serve the next request."""
    with suppress(TimeoutError, aiohttp.ClientError):
        async with asyncio.timeout(DRAIN_SECONDS):
            while await response.content.readany():
                pass


async def _read_bounded(response: aiohttp.ClientResponse, limit: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while size < limit and (data := await response.content.readany()):
        parts.append(data)
        size += len(data)
    return b"".join(parts)[:limit]
