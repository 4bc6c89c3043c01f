"""Deliveries to webhooks of all users, for operators: looked at and sent again."""

from __future__ import annotations

from dataclasses import dataclass, replace

from app.domain.audit import Actor
from app.domain.errors import NotFound
from app.services.webhook_deliveries import WebhookDeliveries
from app.store import audit, watched_webhooks
from app.store.database import Database
from app.store.watched_webhooks import Wanted, WatchedDelivery


@dataclass(frozen=True, slots=True)
class WatchedPage:
    """A page of deliveries, newest first. ``next_cursor`` is None for the last page."""

    items: list[WatchedDelivery]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class WebhookWatch:
    """Looks at deliveries, and sends them again in the name of their owner."""

    database: Database
    deliveries: WebhookDeliveries

    def page(self, wanted: Wanted, limit: int) -> WatchedPage:
        """A page of the deliveries of all users."""
        with self.database.operator() as tx:
            found = watched_webhooks.page(tx, wanted, limit + 1)
        shown = found[:limit]
        return WatchedPage(shown, shown[-1].id if len(found) > limit else None)

    def replay(self, actor: Actor, delivery_id: str, reason: str | None) -> WatchedDelivery:
        """Send a finished delivery again. Raises NotFound, and what the owner's replay raises.

        The action is audited before it begins, so that none is without its row.
        """
        found = self._get(delivery_id)
        with self.database.operator() as tx:
            about = ("webhook_delivery.replayed", "webhook_delivery", delivery_id)
            audit.record(tx, actor, *about, user_id=found.user_id, details={"reason": reason} if reason else {})
        self.deliveries.replay(found.user_id, delivery_id)
        return self._get(delivery_id)

    def _get(self, delivery_id: str) -> WatchedDelivery:
        with self.database.operator() as tx:
            found = watched_webhooks.page(tx, replace(Wanted(), id=delivery_id), 1)
        if not found:
            raise NotFound
        return found[0]
