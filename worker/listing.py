"""The request of an upstream's list of models, and the sentence about an upstream that lists none."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from app.domain.upstreams import OPENAI, Upstream
from app.upstream_settings import variable, without_secrets
from worker.providers.base import ProviderError
from worker.providers.reading.model_list import NoModelList, model_names

Fetch = Callable[[], Awaitable[bytes]]
# Parses the body of a list; megabytes of it, so not in the loop.
Parse = Callable[[bytes], Awaitable[tuple[str, ...]]]

# The whole exchange, from the connection to the last byte.
TOTAL_SECONDS = 3.0

# Errors that another path would not mend.
_OTHER_CAUSES = frozenset({"upstream_connection", "upstream_timeout", "upstream_unauthorized", "upstream_rate_limited"})
_VERSION = re.compile(r"/v\d\w*(/|$)")


@runtime_checkable
class ListsModels(Protocol):
    """A provider whose upstream lists its models."""

    async def list_models(self, most_bytes: int) -> bytes:
        """The body of the list, as ``model_names`` reads it. Raises ProviderError."""
        ...


@dataclass(frozen=True, slots=True)
class Listing:
    """The names in a list; or the trouble, and whether a wrong path of the address may be its cause."""

    names: tuple[str, ...] = ()
    trouble: str | None = None
    is_path_doubtful: bool = False


async def request_list(fetch: Fetch, parse: Parse, total_seconds: float = TOTAL_SECONDS) -> Listing:
    """Fetch a list and read it. Raises nothing."""
    try:
        async with asyncio.timeout(total_seconds):
            body = await fetch()
        return Listing(await parse(body))
    except TimeoutError:
        return Listing(trouble=f"the list did not come within {total_seconds:g} seconds")
    except ProviderError as error:
        return Listing(trouble=error.message, is_path_doubtful=error.code not in _OTHER_CAUSES)
    except NoModelList as error:
        return Listing(trouble=str(error), is_path_doubtful=True)
    except Exception as error:  # an upstream may answer anything at all
        return Listing(trouble=type(error).__name__)


def doubt(upstream: Upstream, listing: Listing) -> str | None:
    """One sentence about an upstream that lists no models, with its address; None for one that does."""
    if listing.trouble is None:
        return None
    name = "OPENAI_BASE_URL" if upstream.name == OPENAI else variable(upstream.name, "base_url")
    address = without_secrets(upstream.base_url).rstrip("/")
    hint = ""
    if listing.is_path_doubtful and upstream.kind == "openai" and not _VERSION.search(address):
        hint = f" Most addresses end in /v1: try {address}/v1."
    return f"{name}: {address} lists no models: {listing.trouble.rstrip('.')}.{hint}"


async def look(upstream: Upstream, provider: object, most_bytes: int) -> str | None:
    """Request the list of an upstream once: the sentence about it, or None."""

    async def parse(body: bytes) -> tuple[str, ...]:
        return await asyncio.to_thread(model_names, body)

    if not isinstance(provider, ListsModels):
        return None
    return doubt(upstream, await request_list(lambda: provider.list_models(most_bytes), parse))
