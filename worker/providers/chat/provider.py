"""Any upstream that speaks OpenAI's chat completions: OpenAI itself, vLLM, llama.cpp, Ollama, OpenRouter, …

``http.call`` has the HTTP side, ``completions`` the protocol.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import structlog

from app.domain.upstreams import Upstream
from app.ops import metrics
from worker.limits import Limits
from worker.providers.base import Emit, Prompt
from worker.providers.chat import capabilities
from worker.providers.chat.completions import AnswerReader
from worker.providers.chat.fields import loads_leniently
from worker.providers.chat.openai_http import http_of
from worker.providers.chat.request import CONTINUATIONS, request_body
from worker.providers.http.call import ERROR_BODY_BYTES
from worker.providers.http.interface import Transport
from worker.providers.learning.adjusting import Adjuster
from worker.providers.learning.learned import Lacks, Learned
from worker.providers.reading.continuation import OverlapCutter, without_repeat
from worker.providers.reading.error_shapes import error_in
from worker.providers.reading.upstream_errors import from_event

_log = structlog.get_logger()


class OpenAICompatible:
    """A Provider over HTTP.

    The upstream's ``base_url`` ends where ``/chat/completions`` begins (usually in ``/v1``). Its ``continuation`` says
    how it goes on from a prefix: ``prefill`` (a last assistant message is continued), ``vllm`` (the same, asked for by
    vLLM's own parameters), ``instruction`` (a user message asks for it; what it repeats is cut, exactness is not
    guaranteed), ``none``. Without a ``transport`` it takes the environment's proxy, or none. Raises ValueError for an
    unusable URL or key, or an unknown continuation.
    """

    def __init__(
        self,
        upstream: Upstream,
        limits: Limits = Limits(),  # noqa: B008  # frozen
        transport: Transport | None = None,
        learned: Learned | None = None,
    ) -> None:
        if upstream.continuation not in CONTINUATIONS:
            raise ValueError(f"unknown continuation {upstream.continuation!r}")
        self._continuation = upstream.continuation
        self._include_usage = upstream.include_usage
        self._adjuster = Adjuster(upstream.name, learned or Learned(), capabilities.lacking)
        # The setting says beforehand what would be learned.
        limit = upstream.token_limit_name
        self._lacks = frozenset({capabilities.TOKEN_LIMITS[limit]} if limit else ())
        self._limits = limits
        self._http = http_of(upstream, limits, transport)

    @property
    def continues(self) -> bool:
        """True unless the continuation of texts is switched off."""
        return self._continuation != "none"

    def continues_exactly(self, model: str) -> bool:
        """See ExactProvider. A model that has refused a prefix does not."""
        return self._continuation_without(self._adjuster.lacks(model)) in ("prefill", "vllm")

    async def stream(self, prompt: Prompt, emit: Emit) -> None:
        """See Provider.stream. Raises ValueError for a prefix when this upstream cannot continue."""
        if prompt.prefix and not self.continues:
            raise ValueError("this upstream cannot continue from a prefix")

        def build(lacks: Lacks) -> dict[str, Any]:
            lacks |= self._lacks
            how = self._continuation_without(lacks)
            body = request_body(prompt, continuation=how, include_usage=self._include_usage)
            return capabilities.without(lacks, body)

        async def send(body: dict[str, Any], lacks: Lacks, accepted: Callable[[], None] | None) -> None:
            reader = AnswerReader(secrets=self._http.secrets, limits=self._limits)
            out = emit
            if prompt.prefix and self._continuation_without(lacks) == "instruction":
                out = without_repeat(emit, OverlapCutter(prompt.prefix))
            try:
                await self._http.stream("/chat/completions", orjson.dumps(body), reader, out, accepted)
            finally:
                if reader.skipped:
                    metrics.EVENTS_SKIPPED.inc(reader.skipped)
                    _log.info("upstream events skipped", action="skip", model=prompt.model, events=reader.skipped)

        await self._adjuster.run(prompt.model, build, send)

    async def list_models(self, most_bytes: int) -> bytes:
        """The body of the upstream's list of models; ``most_bytes`` is MAX_MODEL_LIST_BYTES. Raises ProviderError."""
        return await self._http.list_models("/models", most_bytes)

    async def embeddings(self, body: bytes, most_bytes: int) -> bytes:
        """The upstream's reply to a request for embeddings. Raises ProviderError."""
        reply = await self._http.exchange("/embeddings", body, most_bytes, "EMBEDDINGS_BYTES")
        # An error may come with the status 200, and is short.
        if len(reply) <= ERROR_BODY_BYTES and (error := error_in(loads_leniently(reply))) is not None:
            raise from_event(error, secrets=self._http.secrets)
        return reply

    def _continuation_without(self, lacks: Lacks) -> str:
        return "instruction" if capabilities.PREFILL in lacks else self._continuation

    async def close(self) -> None:
        """Close every connection to the upstream."""
        await self._http.close()
