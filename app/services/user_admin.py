"""Users, for operators: found, looked at, blocked and unblocked."""

from __future__ import annotations

from dataclasses import dataclass

from app.domain.audit import Actor
from app.domain.errors import NotFound, WrongState
from app.store import access, audit, watched_users
from app.store.database import Database, Tx
from app.store.watched_users import Figures, WatchedUser


@dataclass(frozen=True, slots=True)
class UserPage:
    """A page of users, newest first. ``next_cursor`` is None for the last page."""

    items: list[WatchedUser]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class UserAdmin:
    """Looks at users and blocks them. Methods with an id raise NotFound for a user who does not exist."""

    database: Database

    def page(self, limit: int, subject: str | None, before: str | None) -> UserPage:
        """A page of the users whose subject begins with ``subject``."""
        with self.database.operator() as tx:
            found = watched_users.page(tx, limit + 1, subject, before)
        shown = found[:limit]
        return UserPage(shown, shown[-1].id if len(found) > limit else None)

    def look(self, user_id: str) -> tuple[WatchedUser, Figures]:
        """One user with their figures."""
        with self.database.operator() as tx:
            return _present(tx, user_id), watched_users.figures(tx, user_id)

    def block(self, actor: Actor, user_id: str, reason: str) -> WatchedUser:
        """Refuse a user everything, and break what the user has open. Raises WrongState for the actor's own user."""
        if user_id == actor.user_id:
            raise WrongState("You cannot block yourself.")
        with self.database.operator() as tx:
            if _present(tx, user_id).state == "active":
                access.block(tx, user_id)
                audit.record(tx, actor, "user.blocked", "user", user_id, user_id=user_id, details={"reason": reason})
            return _present(tx, user_id)

    def unblock(self, actor: Actor, user_id: str, reason: str) -> WatchedUser:
        """End the block of a user. Raises WrongState for a user who is being erased, and for an ended account."""
        with self.database.operator() as tx:
            state = _present(tx, user_id).state
            if state in ("erasing", "ended"):
                raise WrongState(f"This user is {state} and cannot be unblocked.")
            if state == "blocked":
                access.unblock(tx, user_id)
                audit.record(tx, actor, "user.unblocked", "user", user_id, user_id=user_id, details={"reason": reason})
            return _present(tx, user_id)


def _present(tx: Tx, user_id: str) -> WatchedUser:
    found = watched_users.get(tx, user_id)
    if found is None:
        raise NotFound
    return found
