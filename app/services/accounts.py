"""Users by the subject of their token: made at first sight, remembered by the process."""

from __future__ import annotations

from functools import lru_cache

import uuid_utils

from app.domain.commands import User
from app.store import users
from app.store.database import Database


class Accounts:
    """Turns a subject into a user."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._id_of = lru_cache(maxsize=50_000)(self._find_or_add)

    def user(self, subject: str, role: str | None) -> User:
        """The user behind a verified token."""
        return User(self._id_of(subject), subject, role)

    def _find_or_add(self, subject: str) -> str:
        with self._database.system() as tx:
            found = users.find(tx, subject)
            if found is None:
                users.add(tx, new_id(), subject)
                found = users.find(tx, subject)
        assert found is not None, "added above, or by somebody quicker"
        return found


def new_id() -> str:
    """A UUIDv7: in order of time, unguessable in its other 74 bits."""
    return str(uuid_utils.uuid7())
