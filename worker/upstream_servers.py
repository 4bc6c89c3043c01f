"""The names of upstreams in telemetry: the provider of the conventions, the operation, the server's address. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import urlsplit

from app.domain.upstreams import Upstream
from app.telemetry import names

# Names of the conventions, by the end of the server's name.
_HOSTS = {
    "api.openai.com": "openai",
    ".openai.azure.com": "azure.ai.openai",
    ".services.ai.azure.com": "azure.ai.inference",
    "api.anthropic.com": "anthropic",
    "generativelanguage.googleapis.com": "gcp.gemini",
    "aiplatform.googleapis.com": "gcp.vertex_ai",
    ".amazonaws.com": "aws.bedrock",
    "api.mistral.ai": "mistral_ai",
    "api.groq.com": "groq",
    "api.deepseek.com": "deepseek",
    "api.x.ai": "x_ai",
    "api.cohere.com": "cohere",
    "api.perplexity.ai": "perplexity",
    ".ml.cloud.ibm.com": "ibm.watsonx.ai",
    "api.moonshot.ai": "moonshot_ai",
}


class UpstreamServer(NamedTuple):
    """An upstream in telemetry. ``address`` is None for a model of this process."""

    provider: str
    operation: str = names.CHAT
    address: str | None = None
    port: int | None = None


def servers(upstreams: Iterable[Upstream]) -> dict[str, UpstreamServer]:
    """The upstreams by their names."""
    return {upstream.name: _server(upstream) for upstream in upstreams}


def _server(upstream: Upstream) -> UpstreamServer:
    parts = urlsplit(upstream.base_url)
    host = parts.hostname or ""
    provider = next((name for end, name in _HOSTS.items() if host == end or host.endswith(_suffix(end))), upstream.name)
    operation = names.GENERATE_CONTENT if upstream.kind == "gemini" else names.CHAT
    return UpstreamServer(provider, operation, host, parts.port or (443 if parts.scheme == "https" else 80))


def _suffix(end: str) -> str:
    return end if end.startswith(".") else f".{end}"
