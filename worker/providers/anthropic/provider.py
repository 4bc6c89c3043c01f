"""Anthropic's Messages API. ``request`` makes the request, ``messages`` reads the answer."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import orjson

from app.domain.upstreams import Upstream
from worker.limits import Limits
from worker.providers.anthropic import abilities as anthropic_abilities
from worker.providers.anthropic.abilities import Abilities
from worker.providers.anthropic.messages import MessageReader
from worker.providers.anthropic.request import is_prefilled, request_body
from worker.providers.base import Emit, Prompt, ProviderError
from worker.providers.http.call import HttpUpstream, checked_key, split_base_url
from worker.providers.http.interface import Transport
from worker.providers.learning.adjusting import Adjuster
from worker.providers.learning.learned import Lacks, Learned
from worker.providers.reading.continuation import OverlapCutter, SpaceCutter, without_repeat
from worker.providers.reading.native_usage import added, with_usage

VERSION = "2023-06-01"
# From this version on a request has no temperature, top_p and top_k.
WITHOUT_SAMPLING = "2026-10-21"
CONTINUATIONS = ("prefill", "instruction", "none")
# The most times that one answer goes on after a pause of the upstream.
MOST_PAUSES = 16
_CONTEXT = re.compile(r"max_tokens` exceed context limit: (\d+) \+ (\d+) > (\d+)")

Accepted = Callable[[], None] | None


class Anthropic:
    """A Provider over HTTP.

    A base URL may end in ``/v1`` or in front of it. The continuation ``prefill`` is tried with each model, and left
    for ``instruction`` with a model that refuses it; thinking and JSON answers use ``instruction`` always. What a model
    refuses is kept in ``learned``. Without a ``transport`` it takes the environment's proxy, or none. Raises ValueError
    for an unusable URL, key or continuation.
    """

    def __init__(
        self, upstream: Upstream, limits: Limits, transport: Transport | None = None, learned: Learned | None = None
    ) -> None:
        if upstream.continuation not in CONTINUATIONS:
            raise ValueError(f"an upstream of the kind anthropic has no continuation {upstream.continuation!r}")
        headers = {"anthropic-version": VERSION}
        if upstream.api_key:
            headers["x-api-key"] = checked_key(upstream.api_key)
        headers |= {name.lower(): value for name, value in upstream.headers.items()}
        self._continuation = upstream.continuation
        self._abilities = Abilities(
            prefills=upstream.continuation == "prefill", samples=headers["anthropic-version"] < WITHOUT_SAMPLING
        )
        self._adjuster = Adjuster(upstream.name, learned or Learned(), anthropic_abilities.lacking)
        own = (value for name, value in upstream.headers.items() if not name.lower().startswith("anthropic-"))
        self._limits = limits
        self._path = "" if split_base_url(upstream.base_url).path.rstrip("/").endswith("/v1") else "/v1"
        self._http = HttpUpstream(
            upstream.base_url,
            headers,
            filter(None, (upstream.api_key, *own)),
            limits,
            transport,
            names_trace=upstream.traceparent,
        )

    @property
    def continues(self) -> bool:
        """True unless the continuation of texts is switched off."""
        return self._continuation != "none"

    async def stream(self, prompt: Prompt, emit: Emit) -> None:
        """See Provider.stream. Raises ValueError for a prefix when this upstream cannot continue."""
        if prompt.prefix and not self.continues:
            raise ValueError("this upstream cannot continue from a prefix")

        def build(lacks: Lacks) -> dict[str, Any]:
            return anthropic_abilities.without(lacks, request_body(prompt, self._abilities.without(lacks)))

        async def send(body: dict[str, Any], lacks: Lacks, accepted: Accepted) -> None:
            out = emit
            if prompt.prefix:
                is_prefill = is_prefilled(prompt, self._abilities.without(lacks))
                out = without_repeat(emit, SpaceCutter(prompt.prefix) if is_prefill else OverlapCutter(prompt.prefix))
            try:
                await self._answer(body, out, accepted)
            except ProviderError as error:
                room = room_left(error)
                if room is None:
                    raise
                await self._answer({**body, "max_tokens": room}, out, accepted)

        await self._adjuster.run(prompt.model, build, send)

    async def list_models(self, most_bytes: int) -> bytes:
        """The body of the upstream's list of models; ``most_bytes`` is MAX_MODEL_LIST_BYTES. Raises ProviderError."""
        return await self._http.list_models(f"{self._path}/models?limit=1000", most_bytes)

    async def close(self) -> None:
        """Close every connection to the upstream."""
        await self._http.close()

    async def _answer(self, body: dict[str, Any], emit: Emit, accepted: Accepted) -> None:
        """One answer, however often the upstream pauses in it."""
        path, calls, usage = f"{self._path}/messages", 0, None
        for _ in range(MOST_PAUSES + 1):
            reader = MessageReader(secrets=self._http.secrets, limits=self._limits, first_call=calls)
            try:
                await self._http.stream(path, orjson.dumps(body), reader, with_usage(emit, usage), accepted)
            except ProviderError as error:
                error.usage = added(usage, error.usage)
                raise
            if not reader.paused:
                return
            accepted, calls, usage = None, reader.calls, added(usage, reader.usage)
            body = {**body, "messages": _with_content(body["messages"], reader.content)}
        message = f"The upstream paused its answer more than {MOST_PAUSES} times."
        raise ProviderError("upstream_error", message, retryable=False, usage=usage)


def room_left(error: ProviderError) -> int | None:
    """The most tokens of an answer that fit behind a long prompt, where a refusal says so."""
    found = _CONTEXT.search(error.message) if error.upstream_status == 400 else None
    room = int(found[3]) - int(found[1]) if found else 0
    return room if room > 0 else None


def _with_content(turns: list[dict[str, Any]], content: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The turns with the content of a paused one. Raises ProviderError without any: nothing would be different."""
    if not content:
        raise ProviderError("upstream_error", "The upstream paused before it said anything.", retryable=True)
    last = turns[-1]
    if last["role"] == "assistant":
        return [*turns[:-1], {**last, "content": [*last["content"], *content]}]
    return [*turns, {"role": "assistant", "content": content}]
