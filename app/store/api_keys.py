"""API keys of users. The secret of a key is stored as its digest only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from app.domain.api_key import NewKey
from app.domain.budget import Budget, from_json, to_json
from app.domain.credential import KeyLimits, Scope
from app.store.database import Database, Tx, as_json, execute, fetch, fetch_one, mine

_COLUMNS = "id, name, hint, scopes, models, limits, replaces, created_at, expires_at, last_used_at, ended_at"
_VALID = "ended_at IS NULL AND (expires_at IS NULL OR expires_at > now())"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key without its secret. ``models``: those that it may use, None for all; ``replaces``: the id of its elder."""

    id: str
    name: str
    hint: str
    scopes: frozenset[Scope]
    models: tuple[str, ...] | None
    limits: KeyLimits
    replaces: str | None
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class KeyRights:
    """The rights of a new key. ``role`` is the role of the user who gives the scope admin, None without that scope.

    ``expires_at``: None for a key that does not expire.
    """

    name: str
    scopes: frozenset[Scope]
    role: str | None = None
    models: tuple[str, ...] | None = None
    limits: KeyLimits = KeyLimits()
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class FoundKey:
    """A key as a request is checked against it.

    ``is_valid``: not ended and not expired. ``is_use_noted``: its last use was stored within the last minute.
    """

    id: str
    user_id: str
    subject: str
    role: str | None
    scopes: frozenset[Scope]
    models: frozenset[str] | None
    limits: KeyLimits
    expires_at: datetime | None
    is_valid: bool
    is_use_noted: bool


def find(database: Database, digest: bytes) -> FoundKey | None:
    """The key whose secret has this digest, of any user, in one round trip. Raises DatabaseDown.

    The id in a key's text is no part of the question: a wrong secret finds nothing, whether the id is known or not.
    """
    row = database.ask("", "SELECT * FROM api_key_of(CAST(:digest AS bytea))", digest=digest)
    if row is None:
        return None
    models = frozenset(row["models"]) if row["models"] is not None else None
    parts = {"scopes": frozenset(row["scopes"]), "models": models}
    return FoundKey(**{**row, **parts, "limits": limits_of(row["limits"])})


def note_use(tx: Tx, key_id: str) -> None:
    """Store that a key is in use, at most once a minute."""
    execute(
        tx,
        f"""UPDATE api_keys SET last_used_at = now() WHERE id = :id AND {mine()}
            AND coalesce(last_used_at <= now() - interval '1 minute', true)""",
        id=key_id,
    )


def add(tx: Tx, user_id: str, key: NewKey, rights: KeyRights, replaces: str | None = None) -> ApiKey:
    """Store a new key of a user."""
    row = fetch_one(
        tx,
        f"""INSERT INTO api_keys (id, user_id, name, digest, hint, role, scopes, models, limits, expires_at, replaces)
            VALUES (:id, :user_id, :name, :digest, :hint, :role, :scopes, :models, :limits, :expires_at,
                CAST(:replaces AS uuid))
            RETURNING {_COLUMNS}""",
        id=key.id,
        user_id=user_id,
        name=rights.name,
        digest=key.digest,
        hint=key.hint,
        role=rights.role,
        scopes=sorted(rights.scopes),
        models=list(rights.models) if rights.models is not None else None,
        limits=as_json(_stored(rights.limits)),
        expires_at=rights.expires_at,
        replaces=replaces,
    )
    assert row is not None, "inserted"
    return _key(row)


def hold(tx: Tx, user_id: str) -> None:
    """Hold the number of a user's keys until the transaction ends: others who make keys for the user wait."""
    fetch(tx, "SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))", name=f"api keys {user_id}")


def count(tx: Tx, user_id: str) -> int:
    """The number of a user's valid keys. A key with a valid successor does not count."""
    row = fetch_one(
        tx,
        f"""SELECT count(*) AS n FROM api_keys k WHERE k.user_id = :user_id AND {_VALID}
            AND NOT EXISTS (SELECT FROM api_keys s WHERE s.user_id = :user_id AND s.replaces = k.id
                AND s.ended_at IS NULL AND (s.expires_at IS NULL OR s.expires_at > now()))""",
        user_id=user_id,
    )
    assert row is not None, "an aggregate has a row"
    return int(row.n)


def get(tx: Tx, key_id: str) -> ApiKey | None:
    """One key of the user, also an ended one."""
    row = fetch_one(tx, f"SELECT {_COLUMNS} FROM api_keys WHERE id = :id AND {mine()}", id=key_id)
    return _key(row) if row else None


def rights(tx: Tx, key_id: str) -> KeyRights | None:
    """The rights of a valid key of the user, which is held until the transaction ends; None for any other id."""
    row = fetch_one(
        tx,
        f"""SELECT name, scopes, role, models, limits, expires_at FROM api_keys
            WHERE id = :id AND {mine()} AND {_VALID} FOR UPDATE""",
        id=key_id,
    )
    if row is None:
        return None
    models = tuple(row.models) if row.models is not None else None
    return KeyRights(row.name, frozenset(row.scopes), row.role, models, limits_of(row.limits), row.expires_at)


def page(tx: Tx, user_id: str, limit: int, before: str | None, *, ended: bool) -> list[ApiKey]:
    """Up to ``limit`` keys of a user, newest first, older than the key ``before``. ``ended``: with the invalid ones."""
    rows = fetch(
        tx,
        f"""SELECT {_COLUMNS} FROM api_keys WHERE user_id = :user_id AND (:ended OR {_VALID})
                AND (CAST(:before AS uuid) IS NULL OR id < CAST(:before AS uuid))
            ORDER BY id DESC LIMIT :limit""",
        user_id=user_id,
        before=before,
        ended=ended,
        limit=limit,
    )
    return [_key(row) for row in rows]


def end(tx: Tx, key_id: str) -> bool:
    """End a valid key of the user at once. False when there is none with this id."""
    return bool(
        execute(tx, f"UPDATE api_keys SET ended_at = now() WHERE id = :id AND {mine()} AND {_VALID}", id=key_id)
    )


def end_of_other_roles(tx: Tx, user_id: str, role: str | None) -> list[str]:
    """End the valid keys of a user whose scope admin stands for another role; their ids."""
    rows = fetch(
        tx,
        f"""UPDATE api_keys SET ended_at = now() WHERE user_id = :user_id AND 'admin' = ANY(scopes)
                AND role IS DISTINCT FROM :role AND {_VALID} RETURNING id""",
        user_id=user_id,
        role=role,
    )
    return [str(row.id) for row in rows]


def end_expired(tx: Tx, limit: int) -> list[str]:
    """End up to ``limit`` keys that have expired, of all users; their ids. For transactions of workers."""
    rows = fetch(
        tx,
        """UPDATE api_keys SET ended_at = expires_at WHERE id IN (
               SELECT id FROM api_keys WHERE ended_at IS NULL AND expires_at <= now()
               ORDER BY expires_at LIMIT :limit FOR UPDATE SKIP LOCKED)
           RETURNING id""",
        limit=limit,
    )
    return [str(row.id) for row in rows]


def end_all(tx: Tx, user_id: str) -> None:
    """End all keys of a user at once."""
    execute(tx, "UPDATE api_keys SET ended_at = now() WHERE user_id = :user_id AND ended_at IS NULL", user_id=user_id)


def end_later(tx: Tx, key_id: str, seconds: float) -> None:
    """Have a key of the user expire after these seconds, or when it expires anyway."""
    execute(
        tx,
        f"""UPDATE api_keys SET expires_at = least(expires_at, now() + make_interval(secs => :seconds))
            WHERE id = :id AND {mine()} AND ended_at IS NULL""",
        id=key_id,
        seconds=seconds,
    )


def is_replaced(tx: Tx, key_id: str) -> bool:
    """True when a key of the user, valid or not, replaces this one."""
    return bool(fetch(tx, f"SELECT FROM api_keys WHERE replaces = :id AND {mine()} LIMIT 1", id=key_id))


def change(tx: Tx, key_id: str, name: str | None, limits: KeyLimits | None) -> ApiKey | None:
    """Change what is not None of a valid key of the user; None when there is none with this id."""
    row = fetch_one(
        tx,
        f"""UPDATE api_keys SET name = coalesce(:name, name), limits = coalesce(CAST(:limits AS jsonb), limits)
            WHERE id = :id AND {mine()} AND {_VALID} RETURNING {_COLUMNS}""",
        id=key_id,
        name=name,
        limits=as_json(_stored(limits)) if limits is not None else None,
    )
    return _key(row) if row else None


def forget_ended(tx: Tx, user_id: str, kept: int) -> None:
    """Remove all invalid keys of a user but the ``kept`` newest ones."""
    execute(
        tx,
        f"""DELETE FROM api_keys WHERE user_id = :user_id AND id IN (
                SELECT id FROM api_keys WHERE user_id = :user_id AND NOT ({_VALID}) ORDER BY id DESC OFFSET :kept)""",
        user_id=user_id,
        kept=kept,
    )


def limits_of(stored: Mapping[str, Any] | None) -> KeyLimits:
    """The limits in a row. Names of later releases are left out."""
    known = KeyLimits.__dataclass_fields__
    found = {name: value for name, value in (stored or {}).items() if name in known}
    if found.get("budget"):
        found["budget"] = Budget(**from_json(found["budget"]))  # type: ignore[arg-type]  # each name has its type
    return KeyLimits(**found)


def _stored(limits: KeyLimits) -> dict[str, Any]:
    budget = {"budget": to_json(_given(asdict(limits.budget)))} if limits.budget else {}
    return {**_given(asdict(limits)), **budget}


def _given(limits: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in limits.items() if value is not None}


def _key(row: Any) -> ApiKey:
    parts = {
        "scopes": frozenset(row.scopes),
        "models": tuple(row.models) if row.models is not None else None,
        "limits": limits_of(row.limits),
    }
    return ApiKey(**{**row._mapping, **parts})
