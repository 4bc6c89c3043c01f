"""The HTTP side of an upstream that takes OpenAI's kind of credentials."""

from __future__ import annotations

from base64 import b64encode
from urllib.parse import SplitResult, unquote

from app.domain.upstreams import Upstream
from worker.limits import Limits
from worker.providers.http.call import HttpUpstream, checked_key, split_base_url
from worker.providers.http.interface import Transport


def http_of(upstream: Upstream, limits: Limits, transport: Transport | None) -> HttpUpstream:
    """The HTTP side of an upstream, with its credentials. Raises ValueError for an unusable URL or key."""
    parts = split_base_url(upstream.base_url)
    own = {name.title(): value for name, value in upstream.headers.items()}
    headers = _authorization(upstream.api_key, parts) | own
    # The part of the Authorization header behind the scheme: an upstream may quote it.
    said = headers.get("Authorization", "").partition(" ")[2]
    passwords = (parts.password, unquote(parts.password or ""))
    secrets = (upstream.api_key, *passwords, said, *upstream.headers.values())
    return HttpUpstream(
        upstream.base_url,
        headers,
        dict.fromkeys(filter(None, secrets)),
        limits,
        transport,
        names_trace=upstream.traceparent,
    )


def _authorization(api_key: str | None, parts: SplitResult) -> dict[str, str]:
    if api_key:
        return {"Authorization": f"Bearer {checked_key(api_key)}"}
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        return {"Authorization": "Basic " + b64encode(pair.encode()).decode()}
    return {}
