"""The list of erasures, which has to be applied again to a restored backup."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import islice

from app.domain.audit import SERVICE
from app.services.own_data.access import end_access
from app.services.users import new_id
from app.store import audit, erasures
from app.store.database import Database, Tx
from app.store.erasures import Erasure

# Rows of one transaction.
AT_ONCE = 500
_FIRST = "00000000-0000-0000-0000-000000000000"


class ErasureList:
    """Reads and repeats erasures as the system. Each method raises DatabaseDown."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def since(self, at: datetime) -> Iterator[Erasure]:
        """The erasures that were requested since a time."""
        after: str | None = _FIRST
        while after is not None:
            with self._database.system() as tx:
                found = erasures.requested(tx, at, after, AT_ONCE)
            yield from found
            after = found[-1].id if len(found) == AT_ONCE else None

    def again(self, digests: Iterable[bytes]) -> int:
        """Request the erasure of the users with these digests that exist; their number."""
        users, rest = 0, iter(digests)
        while some := list(islice(rest, AT_ONCE)):
            with self._database.system() as tx:
                for user_id in erasures.users_of(tx, some):
                    _request(tx, user_id)
                    users += 1
        return users

    def request(self, user_id: str) -> bool:
        """Request the erasure of one user. Returns whether there is such a user."""
        with self._database.system() as tx:
            is_there = erasures.exists(tx, user_id)
            if is_there:
                _request(tx, user_id)
        return is_there


def _request(tx: Tx, user_id: str) -> None:
    found = erasures.request(tx, user_id, new_id())
    audit.record(tx, SERVICE, "erasure.requested", "erasure", found.id, user_id=user_id)
    end_access(tx, user_id)
