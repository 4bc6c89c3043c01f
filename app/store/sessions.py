"""Sessions. The secret of a cookie is not stored, only its digest.

The functions of this module receive the time, in seconds since 1970: one clock decides about all of a session.
"""

from __future__ import annotations

from typing import Any

from app.domain.session import ADDRESS_CHARS, USER_AGENT_CHARS, Session, SessionRules, SignIn
from app.store.database import Database, Tx, execute, fetch, fetch_one

# Seconds between two writes of the last use of a session.
SEEN_SECONDS = 60.0

_FIELDS = """id, user_id, subject, method, role, user_agent, address, email, issuer, sid, id_token, created_at,
    seen_at"""
_OPEN = """s.seen_at > to_timestamp(:now) - make_interval(secs => :idle_seconds)
    AND s.created_at > to_timestamp(:now) - make_interval(secs => :longest_seconds)"""


def add(tx: Tx, session_id: str, digest: bytes, sign_in: SignIn, now: float) -> None:
    """Add a session of the transaction's user."""
    execute(
        tx,
        """INSERT INTO sessions (id, user_id, digest, method, role, user_agent, address, email, issuer, sid, id_token,
               created_at, seen_at, seen_on)
           VALUES (:id, :user_id, :digest, :method, :role, :user_agent, :address, :email, :issuer, :sid, :id_token,
               to_timestamp(:now), to_timestamp(:now), CAST(to_timestamp(:now) AT TIME ZONE 'UTC' AS date))""",
        id=session_id,
        user_id=sign_in.user_id,
        digest=digest,
        method=sign_in.method,
        role=sign_in.role,
        user_agent=sign_in.user_agent[:USER_AGENT_CHARS],
        address=sign_in.address[:ADDRESS_CHARS],
        email=sign_in.email,
        issuer=sign_in.issuer,
        sid=sign_in.sid,
        id_token=sign_in.id_token,
        now=now,
    )


def use(database: Database, digest: bytes, now: float, rules: SessionRules) -> Session | None:
    """The open session with this digest, whoever's it is; its last use is noted. None where there is none.

    One round trip to PostgreSQL.
    """
    row = database.ask(
        "",
        f"SELECT {_FIELDS} FROM use_session(:digest, to_timestamp(:now), :idle, :longest, :seen)",
        digest=digest,
        now=now,
        idle=rules.idle_seconds,
        longest=rules.longest_seconds,
        seen=SEEN_SECONDS,
    )
    return Session(**row) if row else None


def touch(tx: Tx, session_ids: list[str], now: float, rules: SessionRules) -> None:
    """Note a use of sessions of any user; one that has ended stays ended."""
    fetch_one(
        tx,
        "SELECT touch_sessions(CAST(:ids AS uuid[]), to_timestamp(:now), :idle, :longest, :seen)",
        ids=session_ids,
        now=now,
        idle=rules.idle_seconds,
        longest=rules.longest_seconds,
        seen=SEEN_SECONDS,
    )


def owner_by_provider(tx: Tx, issuer: str, sid: str) -> str | None:
    """The id of the user of the sessions that an identity provider knows by this name; None where there is none."""
    row = fetch_one(tx, "SELECT owner_of_session(:issuer, :sid) AS id", issuer=issuer, sid=sid)
    return row.id if row else None


def of_user(tx: Tx, user_id: str, now: float, rules: SessionRules) -> list[Session]:
    """The open sessions of a user, the newest first."""
    rows = fetch(
        tx,
        f"""SELECT {_FIELDS} FROM (
                SELECT s.*, u.subject FROM sessions s JOIN users u ON u.id = s.user_id
                WHERE s.user_id = :user_id AND {_OPEN}
            ) mine ORDER BY created_at DESC, id DESC""",
        user_id=user_id,
        **_open(now, rules),
    )
    return [Session(**row._mapping) for row in rows]


def end(tx: Tx, user_id: str, session_id: str) -> bool:
    """End one session of a user. False when there is no such session."""
    ended = execute(tx, "DELETE FROM sessions WHERE user_id = :user_id AND id = :id", user_id=user_id, id=session_id)
    return ended > 0


def end_all(tx: Tx, user_id: str) -> list[str]:
    """End all sessions of a user; their ids."""
    rows = fetch(tx, "DELETE FROM sessions WHERE user_id = :user_id RETURNING id", user_id=user_id)
    return [row.id for row in rows]


def end_by_provider(tx: Tx, user_id: str, issuer: str, sid: str | None) -> list[str]:
    """End the sessions of a user that an identity provider has begun; their ids. ``sid`` None: all of them."""
    rows = fetch(
        tx,
        """DELETE FROM sessions WHERE user_id = :user_id AND issuer = :issuer
               AND (CAST(:sid AS text) IS NULL OR sid = :sid) RETURNING id""",
        user_id=user_id,
        issuer=issuer,
        sid=sid,
    )
    return [row.id for row in rows]


def end_of_other_roles(tx: Tx, user_id: str, issuer: str, role: str | None) -> list[str]:
    """End the sessions of a user that this identity provider has begun with another role; their ids."""
    rows = fetch(
        tx,
        """DELETE FROM sessions WHERE user_id = :user_id AND issuer = :issuer AND role IS DISTINCT FROM :role
           RETURNING id""",
        user_id=user_id,
        issuer=issuer,
        role=role,
    )
    return [row.id for row in rows]


def forget_ended(tx: Tx, user_id: str, now: float, rules: SessionRules) -> None:
    """Remove the sessions of a user that have ended by themselves."""
    execute(
        tx,
        f"DELETE FROM sessions s WHERE s.user_id = :user_id AND NOT ({_OPEN})",
        user_id=user_id,
        **_open(now, rules),
    )


def end_oldest(tx: Tx, user_id: str, most: int) -> list[str]:
    """End all but the ``most`` newest sessions of a user; the ids of the ended ones."""
    rows = fetch(
        tx,
        """DELETE FROM sessions WHERE user_id = :user_id AND id IN (
               SELECT id FROM sessions WHERE user_id = :user_id ORDER BY created_at DESC, id DESC OFFSET :most
           ) RETURNING id""",
        user_id=user_id,
        most=most,
    )
    return [row.id for row in rows]


def prune_unused(tx: Tx, now: float, rules: SessionRules, limit: int) -> int:
    """Remove up to ``limit`` sessions of any user that have ended without a use; their number."""
    # Each use writes seen_on, which an index has, with another value once a day only.
    return execute(
        tx,
        """DELETE FROM sessions WHERE id = ANY(ARRAY(
               SELECT s.id FROM sessions s
               WHERE s.seen_on <= CAST((to_timestamp(:now) - make_interval(secs => :idle_seconds))
                       AT TIME ZONE 'UTC' AS date)
                   AND s.seen_at <= to_timestamp(:now) - make_interval(secs => :idle_seconds)
               ORDER BY s.seen_on LIMIT :limit FOR UPDATE SKIP LOCKED))""",
        now=now,
        idle_seconds=rules.idle_seconds,
        limit=limit,
    )


def prune_old(tx: Tx, now: float, rules: SessionRules, limit: int) -> int:
    """Remove up to ``limit`` sessions of any user that have reached their longest duration; their number."""
    return execute(
        tx,
        """DELETE FROM sessions WHERE id = ANY(ARRAY(
               SELECT s.id FROM sessions s
               WHERE s.created_at <= to_timestamp(:now) - make_interval(secs => :longest_seconds)
               ORDER BY s.created_at LIMIT :limit FOR UPDATE SKIP LOCKED))""",
        now=now,
        longest_seconds=rules.longest_seconds,
        limit=limit,
    )


def _open(now: float, rules: SessionRules) -> dict[str, Any]:
    return {"now": now, "idle_seconds": rules.idle_seconds, "longest_seconds": rules.longest_seconds}
