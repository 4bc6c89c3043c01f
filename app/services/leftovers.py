"""Removes rows that would stay: unused reservations, old tickets, old usage, finished erasures, unused lists."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from app.services.passes import batches
from app.services.tickets import REOPEN_SECONDS
from app.store import leftovers
from app.store.database import Database

# Rows removed in one transaction, which may lock as many holds.
LEFTOVERS_AT_ONCE = 200
# Days without a refresh after which the list of an upstream is removed: no worker has the upstream any more.
UNUSED_LIST_DAYS = 30


@dataclass(frozen=True, slots=True)
class KeptDays:
    """The days for which rows are kept: RESERVED_CONVERSATION_DAYS, USAGE_DAYS, ERASURE_DAYS."""

    reservations: int
    usage: int
    erasures: int


class Leftovers:
    """Removes such rows, in batches."""

    def __init__(self, database: Database, kept: KeptDays) -> None:
        self._database = database
        self._kept = kept

    def prune(self) -> Iterator[Iterator[None]]:
        """Remove what is past its time: a part for each kind, so that one that fails keeps none of the others."""
        kept = self._kept
        yield self._remove(partial(leftovers.remove_reservations, days=kept.reservations))
        yield self._remove(partial(leftovers.remove_tickets, seconds=REOPEN_SECONDS))
        yield self._remove(partial(leftovers.remove_usage, table="usage_days", days=kept.usage))
        yield self._remove(partial(leftovers.remove_usage, table="key_usage_days", days=kept.usage))
        yield self._remove(partial(leftovers.remove_erasures, days=kept.erasures))
        yield self._remove(partial(leftovers.remove_lists, days=UNUSED_LIST_DAYS))

    def _remove(self, remove: Callable[..., int]) -> Iterator[None]:
        return batches(self._database, partial(remove, limit=LEFTOVERS_AT_ONCE), LEFTOVERS_AT_ONCE)
