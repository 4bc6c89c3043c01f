"""The audit: rows that are added with the action they tell of, and never changed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import uuid_utils

from app.domain.audit import Actor
from app.store.database import Tx, as_json, execute, fetch, fetch_one

_COLUMNS = """id, at, user_id, actor_id, credential_kind, credential_id, address, request_id, action, object_kind,
    object_id, details"""


@dataclass(frozen=True, slots=True)
class AuditRow:
    """An action. ``user_id`` is the user acted on; ``actor_id`` the user who acted, None for the service itself."""

    id: str
    at: datetime
    user_id: str | None
    actor_id: str | None
    credential_kind: str | None
    credential_id: str
    address: str | None
    request_id: str | None
    action: str
    object_kind: str
    object_id: str
    details: dict[str, str | int | bool | None]


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """A filter of audited actions; fields that are None do not filter. ``before``: the id that a page ends before."""

    user: str | None = None
    actor: str | None = None
    action: str | None = None
    object_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    before: str | None = None


def record(
    tx: Tx,
    actor: Actor,
    action: str,
    object_kind: str,
    object_id: str = "",
    *,
    user_id: str | None = None,
    details: dict[str, str | int | bool | None] | None = None,
) -> None:
    """Add an action to the audit, in the transaction of the action itself. Any role may.

    ``action`` is an object and a verb in the past, such as ``session.ended``. ``user_id``: the user acted on; None is
    the actor. ``details`` are ids, numbers, names of settings and an operator's reason: never a text of a user's
    conversations.
    """
    execute(
        tx,
        """SELECT record_audit(CAST(:id AS uuid), CAST(:user_id AS uuid), CAST(:actor_id AS uuid), :kind, :credential,
               :address, :request, :action, :object_kind, :object_id, CAST(:details AS jsonb))""",
        id=str(uuid_utils.uuid7()),
        user_id=user_id or actor.user_id,
        actor_id=actor.user_id,
        kind=actor.credential_kind,
        credential=actor.credential_id,
        address=actor.address,
        request=actor.request_id,
        action=action,
        object_kind=object_kind,
        object_id=object_id,
        details=as_json(details or {}),
    )


def page(tx: Tx, wanted: AuditFilter, limit: int) -> list[AuditRow]:
    """Up to ``limit`` actions of all users, newest first. For transactions of an operator."""
    rows = fetch(
        tx,
        f"""SELECT {_COLUMNS} FROM audit_page(CAST(:user AS uuid), CAST(:actor AS uuid), :action, :object,
            :since, :until, CAST(:before AS uuid), :most)""",
        user=wanted.user,
        actor=wanted.actor,
        action=wanted.action,
        object=wanted.object_id,
        since=wanted.since,
        until=wanted.until,
        before=wanted.before,
        most=limit,
    )
    return [AuditRow(**row._mapping) for row in rows]


def own_page(tx: Tx, user_id: str, before: str | None, limit: int) -> list[AuditRow]:
    """Up to ``limit`` actions on one user, newest first."""
    rows = fetch(
        tx,
        f"""SELECT {_COLUMNS} FROM audit
            WHERE user_id = :user_id AND (CAST(:before AS uuid) IS NULL OR id < CAST(:before AS uuid))
            ORDER BY id DESC LIMIT :most""",
        user_id=user_id,
        before=before,
        most=limit,
    )
    return [AuditRow(**row._mapping) for row in rows]


def prune(tx: Tx, kept_days: float, limit: int) -> int:
    """Remove up to ``limit`` actions that are older than ``kept_days``; the number removed. For workers."""
    row = fetch_one(tx, "SELECT prune_audit(:kept_days, :most) AS removed", kept_days=kept_days, most=limit)
    assert row is not None, "a function has a result"
    return int(row.removed)
