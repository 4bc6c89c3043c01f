"""The upstream's list of models, refreshed in the background of a worker and stored for the web processes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import structlog

from app.domain.errors import UnbrokenError
from app.domain.upstreams import Upstream
from app.store import upstream_models
from app.store.database import Database
from worker.listing import TOTAL_SECONDS, Fetch, Listing, ListsModels, doubt, request_list
from worker.providers.reading.model_list import model_names
from worker.providers.registry import Providers

T = TypeVar("T")

FRESH_SECONDS = 300.0
# The pause after a failed refresh, and between two looks of a worker at the row.
RETRY_SECONDS = 10.0
# A worker that starts waits this long for its first list, so that a service that is ready has one.
FIRST_SECONDS = 1.0

_log = structlog.get_logger()


async def start_all(database: Database, providers: Providers, most_bytes: int) -> tuple[asyncio.Future[None], ...]:
    """Begin to refresh the lists of all upstreams; returns after their first refreshes, or FIRST_SECONDS.

    ``most_bytes`` is MAX_MODEL_LIST_BYTES.
    """
    started = [
        ModelLists(database, upstream, partial(provider.list_models, most_bytes)).start()
        for upstream in providers.upstreams
        if isinstance(provider := providers.get(upstream.name), ListsModels)
    ]
    if started:
        await asyncio.wait([first for first, _ in started], timeout=FIRST_SECONDS)
    return tuple(task for _, task in started)


class ModelLists:
    """Refreshes one upstream's list: when the worker starts, and then whenever the stored one is old.

    ``fetch`` requests the list and returns the body; it raises ProviderError. Of several workers one refreshes at a
    time. Every failure is stored as the list's ``trouble``, and the names stored before it stay.
    """

    def __init__(
        self, database: Database, upstream: Upstream, fetch: Fetch, total_seconds: float = TOTAL_SECONDS
    ) -> None:
        self._database = database
        self._upstream = upstream
        self._fetch = fetch
        self._total_seconds = total_seconds
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model list")
        self._logged: str | None = None

    def start(self) -> tuple[asyncio.Future[None], asyncio.Future[None]]:
        """Begin to refresh in the background. The first refresh, and the task of all of them."""
        first = asyncio.ensure_future(self.refresh(expired=True))
        return first, asyncio.ensure_future(self._run(first))

    async def refresh(self, *, expired: bool = False) -> None:
        """Refresh the list if it is old, or ``expired``, and no other worker does. Raises nothing."""
        try:
            if await self._in_thread(self._claim, expired):
                listing = await request_list(self._fetch, partial(self._in_thread, model_names), self._total_seconds)
                await self._in_thread(self._store, listing)
                self._report(listing)
        except UnbrokenError as error:
            _log.warning("model list not stored", action="list_models", error=error.detail)
        except Exception as error:  # the next look may succeed
            _log.warning("model list not stored", action="list_models", error=repr(error))

    async def _run(self, first: asyncio.Future[None]) -> None:
        await first
        while True:
            await asyncio.sleep(RETRY_SECONDS)
            await self.refresh()

    def _report(self, listing: Listing) -> None:
        """Log a new trouble once."""
        if listing.trouble is not None and listing.trouble != self._logged:
            detail = doubt(self._upstream, listing)
            _log.warning("upstream lists no models", action="list_models", upstream=self._upstream.name, error=detail)
        self._logged = listing.trouble

    def _claim(self, expired: bool) -> bool:
        with self._database.system() as tx:
            if expired:
                upstream_models.expire(tx, self._upstream.name)
            return upstream_models.claim(tx, self._upstream.name, RETRY_SECONDS)

    def _store(self, listing: Listing) -> None:
        with self._database.system() as tx:
            if listing.trouble is None:
                upstream_models.replace(tx, self._upstream.name, listing.names, FRESH_SECONDS)
            else:
                upstream_models.keep(tx, self._upstream.name, listing.trouble, RETRY_SECONDS)

    async def _in_thread(self, work: Callable[..., T], *args: object) -> T:
        """Run ``work`` in the thread of the lists: it waits for PostgreSQL, or parses megabytes."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *args)
