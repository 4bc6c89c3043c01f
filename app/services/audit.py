"""Reading the audit, and its end: actions are kept for AUDIT_DAYS."""

from __future__ import annotations

from dataclasses import dataclass

from app.domain.audit import Actor
from app.domain.commands import User
from app.store import audit
from app.store.audit import AuditFilter, AuditRow
from app.store.database import Database

# Rows removed in one transaction.
PRUNED_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class AuditPage:
    """A page of actions, newest first. ``next_cursor`` is None for the last page."""

    items: list[AuditRow]
    next_cursor: str | None


class Audit:
    """Reads actions and removes old ones. Each action is recorded by the service that does it."""

    def __init__(self, database: Database, kept_days: float) -> None:
        self._database = database
        self._kept_days = kept_days

    def everybodys(self, actor: Actor, wanted: AuditFilter, limit: int) -> AuditPage:
        """A page of the actions of all users. The look at it is an action, too."""
        with self._database.operator() as tx:
            found = audit.page(tx, wanted, limit + 1)
            if wanted.before is None:
                audit.record(tx, actor, "audit.read", "audit", wanted.object_id or "", details={"user": wanted.user})
        return _page(found, limit)

    def own(self, user: User, before: str | None, limit: int) -> AuditPage:
        """A page of the actions on one user."""
        with self._database.user(user.id) as tx:
            return _page(audit.own_page(tx, user.id, before, limit + 1), limit)

    def prune(self) -> None:
        """Remove actions past their time, in batches."""
        removed = PRUNED_AT_ONCE
        while removed == PRUNED_AT_ONCE:
            with self._database.system() as tx:
                removed = audit.prune(tx, self._kept_days, PRUNED_AT_ONCE)


def _page(found: list[AuditRow], limit: int) -> AuditPage:
    shown = found[:limit]
    return AuditPage(shown, shown[-1].id if len(found) > limit else None)
