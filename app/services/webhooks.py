"""Webhook endpoints of users, the secrets that sign, and tests of an endpoint."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from app.domain.audit import Actor
from app.domain.errors import InvalidInput, NotFound, WrongState
from app.domain.webhook_event import event_body, event_id, response_id
from app.domain.webhook_signature import hint, new_secret
from app.egress.rules import EgressRules, Refused
from app.egress.target import target_of
from app.services.users import new_id
from app.store import audit, webhook_endpoints, webhook_events
from app.store.database import Database
from app.store.webhook_endpoints import Endpoint, EndpointChange, NewSecret, UserSecret
from app.store.webhook_events import TestEvent

# Seconds for which a rotation keeps the old secret, where the request wants that: a day.
KEEP_OLD_SECONDS = 86_400.0


class TooManyEndpoints(WrongState):
    """There are as many webhook endpoints as one user may have."""

    def __init__(self, most: int) -> None:
        super().__init__(
            f"One user has at most {most} webhook endpoints (MAX_WEBHOOK_ENDPOINTS_PER_USER); delete one of them first."
        )


@dataclass(frozen=True, slots=True)
class EndpointPage:
    """A page of endpoints, newest first."""

    items: list[Endpoint]
    has_more: bool


@dataclass(frozen=True, slots=True)
class SecretEndpoint:
    """An endpoint with its new secret, which is shown once."""

    endpoint: Endpoint
    secret: str


@dataclass(frozen=True, slots=True)
class Webhooks:
    """The endpoints of users. Methods with an id raise NotFound for another user's id, as for an unknown one.

    ``rules`` decide about addresses; a user has at most ``most_endpoints``.
    """

    database: Database
    rules: EgressRules
    most_endpoints: int

    def check_url(self, url: str, field: str) -> None:
        """Refuse an address that no attempt would call. Raises InvalidInput, which names ``field`` and the setting."""
        try:
            target_of(url, self.rules)
        except Refused as refused:
            raise InvalidInput(str(refused), field) from None

    def create(self, actor: Actor, user_id: str, given: EndpointChange) -> SecretEndpoint:
        """A new endpoint; each field of ``given`` is set. Raises InvalidInput, TooManyEndpoints."""
        assert given.url is not None, "checked by the edge"
        self.check_url(given.url, "url")
        secret = _secret()
        with self.database.user(user_id) as tx:
            webhook_endpoints.hold(tx, user_id)
            if webhook_endpoints.count(tx, user_id) >= self.most_endpoints:
                raise TooManyEndpoints(self.most_endpoints)
            made = webhook_endpoints.add(tx, new_id(), user_id, given, secret)
            audit.record(tx, actor, "webhook_endpoint.created", "webhook_endpoint", made.id, user_id=user_id)
        return SecretEndpoint(made, secret.text)

    def page(self, user_id: str, limit: int, before: str | None) -> EndpointPage:
        """A page of a user's endpoints."""
        with self.database.user(user_id) as tx:
            found = webhook_endpoints.page(tx, user_id, limit + 1, before)
        return EndpointPage(found[:limit], len(found) > limit)

    def get(self, user_id: str, endpoint_id: str) -> Endpoint:
        """One endpoint."""
        with self.database.user(user_id) as tx:
            return _present(webhook_endpoints.get(tx, endpoint_id))

    def change(self, actor: Actor, user_id: str, endpoint_id: str, given: EndpointChange) -> Endpoint:
        """Change an endpoint; one that was switched off is on again. Raises InvalidInput."""
        if given.url is not None:
            self.check_url(given.url, "url")
        with self.database.user(user_id) as tx:
            changed = _present(webhook_endpoints.change(tx, endpoint_id, given))
            audit.record(tx, actor, "webhook_endpoint.changed", "webhook_endpoint", endpoint_id, user_id=user_id)
        return changed

    def rotate(self, actor: Actor, user_id: str, endpoint_id: str, *, keep_old: bool) -> SecretEndpoint:
        """Give an endpoint a new secret. ``keep_old``: events are signed with the old one, too, for a day."""
        secret = _secret()
        with self.database.user(user_id) as tx:
            keep = KEEP_OLD_SECONDS if keep_old else 0.0
            found = _present(webhook_endpoints.rotate(tx, endpoint_id, secret, keep))
            audit.record(tx, actor, "webhook_secret.rotated", "webhook_endpoint", endpoint_id, user_id=user_id)
        return SecretEndpoint(found, secret.text)

    def delete(self, actor: Actor, user_id: str, endpoint_id: str) -> None:
        """Delete an endpoint. What waits for it is dead."""
        with self.database.user(user_id) as tx:
            if not webhook_endpoints.delete(tx, endpoint_id):
                raise NotFound
            audit.record(tx, actor, "webhook_endpoint.deleted", "webhook_endpoint", endpoint_id, user_id=user_id)

    def add_test(self, user_id: str, endpoint_id: str, event_type: str, delivery_id: str) -> None:
        """Add a delivery with an event about a response that does not exist. Raises WrongState for a disabled one."""
        identifier = event_id(delivery_id)
        body = event_body(identifier, event_type, datetime.now(UTC), {"id": response_id(delivery_id)})
        with self.database.user(user_id) as tx:
            found = _present(webhook_endpoints.get(tx, endpoint_id))
            test = TestEvent(delivery_id, identifier, event_type, body)
            if not webhook_events.add_test(tx, endpoint_id, test):
                why = found.disabled_reason or "it was deleted"
                raise WrongState(f"The endpoint is switched off ({why}). An update of it switches it on again.")

    def secret(self, user_id: str) -> UserSecret:
        """The secret that signs the events for the ``webhook_url`` of a user's requests."""
        with self.database.user(user_id) as tx:
            return webhook_endpoints.user_secret(tx, user_id, new_secret())

    def rotate_secret(self, actor: Actor, user_id: str, *, keep_old: bool) -> UserSecret:
        """Give a user another secret. ``keep_old``: events are signed with the old one, too, for a day."""
        with self.database.user(user_id) as tx:
            keep = KEEP_OLD_SECONDS if keep_old else 0.0
            found = webhook_endpoints.rotate_user_secret(tx, user_id, new_secret(), keep)
            audit.record(tx, actor, "webhook_secret.rotated", "user", user_id, user_id=user_id)
        return found


def _secret() -> NewSecret:
    text = new_secret()
    return NewSecret(text, hint(text))


def _present(endpoint: Endpoint | None) -> Endpoint:
    if endpoint is None:
        raise NotFound
    return endpoint
