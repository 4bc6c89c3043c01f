"""An upstream that speaks OpenAI's Responses API and keeps its runs: its background mode.

``request`` writes the request, ``run`` reads the run, ``runs.kept_runs`` has the connections.
"""

from __future__ import annotations

from app.domain.upstreams import Upstream
from worker.limits import Limits
from worker.providers.base import Prompt
from worker.providers.chat import capabilities
from worker.providers.chat.openai_http import http_of
from worker.providers.chat.request import CONTINUATIONS
from worker.providers.http.interface import Transport
from worker.providers.learning.adjusting import Adjuster, Body
from worker.providers.learning.learned import Lacks, Learned
from worker.providers.responses.request import request_body
from worker.providers.responses.run import ResponseReader
from worker.providers.runs.kept_runs import KeptRuns


class OpenAIResponses(KeptRuns):
    """A RunKeeper over HTTP. Raises ValueError for an unusable URL or key, or an unknown continuation."""

    def __init__(
        self, upstream: Upstream, limits: Limits, transport: Transport | None = None, learned: Learned | None = None
    ) -> None:
        if upstream.continuation not in CONTINUATIONS:
            raise ValueError(f"unknown continuation {upstream.continuation!r}")
        adjuster = Adjuster(upstream.name, learned or Learned(), capabilities.refused_wish)
        super().__init__(http_of(upstream, limits, transport), "/responses", adjuster, upstream.continuation)
        self._limits = limits

    async def list_models(self, most_bytes: int) -> bytes:
        """The body of the upstream's list of models; ``most_bytes`` is MAX_MODEL_LIST_BYTES. Raises ProviderError."""
        return await self._http.list_models("/models", most_bytes)

    def _reader(self, prompt: Prompt) -> ResponseReader:
        return ResponseReader(secrets=self._http.secrets, limits=self._limits)

    def _body(self, prompt: Prompt, lacks: Lacks, *, background: bool) -> Body:
        body = request_body(prompt, background=background, continuation=self._continuation)
        return capabilities.without(lacks, body)

    def _repeats(self, prompt: Prompt) -> bool:
        return bool(prompt.prefix) and self._continuation == "instruction"
