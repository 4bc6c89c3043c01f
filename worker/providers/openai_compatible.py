"""Any upstream that speaks OpenAI's chat completions: OpenAI itself, vLLM, llama.cpp, Ollama, OpenRouter, …

Only the HTTP side; the protocol is in ``chat_completions``. The token path is our own: an SDK's model per chunk costs
more than everything else in the worker together.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from contextlib import suppress
from urllib.parse import unquote, urlsplit

import orjson

from worker.providers.base import Finished, Hear, Piece, Prompt, ProviderError, Text
from worker.providers.chat_completions import CONTINUATIONS, AnswerReader, request_body
from worker.providers.continuation import OverlapCutter
from worker.providers.http import (
    Answer,
    CannotConnect,
    ConnectionBroken,
    ConnectTimeout,
    HttpFailure,
    Transport,
    content_type,
    environment_proxy,
)
from worker.providers.http_direct import DirectTransport
from worker.providers.http_proxied import ProxiedTransport
from worker.providers.upstream_errors import from_response

LIST_MODELS_SECONDS = 3.0
ERROR_BODY_SECONDS = 5.0
ERROR_BODY_BYTES = 64 * 1024
DOCUMENT_BYTES = 16 * 1024 * 1024

_BROKEN_HTTP = {
    ConnectTimeout: ("upstream_timeout", "The upstream did not accept a connection in time."),
    CannotConnect: ("upstream_connection", "The upstream cannot be reached."),
    ConnectionBroken: ("upstream_connection", "The connection to the upstream was lost."),
}


class OpenAICompatible:
    """A Provider over HTTP.

    ``base_url`` ends where ``/chat/completions`` begins (usually in ``/v1``). ``continuation`` says how this upstream
    goes on from a prefix: ``prefill`` (a last assistant message is continued), ``vllm`` (the same, asked for by
    vLLM's own parameters), ``instruction`` (a user message asks for it; what it repeats is cut, exactness is not
    guaranteed), ``none``. Without a ``transport`` it takes the environment's proxy, or none. Raises ValueError for an
    unusable URL or key, or an unknown continuation.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str | None = None,
        *,
        continuation: str = "instruction",
        include_usage: bool = True,
        transport: Transport | None = None,
    ) -> None:
        if continuation not in CONTINUATIONS:
            raise ValueError(f"unknown continuation {continuation!r}")
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("the base URL of an upstream must be an http or https URL")
        self._url = parts._replace(netloc=parts.netloc.rpartition("@")[2])
        self._headers = _authorization(api_key, parts.username, parts.password)
        self._secrets = tuple(filter(None, (api_key, parts.password)))
        self._continuation = continuation
        self._include_usage = include_usage
        proxy = environment_proxy(base_url)
        self._transport = transport or (ProxiedTransport(proxy) if proxy else DirectTransport())

    @property
    def continues(self) -> bool:
        return self._continuation != "none"

    async def stream(self, prompt: Prompt, hear: Hear) -> None:
        """See Provider.stream. Raises ValueError for a prefix when this upstream cannot continue."""
        if prompt.prefix and not self.continues:
            raise ValueError("this upstream cannot continue from a prefix")
        body = request_body(prompt, continuation=self._continuation, include_usage=self._include_usage)
        reader = AnswerReader(secrets=self._secrets)
        cutter = OverlapCutter(prompt.prefix) if prompt.prefix and self._continuation == "instruction" else None

        def say(pieces: list[Piece]) -> None:
            if cutter is not None:
                pieces = _cut(pieces, cutter)
            if pieces:
                hear(pieces)

        def take(data: bytes) -> bool:
            """The token path: called by the socket."""
            pieces = reader.feed(data)
            if cutter is not None:
                say(pieces)
            elif pieces:
                hear(pieces)
            return reader.done

        answer: Answer | None = None
        try:
            answer = await self._ask("POST", "/chat/completions", orjson.dumps(body))
            if _kind(answer) == "application/json":
                say(reader.feed_document(await _read_bounded(answer, DOCUMENT_BYTES)))
            elif not await answer.pour(take):
                say(reader.close())
            if reader.failure is not None:
                raise reader.failure
            answer.release()
            answer = None
        except HttpFailure as error:
            if not reader.finish_seen:
                raise _translated(error) from error
            say(reader.close())  # the answer is whole, only the goodbye is missing
        finally:
            if answer is not None:
                answer.close()

    async def list_models(self) -> list[str]:
        """The ids the upstream offers, in its order. Raises ProviderError; takes three seconds at most."""
        answer: Answer | None = None
        try:
            async with asyncio.timeout(LIST_MODELS_SECONDS):
                answer = await self._ask("GET", "/models")
                document = orjson.loads(await _read_bounded(answer, DOCUMENT_BYTES))
                return [model["id"] for model in document["data"] if isinstance(model["id"], str)]
        except HttpFailure as error:
            raise _translated(error) from error
        except TimeoutError as error:
            message = "The upstream did not list its models in time."
            raise ProviderError("upstream_timeout", message, retryable=True) from error
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            message = "The upstream's list of models is unreadable."
            raise ProviderError("upstream_malformed", message, retryable=True) from error
        finally:
            if answer is not None:
                answer.close()

    async def close(self) -> None:
        await self._transport.close()

    async def _ask(self, method: str, path: str, body: bytes | None = None) -> Answer:
        """An answer with status 200. Raises HttpFailure, and ProviderError for any other status."""
        url = self._url._replace(path=self._url.path.rstrip("/") + path).geturl()
        headers = self._headers if body is None else {**self._headers, "Content-Type": "application/json"}
        answer = await self._transport.open(method, url, headers, body)
        if answer.status == 200:
            return answer
        try:
            return await self._refused(answer)
        finally:
            answer.close()

    async def _refused(self, answer: Answer) -> Answer:
        body = b""
        with suppress(TimeoutError, HttpFailure):
            async with asyncio.timeout(ERROR_BODY_SECONDS):
                body = await _read_bounded(answer, ERROR_BODY_BYTES)
        raise from_response(
            answer.status, answer.headers, body, content_type=content_type(answer), secrets=self._secrets
        )


def _authorization(api_key: str | None, username: str | None, password: str | None) -> dict[str, str]:
    if api_key:
        if not (api_key.isascii() and api_key.isprintable()):
            raise ValueError("the API key of an upstream must be printable ASCII")
        return {"Authorization": f"Bearer {api_key}"}
    if username is not None:
        pair = f"{unquote(username)}:{unquote(password or '')}"
        return {"Authorization": "Basic " + b64encode(pair.encode()).decode()}
    return {}


def _translated(error: HttpFailure) -> ProviderError:
    code, message = _BROKEN_HTTP[type(error)]
    return ProviderError(code, message, retryable=True)


def _kind(answer: Answer) -> str:
    kind = content_type(answer)
    if kind == "text/html":
        # A login page or a wrong address; a retry would read the same.
        raise ProviderError("upstream_malformed", "The upstream answered with a web page.", retryable=False)
    return kind


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


async def _read_bounded(answer: Answer, limit: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while size < limit and (data := await answer.read()):
        parts.append(data)
        size += len(data)
    return b"".join(parts)[:limit]
