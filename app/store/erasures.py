"""The erasure of users: requests, and the removal of all rows of one user in small batches."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from app.domain.credential import revocable_tokens, revocable_user
from app.store import revocations
from app.store.database import Tx, as_json, execute, fetch, fetch_one

# Conversations that one batch looks at.
CONVERSATIONS_AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class Erasure:
    """The erasure of a user. ``user_id`` is None once it has finished."""

    id: str
    user_id: str | None
    digest: bytes
    requested_at: datetime
    emptied_at: datetime | None
    finished_at: datetime | None


_COLUMNS = "e.id, e.user_id, e.digest, e.requested_at, e.emptied_at, e.finished_at"


def request(tx: Tx, user_id: str, erasure_id: str) -> Erasure:
    """Request the erasure of a user, or find the one that is under way. The user is refused everything from now on."""
    execute(
        tx,
        """INSERT INTO erasures (id, user_id, digest) VALUES (:id, :user_id, sha256(uuid_send(CAST(:user_id AS uuid))))
           ON CONFLICT DO NOTHING""",
        id=erasure_id,
        user_id=user_id,
    )
    row = fetch_one(tx, f"SELECT {_COLUMNS} FROM erasures e WHERE e.user_id = :user_id", user_id=user_id)
    assert row is not None, "inserted, or there before"
    return _erasure(row)


def pending(tx: Tx, seconds: float, limit: int) -> list[Erasure]:
    """Erasures without a hold that were requested more than ``seconds`` ago and whose user still exists."""
    rows = fetch(
        tx,
        f"""SELECT {_COLUMNS} FROM erasures e
            WHERE e.emptied_at IS NULL AND e.requested_at < now() - make_interval(secs => :seconds)
              AND NOT EXISTS (SELECT FROM holds h WHERE h.user_id = e.user_id) ORDER BY e.requested_at LIMIT :limit""",
        seconds=seconds,
        limit=limit,
    )
    return [_erasure(row) for row in rows]


def settled(tx: Tx, seconds: float, limit: int) -> list[Erasure]:
    """Erasures whose user was gone more than ``seconds`` ago and that have not finished."""
    rows = fetch(
        tx,
        f"""SELECT {_COLUMNS} FROM erasures e
            WHERE e.finished_at IS NULL AND e.emptied_at < now() - make_interval(secs => :seconds)
            ORDER BY e.emptied_at LIMIT :limit""",
        seconds=seconds,
        limit=limit,
    )
    return [_erasure(row) for row in rows]


def released(tx: Tx, limit: int) -> list[str]:
    """Users that keep what was deleted under a hold which has ended, or for retention."""
    rows = fetch(
        tx,
        """SELECT u.id FROM users u WHERE u.kept_for IS NOT NULL
             AND NOT EXISTS (SELECT FROM holds h WHERE h.user_id = u.kept_for) LIMIT :limit""",
        limit=limit,
    )
    return [row.id for row in rows]


def has_keepers(tx: Tx, user_id: str) -> bool:
    """True while something that this user deleted under a hold is kept."""
    return bool(fetch(tx, "SELECT id FROM users WHERE kept_for = CAST(:user_id AS uuid) LIMIT 1", user_id=user_id))


def hold_for_erasure(tx: Tx, user_id: str) -> bool:
    """Lock a user for one batch; False when another worker has the lock, or a hold keeps the rows."""
    row = fetch_one(
        tx,
        """SELECT pg_try_advisory_xact_lock(hashtextextended('erasure of ' || :user_id, 0))
               AND pg_try_advisory_xact_lock_shared(hashtextextended('hold of ' || coalesce(
                   (SELECT CAST(u.kept_for AS text) FROM users u WHERE u.id = CAST(:user_id AS uuid)), :user_id), 0))
               AS locked""",
        user_id=user_id,
    )
    if row is None or not row.locked:
        return False
    # After the lock: a hold that was being placed is committed.
    held = fetch(
        tx,
        """SELECT h.user_id FROM holds h WHERE h.user_id = CAST(:user_id AS uuid)
             OR h.user_id = (SELECT u.kept_for FROM users u WHERE u.id = CAST(:user_id AS uuid))""",
        user_id=user_id,
    )
    return not held


def live(tx: Tx, user_id: str, limit: int) -> list[str]:
    """Generations of a user that are queued or running and not being cancelled."""
    rows = fetch(
        tx,
        """SELECT id FROM generations WHERE user_id = :user_id AND status IN ('queued', 'running')
             AND cancel_at IS NULL LIMIT :limit""",
        user_id=user_id,
        limit=limit,
    )
    return [row.id for row in rows]


def _some(table: str) -> str:
    return f"""DELETE FROM {table} WHERE user_id = :user_id AND ctid = ANY(ARRAY(
        SELECT ctid FROM {table} WHERE user_id = :user_id LIMIT :limit))"""


_CONVERSATIONS = """WITH firsts AS (
        SELECT id, first_message_id FROM conversations WHERE user_id = :user_id ORDER BY id LIMIT :conversations
    ) """
# In this order; a row is removed before the rows that it refers to. Answers stand behind what they answer, so the
# messages with the highest numbers have no message below them.
STEPS: dict[str, str] = {
    "shares": _some("shares"),
    "generations": _some("generations"),
    "messages": _CONVERSATIONS
    + """DELETE FROM messages WHERE user_id = :user_id AND id IN (
            SELECT m.id FROM firsts JOIN messages m ON m.conversation_id = firsts.id
            WHERE m.id <> firsts.first_message_id ORDER BY m.seq DESC LIMIT :limit)""",
    "conversations": _CONVERSATIONS
    + """DELETE FROM conversations c USING firsts WHERE c.id = firsts.id AND c.user_id = :user_id AND NOT EXISTS (
            SELECT FROM messages m WHERE m.conversation_id = c.id AND m.id <> c.first_message_id)""",
    **{
        table: _some(table)
        for table in (
            "responses", "reserved_conversations", "client_chats", "stream_tickets", "feed_events", "feeds",
            "preferences", "usage_days", "key_usage_days", "budgets", "api_keys", "sessions", "identities",
            "webhook_endpoints", "webhook_secrets", "webhook_attempts", "webhook_deliveries", "files",
        )
    },
    # The uploads are locked first, as by all who lock both.
    "upload_parts": """DELETE FROM upload_parts WHERE user_id = :user_id AND id = ANY(ARRAY(
        SELECT p.id FROM (SELECT id FROM uploads WHERE user_id = :user_id ORDER BY id FOR UPDATE) u
        JOIN upload_parts p ON p.upload_id = u.id LIMIT :limit))""",
    "uploads": _some("uploads"),
}  # fmt: skip
# Tables of users that no step names, with the reason.
OTHERWISE = {
    "users": "removed last",
    "generation_chunks": "removed with their generation",
    "generation_archives": "removed with their generation",
    "file_references": "removed with their message or their file",
    "audit": "unname_in_audit",
    "erasures": "the erasure itself, which has no user at its end",
    "holds": "a user under a hold is not erased",
}


def erase_some(tx: Tx, user_id: str, limit: int) -> Counter[str]:
    """Remove up to ``limit`` rows of each kind; the number of removed rows by table. Empty: nothing is left."""
    gone: Counter[str] = Counter()
    for table, statement in STEPS.items():
        values = {"conversations": CONVERSATIONS_AT_ONCE} if statement.startswith(_CONVERSATIONS) else {}
        if ":limit" in statement:
            values["limit"] = limit
        if removed := execute(tx, statement, user_id=user_id, **values):
            gone[table] = removed
        if removed >= limit:
            break
    return gone


def count(tx: Tx, erasure_id: str, gone: Counter[str]) -> None:
    """Add the numbers of removed rows to an erasure."""
    row = fetch_one(tx, "SELECT counts FROM erasures WHERE id = :id FOR UPDATE", id=erasure_id)
    if row is not None:
        sums = dict(Counter(row.counts) + gone)
        execute(tx, "UPDATE erasures SET counts = :counts WHERE id = :id", id=erasure_id, counts=as_json(sums))


def unname(tx: Tx, user_id: str, limit: int) -> int:
    """Replace the user in up to ``limit`` rows of the audit by the erasure. Returns the number of changed rows."""
    row = fetch_one(tx, "SELECT unname_in_audit(CAST(:user_id AS uuid), :limit) AS n", user_id=user_id, limit=limit)
    return int(row.n) if row else 0


def remove_user(tx: Tx, user_id: str) -> None:
    """Remove the row of a user. Rows that were added meanwhile go with it, and codes for a sign-in by its subject."""
    execute(
        tx,
        """DELETE FROM sign_in_codes c USING users u WHERE u.id = CAST(:user_id AS uuid) AND c.subject = u.subject""",
        user_id=user_id,
    )
    execute(tx, "DELETE FROM users WHERE id = CAST(:user_id AS uuid)", user_id=user_id)
    execute(
        tx,
        "UPDATE erasures SET emptied_at = clock_timestamp() WHERE user_id = CAST(:user_id AS uuid)",
        user_id=user_id,
    )
    # Every process forgets the id: the subject may come again as a new user.
    revocations.add(tx, [revocable_user(user_id)])


def finish(tx: Tx, erasure: Erasure) -> None:
    """Take the user's id out of the erasure and of the revocations. Other names of revocations have no user."""
    assert erasure.user_id is not None, "it has not finished"
    names = [revocable_user(erasure.user_id), revocable_tokens(erasure.user_id)]
    execute(tx, "DELETE FROM revocations WHERE name = ANY(CAST(:names AS text[]))", names=names)
    execute(
        tx,
        "UPDATE erasures SET user_id = NULL, finished_at = clock_timestamp() WHERE id = :id AND finished_at IS NULL",
        id=erasure.id,
    )


def requested(tx: Tx, since: datetime, after: str, limit: int) -> list[Erasure]:
    """Up to ``limit`` erasures with higher ids than ``after`` that were requested since a time, by id."""
    rows = fetch(
        tx,
        f"""SELECT {_COLUMNS} FROM erasures e WHERE e.requested_at >= :since AND e.id > CAST(:after AS uuid)
            ORDER BY e.id LIMIT :limit""",
        since=since,
        after=after,
        limit=limit,
    )
    return [_erasure(row) for row in rows]


def exists(tx: Tx, user_id: str) -> bool:
    """True for a user who exists, and is not one that keeps deleted data under a hold."""
    return bool(fetch(tx, "SELECT id FROM users WHERE id = :user_id AND kept_for IS NULL", user_id=user_id))


def users_of(tx: Tx, digests: list[bytes]) -> list[str]:
    """The users with these digests that exist."""
    rows = fetch(
        tx,
        "SELECT u.id FROM users u WHERE sha256(uuid_send(u.id)) = ANY(CAST(:digests AS bytea[]))",
        digests=digests,
    )
    return [row.id for row in rows]


def _erasure(row: object) -> Erasure:
    fields = dict(row._mapping)  # type: ignore[attr-defined]
    return Erasure(**{**fields, "digest": bytes(fields["digest"])})
