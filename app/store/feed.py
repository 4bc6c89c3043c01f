"""Feeds: the changes of a user's conversations, numbered in the transaction that makes them.

Every change of a conversation calls ``record``. A number is committed with its change or not at all. Order of locks:
the conversation, then generations and messages, the user's feed last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from app.store.database import Tx, announce, defer, execute, fetch, fetch_one, mine

Kind = Literal[
    "message.new",
    "message.updated",
    "message.deleted",
    "conversation.updated",
    "conversation.deleted",
    "generation.updated",
]


@dataclass(frozen=True, slots=True)
class Change:
    """One change of a feed. ``seq`` is its number there, ``conversation_seq`` the number in its conversation's feed.

    ``size`` is the approximate size of its message or its fields in bytes. ``body``: the fields of a change that
    names no message.
    """

    seq: int
    conversation_id: str
    conversation_seq: int | None
    kind: Kind
    message_id: str | None
    body: dict[str, Any] | None
    size: int


# The fields of a conversation that a list shows and a user can change.
_CONVERSATION = """jsonb_build_object('title', c.title, 'model', c.model, 'archived', c.archived_at IS NOT NULL,
    'archived_at', c.archived_at, 'pinned', c.pinned, 'tags', c.tags, 'unread', c.ended_seq > c.seen_seq,
    'system_prompt', c.system_prompt, 'parameters', c.parameters, 'metadata', c.metadata,
    'last_updated', c.last_updated)"""


class IdRange(NamedTuple):
    """Ids above ``after`` and not above ``until``."""

    after: str
    until: str


class _Noted(NamedTuple):
    conversation_id: str
    kind: Kind
    message_id: str | None


def record(tx: Tx, conversation_id: str, kind: Kind, message_id: str | None = None) -> None:
    """Number a change of a listed conversation at the end of this transaction, and notify its readers after the commit.

    All changes of a transaction are numbered by one statement at its end, so the lock of the user's feed is held for
    this statement and the commit only.
    """
    defer(tx, _number, _Noted(conversation_id, kind, message_id))


def record_deletion(tx: Tx, conversation_id: str) -> None:
    """Number the deletion of a conversation at once, and remove the contents of its earlier changes."""
    fetch(
        tx,
        f"""UPDATE feed_events SET body = NULL, message_id = NULL WHERE conversation_id = :id AND {mine()}
             AND conversation_seq IS NOT NULL RETURNING 1""",
        id=conversation_id,
    )
    _number(tx, [_Noted(conversation_id, "conversation.deleted", None)])


def _number(tx: Tx, noted: Sequence[_Noted]) -> None:
    """Number the recorded changes, in this order."""
    body = _CONVERSATION if any(one.kind == "conversation.updated" for one in noted) else "CAST(NULL AS jsonb)"
    rows = fetch(
        tx,
        f"""WITH noted AS (
                SELECT * FROM unnest(CAST(:conversations AS uuid[]), CAST(:kinds AS text[]), CAST(:messages AS uuid[]))
                    WITH ORDINALITY AS noted(conversation_id, kind, message_id, place)
            ), counted AS (
                SELECT conversation_id, count(*) AS many FROM noted GROUP BY conversation_id
            ), changed AS (
                UPDATE conversations c SET feed_seq = c.feed_seq + counted.many
                FROM counted WHERE c.id = counted.conversation_id AND c.listed AND {mine("c.user_id")}
                RETURNING c.id, c.user_id, c.feed_seq, counted.many, {body} AS body
            ), feed AS (
                INSERT INTO feeds AS f (user_id, seq) SELECT user_id, sum(many) FROM changed GROUP BY user_id
                ON CONFLICT (user_id) DO UPDATE SET seq = f.seq + EXCLUDED.seq RETURNING f.user_id, f.seq
            )
            INSERT INTO feed_events (user_id, seq, conversation_id, conversation_seq, type, message_id, body)
            SELECT user_id,
                feed.seq - count(*) OVER (PARTITION BY user_id)
                    + row_number() OVER (PARTITION BY user_id ORDER BY place),
                conversation_id,
                changed.feed_seq - changed.many + row_number() OVER (PARTITION BY conversation_id ORDER BY place),
                kind, message_id, CASE WHEN kind = 'conversation.updated' THEN body END
            FROM noted JOIN changed ON changed.id = noted.conversation_id JOIN feed USING (user_id)
            RETURNING user_id, conversation_id""",
        conversations=[one.conversation_id for one in noted],
        kinds=[one.kind for one in noted],
        messages=[one.message_id for one in noted],
    )
    for row in rows:
        announce(tx, row.conversation_id, row.user_id)


def record_running(tx: Tx, generation_id: str) -> None:
    """Number the begin of an answer in the user's feed. The conversation has not changed, so its feed has no entry."""
    rows = fetch(
        tx,
        """WITH changed AS (
                SELECT g.user_id, g.conversation_id, g.message_id FROM generations g
                JOIN conversations c ON c.id = g.conversation_id AND c.listed WHERE g.id = :id
            ), feed AS (
                INSERT INTO feeds AS f (user_id, seq) SELECT user_id, 1 FROM changed
                ON CONFLICT (user_id) DO UPDATE SET seq = f.seq + 1 RETURNING f.user_id, f.seq
            )
            INSERT INTO feed_events (user_id, seq, conversation_id, type, message_id, body)
            SELECT user_id, feed.seq, changed.conversation_id, 'generation.updated', changed.message_id,
                jsonb_build_object('generation_id', CAST(:id AS uuid), 'status', 'running')
            FROM changed JOIN feed USING (user_id) RETURNING user_id""",
        id=generation_id,
    )
    for row in rows:
        announce(tx, row.user_id)


def of_conversation(tx: Tx, conversation_id: str, after: int, limit: int) -> list[Change]:
    """Up to ``limit`` changes of a conversation, numbered above ``after``, in order."""
    return _changes(
        tx,
        "e.conversation_id = :key AND e.conversation_seq > :after ORDER BY e.conversation_seq",
        "e.conversation_seq",
        key=conversation_id,
        after=after,
        limit=limit,
    )


def of_user(tx: Tx, user_id: str, after: int, limit: int) -> list[Change]:
    """Up to ``limit`` changes of all conversations of a user, numbered above ``after``, in order."""
    return _changes(
        tx,
        "e.user_id = :key AND e.seq > :after ORDER BY e.seq",
        "e.seq",
        key=user_id,
        after=after,
        limit=limit,
    )


def tops_of_conversations(tx: Tx, conversation_ids: Sequence[str]) -> dict[str, int]:
    """For each conversation that exists: the number of its newest change."""
    rows = fetch(
        tx,
        f"SELECT id, feed_seq AS seq FROM conversations WHERE id = ANY(CAST(:ids AS uuid[])) AND {mine()}",
        ids=list(conversation_ids),
    )
    return {row.id: row.seq for row in rows}


def tops_of_users(tx: Tx, user_ids: Sequence[str]) -> dict[str, int]:
    """For each user: the number of the newest change of their conversations; 0 before the first."""
    rows = fetch(
        tx,
        f"""SELECT u.id, coalesce(f.seq, 0) AS seq FROM users u LEFT JOIN feeds f ON f.user_id = u.id
            WHERE u.id = ANY(CAST(:ids AS uuid[])) AND {mine("u.id")}""",
        ids=list(user_ids),
    )
    return {row.id: row.seq for row in rows}


def ends_of_conversations(tx: Tx, conversation_ids: Sequence[str]) -> dict[str, int]:
    """For each conversation that exists, of any user: the number of its newest change."""
    return _ends(tx, "conversation_feed_tops", conversation_ids)


def ends_of_users(tx: Tx, user_ids: Sequence[str]) -> dict[str, int]:
    """For each of several users: the number of the newest change of their conversations; 0 before the first."""
    return _ends(tx, "user_feed_tops", user_ids)


def _ends(tx: Tx, function: str, ids: Sequence[str]) -> dict[str, int]:
    rows = fetch(tx, f"SELECT id, seq FROM {function}(CAST(:ids AS uuid[]))", ids=list(ids))
    return {row.id: row.seq for row in rows}


def next_conversation(tx: Tx, after: str, skipped: int) -> str | None:
    """The id of the conversation that is ``skipped`` ids behind ``after``; None when there are not so many."""
    sql = "SELECT id FROM conversations WHERE id > CAST(:after AS uuid) ORDER BY id OFFSET :skipped LIMIT 1"
    row = fetch_one(tx, sql, after=after, skipped=skipped)
    return row.id if row else None


def next_user(tx: Tx, after: str, skipped: int) -> str | None:
    """The id of the user with a feed who is ``skipped`` ids behind ``after``; None when there are not so many."""
    sql = "SELECT user_id FROM feeds WHERE user_id > CAST(:after AS uuid) ORDER BY user_id OFFSET :skipped LIMIT 1"
    row = fetch_one(tx, sql, after=after, skipped=skipped)
    return row.user_id if row else None


# The inner LIMIT of the next two statements has PostgreSQL look up each conversation, and each user, in the index.
# Without it, PostgreSQL read the whole table of a million changes for each batch of users.


def prune(tx: Tx, within: IdRange, newest: int, days: int, limit: int) -> int:
    """Remove up to ``limit`` changes that are older than ``days`` and not among the ``newest`` of their conversation.

    Only conversations of the range are looked at. A change among the newest of its user is among the newest of its
    conversation, too, and stays. Returns the number of removed changes.
    """
    return execute(
        tx,
        """DELETE FROM feed_events WHERE ctid = ANY(ARRAY(
               SELECT old.place FROM conversations c CROSS JOIN LATERAL (
                   SELECT o.ctid AS place FROM feed_events o
                   WHERE o.conversation_id = c.id AND o.conversation_seq <= c.feed_seq - :newest
                       AND o.created_at < now() - make_interval(days => :days)
                   ORDER BY o.conversation_seq LIMIT :limit FOR UPDATE SKIP LOCKED
               ) old
               WHERE c.id > CAST(:after AS uuid) AND c.id <= CAST(:until AS uuid) AND c.feed_seq > :newest LIMIT :limit
           ))""",
        after=within.after,
        until=within.until,
        newest=newest,
        days=days,
        limit=limit,
    )


def prune_passing(tx: Tx, within: IdRange, newest: int, days: int, limit: int) -> int:
    """Remove up to ``limit`` old changes that only the user's feed has and that are not among its newest.

    Only feeds of users of the range are looked at.
    """
    return execute(
        tx,
        """DELETE FROM feed_events WHERE ctid = ANY(ARRAY(
               SELECT old.place FROM feeds f CROSS JOIN LATERAL (
                   SELECT o.ctid AS place FROM feed_events o
                   WHERE o.user_id = f.user_id AND o.conversation_seq IS NULL AND o.seq <= f.seq - :newest
                       AND o.created_at < now() - make_interval(days => :days)
                   ORDER BY o.seq LIMIT :limit FOR UPDATE SKIP LOCKED
               ) old
               WHERE f.user_id > CAST(:after AS uuid) AND f.user_id <= CAST(:until AS uuid) LIMIT :limit
           ))""",
        after=within.after,
        until=within.until,
        newest=newest,
        days=days,
        limit=limit,
    )


def prune_deleted(tx: Tx, newest: int, days: int, limit: int) -> int:
    """Remove up to ``limit`` changes of conversations whose deletion is old and not among its user's newest changes."""
    # In order, the deletion last: the other changes are found by it.
    return execute(
        tx,
        """DELETE FROM feed_events e USING (
               SELECT old.user_id, old.seq FROM feed_events gone JOIN feeds f USING (user_id) JOIN feed_events old
                   ON old.conversation_id = gone.conversation_id AND old.conversation_seq <= gone.conversation_seq
               WHERE gone.type = 'conversation.deleted' AND gone.created_at < now() - make_interval(days => :days)
                   AND gone.seq <= f.seq - :newest
               ORDER BY gone.created_at, old.conversation_id, old.conversation_seq
               LIMIT :limit FOR UPDATE OF old SKIP LOCKED
           ) old WHERE e.user_id = old.user_id AND e.seq = old.seq""",
        newest=newest,
        days=days,
        limit=limit,
    )


def _changes(tx: Tx, which: str, number: str, **values: Any) -> list[Change]:
    rows = fetch(
        tx,
        f"""SELECT {number} AS seq, e.conversation_id, e.conversation_seq, e.type AS kind, e.message_id, e.body,
                coalesce(octet_length(m.content) + octet_length(m.reasoning), octet_length(CAST(e.body AS text)), 0)
                    AS size
            FROM feed_events e LEFT JOIN messages m ON m.id = e.message_id
            WHERE {mine("e.user_id")} AND {which} LIMIT :limit""",
        **values,
    )
    return [Change(**row._mapping) for row in rows]
