"""Webhook endpoints of users, and the secret for the ``webhook_url`` of single requests.

No statement here reads the secret of an endpoint: the role of web processes may only write it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.store.database import Tx, execute, fetch, fetch_one, mine

# The reasons of deliveries that end with their endpoint, or whose endpoint is switched off.
ENDPOINT_GONE = "endpoint_gone"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A receiver of events. ``disabled_reason``: it has refused events for good (410); None while it receives them."""

    id: str
    name: str
    url: str
    event_types: tuple[str, ...]
    secret_hint: str
    created_at: datetime
    updated_at: datetime
    disabled_at: datetime | None
    disabled_reason: str | None


@dataclass(frozen=True, slots=True)
class NewSecret:
    """A secret with the hint that lists show."""

    text: str
    hint: str


@dataclass(frozen=True, slots=True)
class EndpointChange:
    """The fields of an endpoint to be changed; those that are None stay as they are."""

    name: str | None = None
    url: str | None = None
    event_types: Sequence[str] | None = None


@dataclass(frozen=True, slots=True)
class UserSecret:
    """The secret of a user's ``webhook_url``. The earlier one signs, too, until ``previous_until``."""

    secret: str
    updated_at: datetime
    previous_until: datetime | None


_COLUMNS = "id, name, url, event_types, secret_hint, created_at, updated_at, disabled_at, disabled_reason"


def hold(tx: Tx, user_id: str) -> None:
    """Hold the number of a user's endpoints until the transaction ends."""
    fetch(tx, "SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))", name=f"webhook endpoints {user_id}")


def count(tx: Tx, user_id: str) -> int:
    """The number of a user's endpoints."""
    sql = f"SELECT count(*) AS n FROM webhook_endpoints WHERE user_id = :user_id AND {mine()}"
    row = fetch_one(tx, sql, user_id=user_id)
    return int(row.n) if row else 0


def add(tx: Tx, endpoint_id: str, user_id: str, given: EndpointChange, secret: NewSecret) -> Endpoint:
    """Add an endpoint. Every field of ``given`` is set."""
    row = fetch_one(
        tx,
        f"""INSERT INTO webhook_endpoints (id, user_id, name, url, event_types, secret, secret_hint)
            VALUES (:id, :user_id, :name, :url, :event_types, :secret, :hint) RETURNING {_COLUMNS}""",
        id=endpoint_id,
        user_id=user_id,
        name=given.name,
        url=given.url,
        event_types=list(given.event_types or ()),
        secret=secret.text,
        hint=secret.hint,
    )
    assert row is not None, "inserted"
    return _endpoint(row)


def get(tx: Tx, endpoint_id: str) -> Endpoint | None:
    """One endpoint of the user."""
    row = fetch_one(tx, f"SELECT {_COLUMNS} FROM webhook_endpoints WHERE id = :id AND {mine()}", id=endpoint_id)
    return _endpoint(row) if row else None


def page(tx: Tx, user_id: str, limit: int, before: str | None) -> list[Endpoint]:
    """Up to ``limit`` endpoints of a user, newest first, older than the endpoint ``before``."""
    rows = fetch(
        tx,
        f"""SELECT {_COLUMNS} FROM webhook_endpoints WHERE user_id = :user_id AND {mine()}
              AND (CAST(:before AS uuid) IS NULL OR id < CAST(:before AS uuid)) ORDER BY id DESC LIMIT :limit""",
        user_id=user_id,
        before=before,
        limit=limit,
    )
    return [_endpoint(row) for row in rows]


def change(tx: Tx, endpoint_id: str, given: EndpointChange) -> Endpoint | None:
    """Change an endpoint, and switch it on again. Its waiting deliveries go to its new address.

    A change that changes nothing does not advance ``updated_at``. None: there is no such endpoint.
    """
    row = fetch_one(
        tx,
        f"""UPDATE webhook_endpoints SET name = coalesce(:name, name), url = coalesce(:url, url),
                event_types = coalesce(CAST(:event_types AS text[]), event_types),
                updated_at = CASE WHEN (coalesce(:name, name), coalesce(:url, url),
                    coalesce(CAST(:event_types AS text[]), event_types), NULL) IS DISTINCT FROM
                    (name, url, event_types, disabled_reason) THEN now() ELSE updated_at END,
                disabled_at = NULL, disabled_reason = NULL
            WHERE id = :id AND {mine()} RETURNING {_COLUMNS}""",
        id=endpoint_id,
        name=given.name,
        url=given.url,
        event_types=list(given.event_types) if given.event_types is not None else None,
    )
    if row is not None and given.url is not None:
        execute(
            tx,
            f"""UPDATE webhook_deliveries SET url = :url
                WHERE endpoint_id = :id AND {mine()} AND state = 'waiting' AND url <> :url""",
            id=endpoint_id,
            url=given.url,
        )
    return _endpoint(row) if row else None


def rotate(tx: Tx, endpoint_id: str, secret: NewSecret, keep_seconds: float) -> Endpoint | None:
    """Give an endpoint a new secret; the earlier one signs, too, for ``keep_seconds``. None: no such endpoint."""
    row = fetch_one(
        tx,
        f"""UPDATE webhook_endpoints SET secret = :secret, secret_hint = :hint, updated_at = now(),
                previous_secret_until = now() + make_interval(secs => :keep)
            WHERE id = :id AND {mine()} RETURNING {_COLUMNS}""",
        id=endpoint_id,
        secret=secret.text,
        hint=secret.hint,
        keep=keep_seconds,
    )
    return _endpoint(row) if row else None


def delete(tx: Tx, endpoint_id: str) -> bool:
    """Delete an endpoint; its waiting deliveries are dead. False: there is no such endpoint."""
    # First: an end that adds a delivery holds the endpoint, so its delivery is committed before the next statement.
    gone = execute(tx, f"DELETE FROM webhook_endpoints WHERE id = :id AND {mine()}", id=endpoint_id)
    if gone:
        execute(
            tx,
            f"""UPDATE webhook_deliveries SET state = 'dead', reason = '{ENDPOINT_GONE}',
                    finished_at = clock_timestamp(), claimed_until = NULL
                WHERE endpoint_id = :id AND {mine()} AND state = 'waiting'""",
            id=endpoint_id,
        )
    return bool(gone)


def user_secret(tx: Tx, user_id: str, fresh: str) -> UserSecret:
    """The secret of a user's ``webhook_url``; ``fresh`` where the user has none yet."""
    execute(
        tx,
        """INSERT INTO webhook_secrets (user_id, secret) VALUES (:user_id, :secret) ON CONFLICT (user_id) DO NOTHING""",
        user_id=user_id,
        secret=fresh,
    )
    row = fetch_one(
        tx,
        f"""SELECT secret, updated_at, previous_secret_until AS previous_until FROM webhook_secrets
            WHERE user_id = :user_id AND {mine()}""",
        user_id=user_id,
    )
    assert row is not None, "inserted, or there before"
    return UserSecret(**row._mapping)


def rotate_user_secret(tx: Tx, user_id: str, secret: str, keep_seconds: float) -> UserSecret:
    """Give a user another secret; the earlier one signs, too, for ``keep_seconds``."""
    row = fetch_one(
        tx,
        f"""UPDATE webhook_secrets SET secret = :secret, updated_at = now(),
                previous_secret_until = now() + make_interval(secs => :keep)
            WHERE user_id = :user_id AND {mine()}
            RETURNING secret, updated_at, previous_secret_until AS previous_until""",
        user_id=user_id,
        secret=secret,
        keep=keep_seconds,
    )
    return UserSecret(**row._mapping) if row else user_secret(tx, user_id, secret)


def _endpoint(row: Any) -> Endpoint:
    return Endpoint(**{**row._mapping, "event_types": tuple(row.event_types)})
