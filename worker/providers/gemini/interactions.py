"""An upstream that speaks Gemini's Interactions and keeps its runs: the background mode of the kind ``gemini``.

``interactions_request`` writes the request, ``interactions_run`` reads the run, ``runs.kept_runs`` has the connections.
"""

from __future__ import annotations

from app.domain.upstreams import Upstream
from worker.limits import Limits
from worker.providers.base import Prompt
from worker.providers.gemini import interactions_request
from worker.providers.gemini.interactions_run import InteractionReader
from worker.providers.gemini.provider import CONTINUATIONS, answering, api_path, http_of
from worker.providers.gemini.request import most_calls
from worker.providers.http.interface import Transport
from worker.providers.learning.adjusting import Adjuster, Body
from worker.providers.learning.learned import Lacks, Learned
from worker.providers.runs.kept_runs import KeptRuns


class Interactions(KeptRuns):
    """A RunKeeper over HTTP. A prefix is always continued by an instruction: the API has no other way.

    Raises ValueError for an unusable URL, key or continuation.
    """

    def __init__(
        self, upstream: Upstream, limits: Limits, transport: Transport | None = None, learned: Learned | None = None
    ) -> None:
        if upstream.continuation not in CONTINUATIONS:
            raise ValueError(f"an upstream of the kind gemini has no continuation {upstream.continuation!r}")
        adjuster = Adjuster(upstream.name, learned or Learned(), interactions_request.lacking)
        self._api = api_path(upstream)
        http = http_of(upstream, limits, transport)
        super().__init__(http, f"{self._api}/interactions", adjuster, upstream.continuation)
        self._limits = limits

    async def list_models(self, most_bytes: int) -> bytes:
        """The models that answer, as ``model_names`` reads them. ``most_bytes`` is MAX_MODEL_LIST_BYTES.

        Raises ProviderError.
        """
        return answering(await self._http.list_models(f"{self._api}/models?pageSize=1000", most_bytes))

    def _reader(self, prompt: Prompt) -> InteractionReader:
        return InteractionReader(secrets=self._http.secrets, limits=self._limits, most_calls=most_calls(prompt))

    def _body(self, prompt: Prompt, lacks: Lacks, *, background: bool) -> Body:
        return interactions_request.request_body(prompt, background=background, lacks=lacks)

    def _repeats(self, prompt: Prompt) -> bool:
        return bool(prompt.prefix)
