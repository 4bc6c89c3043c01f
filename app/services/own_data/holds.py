"""Legal holds, placed and ended by operators. The audit has each of them with its reason."""

from __future__ import annotations

from app.domain.audit import Actor
from app.domain.errors import NotFound
from app.store import audit, holds
from app.store.database import Database
from app.store.holds import Hold


class Holds:
    """Holds on everything of a user. Raises NotFound for a user, or a hold, that does not exist."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def place(self, actor: Actor, user_id: str, reason: str) -> Hold:
        """Place a hold; from its commit on nothing of the user is removed."""
        with self._database.operator() as tx:
            placed = holds.place(tx, user_id, reason)
            if placed is None:
                raise NotFound("There is no such user.")
            audit.record(tx, actor, "hold.placed", "user", user_id, details={"reason": reason})
        return placed

    def get(self, user_id: str) -> Hold:
        """The hold on a user."""
        with self._database.operator() as tx:
            found = holds.get(tx, user_id)
        if found is None:
            raise NotFound("There is no hold on this user.")
        return found

    def end(self, actor: Actor, user_id: str) -> None:
        """End a hold. What the user has deleted meanwhile, and an erasure that waits, is removed by workers."""
        with self._database.operator() as tx:
            if not holds.end(tx, user_id):
                raise NotFound("There is no hold on this user.")
            audit.record(tx, actor, "hold.ended", "user", user_id)
