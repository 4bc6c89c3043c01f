"""Gemini's own API. ``request`` makes the request, ``content`` reads the answer."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import orjson

from app.domain.upstreams import Upstream
from worker.limits import Limits
from worker.providers.base import Emit, Prompt, ProviderError
from worker.providers.gemini import request as gemini_request
from worker.providers.gemini.content import ContentReader
from worker.providers.gemini.request import most_calls, request_body
from worker.providers.http.call import HttpUpstream, checked_key, split_base_url
from worker.providers.http.interface import Transport
from worker.providers.learning.adjusting import Adjuster
from worker.providers.learning.learned import Lacks, Learned
from worker.providers.reading.continuation import OverlapCutter, without_repeat
from worker.providers.reading.native_usage import added, with_usage

CONTINUATIONS = ("prefill", "instruction", "none")
# The most requests by which one answer goes on.
MOST_CONTINUATIONS = 16
_VERSION = re.compile(r"/v\d\w*$")


class Gemini:
    """A Provider over HTTP.

    A base URL may end in the API's version, such as ``/v1beta``, or in front of it. The continuation ``prefill`` ends
    the request with the text so far as the model's own. What a model refuses is kept in ``learned``. Without a
    ``transport`` it takes the environment's proxy, or none. Raises ValueError for an unusable URL, key or continuation.
    """

    def __init__(
        self, upstream: Upstream, limits: Limits, transport: Transport | None = None, learned: Learned | None = None
    ) -> None:
        if upstream.continuation not in CONTINUATIONS:
            raise ValueError(f"an upstream of the kind gemini has no continuation {upstream.continuation!r}")
        self._adjuster = Adjuster(upstream.name, learned or Learned(), gemini_request.lacking)
        self._continuation = upstream.continuation
        self._limits = limits
        self._path = api_path(upstream)
        self._http = http_of(upstream, limits, transport)

    @property
    def continues(self) -> bool:
        """True unless the continuation of texts is switched off."""
        return self._continuation != "none"

    async def stream(self, prompt: Prompt, emit: Emit) -> None:
        """See Provider.stream. Raises ValueError for a prefix when this upstream cannot continue."""
        if prompt.prefix and not self.continues:
            raise ValueError("this upstream cannot continue from a prefix")
        is_prefill = self._continuation == "prefill" and prompt.answer_format is None
        out = emit
        if prompt.prefix and not is_prefill:
            out = without_repeat(emit, OverlapCutter(prompt.prefix))
        most = most_calls(prompt)

        def build(lacks: Lacks) -> dict[str, Any]:
            return request_body(prompt, prefill=is_prefill, lacks=lacks)

        async def send(body: dict[str, Any], _: Lacks, accepted: Callable[[], None] | None) -> None:
            await self._answer(self._address(prompt.model), body, out, most, accepted)

        await self._adjuster.run(prompt.model, build, send)

    def _address(self, model: str) -> str:
        name = quote(model.removeprefix("models/"), safe="/")
        folder = "" if name.startswith("tunedModels/") else "models/"
        return f"{self._path}/{folder}{name}:streamGenerateContent?alt=sse"

    async def _answer(
        self, path: str, body: dict[str, Any], emit: Emit, most: int | None, accepted: Callable[[], None] | None
    ) -> None:
        """One answer, however many requests it takes."""
        calls, usage = 0, None
        for _ in range(MOST_CONTINUATIONS + 1):
            reader = ContentReader(secrets=self._http.secrets, limits=self._limits, first_call=calls, most_calls=most)
            try:
                await self._http.stream(path, orjson.dumps(body), reader, with_usage(emit, usage), accepted)
            except ProviderError as error:
                error.usage = added(usage, error.usage)
                raise
            if reader.token is None:
                return
            accepted, calls, usage = None, reader.calls, added(usage, reader.usage)
            body = {**body, "continuationToken": reader.token}
        message = f"The upstream did not finish its answer in {MOST_CONTINUATIONS} continuations."
        raise ProviderError("upstream_error", message, retryable=False, usage=usage)

    async def list_models(self, most_bytes: int) -> bytes:
        """The models that answer, as ``model_names`` reads them. ``most_bytes`` is MAX_MODEL_LIST_BYTES.

        Raises ProviderError.
        """
        return answering(await self._http.list_models(f"{self._path}/models?pageSize=1000", most_bytes))

    async def close(self) -> None:
        """Close every connection to the upstream."""
        await self._http.close()


def http_of(upstream: Upstream, limits: Limits, transport: Transport | None) -> HttpUpstream:
    """The HTTP side of an upstream, with its key. Raises ValueError for an unusable URL or key."""
    headers = {"x-goog-api-key": checked_key(upstream.api_key)} if upstream.api_key else {}
    headers |= {name.lower(): value for name, value in upstream.headers.items()}
    secrets = tuple(filter(None, (upstream.api_key, *upstream.headers.values())))
    return HttpUpstream(upstream.base_url, headers, secrets, limits, transport, names_trace=upstream.traceparent)


def api_path(upstream: Upstream) -> str:
    """The place of the API behind the base URL, which may have its version already."""
    return "" if _VERSION.search(split_base_url(upstream.base_url).path.rstrip("/")) else "/v1beta"


def answering(body: bytes) -> bytes:
    """A list of models without those that only embed or count, and without ``models/`` before the names."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return body
    models = document.get("models") if isinstance(document, dict) else None
    if not isinstance(models, list):
        return body
    kept = [
        {"name": str(model.get("name", "")).removeprefix("models/")}
        for model in models
        if isinstance(model, dict)
        and "generateContent" in (model.get("supportedGenerationMethods") or ["generateContent"])
    ]
    return orjson.dumps({"models": kept})
