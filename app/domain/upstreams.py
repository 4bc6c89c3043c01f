"""Upstreams: the services whose models answer, as a deployment configures them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

UpstreamKind = Literal["openai", "anthropic", "gemini"]

# OPENAI_BASE_URL is the upstream of this name.
OPENAI = "openai"


@dataclass(frozen=True, slots=True)
class UpstreamRun:
    """The run of an upstream that an answer's call has begun, as the row of the generation keeps it.

    ``run_id`` is the upstream's name of it. ``attempt`` is the number of the call. The run's own text begins behind
    ``text_chars`` characters of the answer, its reasoning behind ``reasoning_chars``; ``tools`` calls were before it.
    """

    upstream: str
    run_id: str
    attempt: int
    text_chars: int = 0
    reasoning_chars: int = 0
    tools: int = 0


@dataclass(frozen=True, slots=True)
class Upstream:
    """One upstream. ``kind`` is its protocol; ``name`` is the provider's name in models and targets.

    ``headers`` are sent with each request. ``token_limit_name`` is the parameter that limits the tokens of an answer,
    None to learn it. ``continuation`` is how a model goes on from a prefix: ``prefill``, ``vllm``, ``instruction`` or
    ``none``. ``background``: answers run in the background mode of OpenAI's Responses. ``traceparent``: requests name
    the trace that they belong to, where there is one. A secret is in ``api_key``, ``headers`` and ``base_url`` only;
    none of them is in the representation.
    """

    name: str
    kind: UpstreamKind
    base_url: str = field(repr=False)
    api_key: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    token_limit_name: str | None = None
    include_usage: bool = True
    continuation: str = "instruction"
    background: bool = False
    traceparent: bool = True
