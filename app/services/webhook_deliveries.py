"""Deliveries to webhooks: looked at, sent again, and removed when they are old."""

from __future__ import annotations

from dataclasses import dataclass

from app.domain.errors import NotFound, WrongState
from app.store import webhook_deliveries
from app.store.database import Database, Tx
from app.store.webhook_deliveries import NOT_SENT, Attempt, Delivery, DeliveryFilter, Range

# Deliveries that one request sends again at most.
REPLAYED_AT_ONCE = 1000
# Rows removed in one transaction.
PRUNED_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class ShownDelivery:
    """A delivery with its newest attempts, oldest first."""

    delivery: Delivery
    attempts: list[Attempt]


@dataclass(frozen=True, slots=True)
class DeliveryPage:
    """A page of deliveries, newest first. ``next_cursor`` is None for the last page."""

    items: list[ShownDelivery]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class Replayed:
    """The outcome of a replay: the number of deliveries, and whether the range may have more."""

    count: int
    has_more: bool


class TooManyWaiting(WrongState):
    """As many deliveries wait as one user may have."""

    def __init__(self, most: int) -> None:
        super().__init__(
            f"{most} deliveries of yours wait already (MAX_WEBHOOKS_WAITING_PER_USER); try again when some have ended."
        )


class WebhookDeliveries:
    """The deliveries of users. Methods with an id raise NotFound for another user's id, as for an unknown one.

    ``most_waiting`` deliveries of one user wait at most. Deliveries are kept for ``kept_days`` after their end.
    """

    def __init__(self, database: Database, most_waiting: int, kept_days: float) -> None:
        self._database = database
        self._most_waiting = most_waiting
        self._kept_days = kept_days

    def page(self, user_id: str, wanted: DeliveryFilter, limit: int, before: str | None) -> DeliveryPage:
        """A page of a user's deliveries with their attempts."""
        with self._database.user(user_id) as tx:
            found = webhook_deliveries.page(tx, user_id, wanted, limit + 1, before)
            shown = found[:limit]
            attempts = webhook_deliveries.attempts(tx, [one.id for one in shown])
        items = [ShownDelivery(one, attempts.get(one.id, [])) for one in shown]
        return DeliveryPage(items, shown[-1].id if len(found) > limit else None)

    def get(self, user_id: str, delivery_id: str) -> ShownDelivery:
        """One delivery with its attempts."""
        with self._database.user(user_id) as tx:
            found = webhook_deliveries.get(tx, delivery_id)
            if found is None:
                raise NotFound
            return ShownDelivery(found, webhook_deliveries.attempts(tx, [delivery_id]).get(delivery_id, []))

    def replay(self, user_id: str, delivery_id: str) -> ShownDelivery:
        """Send a finished delivery again, by a schedule from its beginning. One that waits already is left as it is.

        Raises WrongState for a test, and for a delivery whose endpoint is gone or switched off; TooManyWaiting.
        """
        found = self.get(user_id, delivery_id).delivery
        if found.is_test:
            raise WrongState("A test is sent once; request another one.")
        with self._database.user(user_id) as tx:
            self._room(tx, user_id)
            is_sent = webhook_deliveries.replay(tx, delivery_id)
        if not is_sent and self.get(user_id, delivery_id).delivery.state != "waiting":
            raise WrongState("The endpoint of this delivery is deleted or switched off.")
        return self.get(user_id, delivery_id)

    def replay_range(self, user_id: str, wanted: Range) -> Replayed:
        """Send finished deliveries of a time again, the oldest first; up to REPLAYED_AT_ONCE of them.

        Raises TooManyWaiting.
        """
        with self._database.user(user_id) as tx:
            most = min(self._room(tx, user_id), REPLAYED_AT_ONCE)
            count = webhook_deliveries.replay_range(tx, user_id, wanted, most)
        return Replayed(count, count == most)

    def check_room(self, user_id: str) -> None:
        """Raises TooManyWaiting when no further delivery of a user may wait."""
        with self._database.user(user_id) as tx:
            self._room(tx, user_id)

    def outcome_of_test(self, user_id: str, delivery_id: str) -> ShownDelivery:
        """A test after its attempt. One that was not attempted is given up."""
        with self._database.user(user_id) as tx:
            webhook_deliveries.give_up(tx, delivery_id, NOT_SENT)
        return self.get(user_id, delivery_id)

    def prune(self) -> None:
        """Remove deliveries past their time, in batches."""
        removed = PRUNED_AT_ONCE
        while removed == PRUNED_AT_ONCE:
            with self._database.system() as tx:
                removed = webhook_deliveries.prune(tx, self._kept_days, PRUNED_AT_ONCE)

    def _room(self, tx: Tx, user_id: str) -> int:
        """The number of further deliveries that may wait. Raises TooManyWaiting."""
        webhook_deliveries.hold_waiting(tx, user_id)
        room = self._most_waiting - webhook_deliveries.waiting(tx, user_id, self._most_waiting)
        if room <= 0:
            raise TooManyWaiting(self._most_waiting)
        return room
