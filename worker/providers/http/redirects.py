"""Redirects of upstreams: followed on the same origin, where the key may be sent again; named otherwise."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urljoin, urlsplit

from app.upstream_settings import without_secrets
from worker.providers.base import ProviderError
from worker.providers.http.interface import Answer
from worker.providers.reading.upstream_errors import tidy

# The most redirects of one request that are followed.
MOST_REDIRECTS = 3
# The redirects after which a request is repeated as it was, with its body.
REPEATING = frozenset({307, 308})
# The most characters of an address in an error.
MOST_SHOWN = 200
_REDIRECTS = frozenset({301, 302, 303, *REPEATING})


def redirect_location(url: str, answer: Answer) -> str | None:
    """The address that an answer to ``url`` redirects to, on whatever origin; None for any other answer."""
    location = answer.headers.get("location")
    if answer.status not in _REDIRECTS or not location:
        return None
    try:
        return urljoin(url, location)
    except ValueError:
        return None


def redirect_target(url: str, answer: Answer) -> str | None:
    """The address on the same origin that an answer to ``url`` redirects to; None for any other answer."""
    target = redirect_location(url, answer)
    return target if target is not None and _origin(target) == _origin(url) else None


def _origin(url: str) -> tuple[str, str | None, int | None] | None:
    """Scheme, host and port; None for an address that cannot be read."""
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return None


def endless() -> ProviderError:
    """The error of a request that was redirected MOST_REDIRECTS times, and once more."""
    message = "The upstream redirects without an end."
    return ProviderError("upstream_rejected", message, retryable=False, charged=False)


def not_followed(status: int, location: str, secrets: Iterable[str]) -> ProviderError:
    """The error of a redirect to ``location``, which is shown without user, password and query."""
    try:
        shown = tidy(without_secrets(location), secrets)[:MOST_SHOWN]
    except ValueError:
        shown = "an address that cannot be read"
    message = (
        f"The upstream answered {status} and redirects to {shown}, which is not followed. If that is the right place, "
        "its address belongs into the base URL."
    )
    return ProviderError("upstream_rejected", message, retryable=False, upstream_status=status, charged=False)
