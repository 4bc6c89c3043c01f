"""Rows that nothing ends by itself: unused reservations, old tickets, old usage, finished erasures, unused lists.

Each function is for workers. It removes up to ``limit`` rows, waits for no row that another transaction holds, and
returns the number of removed rows. Rows are found by an index, except lists: there are as many as upstreams.
"""

from __future__ import annotations

from typing import Literal

from app.store.database import Tx, execute
from app.store.removed_files import not_held

UsageTable = Literal["usage_days", "key_usage_days"]


def remove_reservations(tx: Tx, days: float, limit: int) -> int:
    """Remove reservations that are older than ``days``, with the chat ids that name them.

    One of a user under a hold stays, and so does one whose chat is being begun: ``chats.promise`` makes it young.
    """
    # A request locks the chat and then the reservation. This statement never waits, so it may lock in the other order.
    return execute(
        tx,
        f"""WITH old AS MATERIALIZED (
               SELECT r.id FROM reserved_conversations r JOIN users u ON u.id = r.user_id
               WHERE r.created_at < now() - make_interval(secs => :seconds) AND u.kept_for IS NULL
                   AND {not_held("r")}
               ORDER BY r.created_at LIMIT :limit FOR UPDATE OF r SKIP LOCKED
           ), chats AS MATERIALIZED (
               SELECT c.user_id, c.chat_id, c.conversation_id FROM client_chats c
               WHERE c.conversation_id IN (SELECT id FROM old) FOR UPDATE SKIP LOCKED
           ), forgotten AS (
               DELETE FROM client_chats c USING chats WHERE c.user_id = chats.user_id AND c.chat_id = chats.chat_id
           )
           DELETE FROM reserved_conversations WHERE id = ANY(ARRAY(
               SELECT old.id FROM old WHERE NOT EXISTS (
                   SELECT FROM client_chats c WHERE c.conversation_id = old.id AND NOT EXISTS (
                       SELECT FROM chats WHERE chats.user_id = c.user_id AND chats.chat_id = c.chat_id))))""",
        seconds=days * 86_400,
        limit=limit,
    )


def remove_tickets(tx: Tx, seconds: float, limit: int) -> int:
    """Remove stream tickets that were issued more than ``seconds`` ago."""
    return execute(
        tx,
        """DELETE FROM stream_tickets WHERE digest = ANY(ARRAY(
               SELECT digest FROM stream_tickets WHERE created_at < now() - make_interval(secs => :seconds)
               ORDER BY created_at LIMIT :limit FOR UPDATE SKIP LOCKED))""",
        seconds=seconds,
        limit=limit,
    )


def remove_usage(tx: Tx, table: UsageTable, days: int, limit: int) -> int:
    """Remove the usage of days that are more than ``days`` ago, the oldest first. One of a user under a hold stays."""
    return execute(
        tx,
        f"""DELETE FROM {table} d WHERE d.ctid = ANY(ARRAY(
               SELECT o.ctid FROM {table} o WHERE o.day < CAST(now() AT TIME ZONE 'UTC' AS date) - :days
                   AND {not_held("o")}
               ORDER BY o.day LIMIT :limit FOR UPDATE SKIP LOCKED))""",
        days=days,
        limit=limit,
    )


def remove_erasures(tx: Tx, days: float, limit: int) -> int:
    """Remove the rows of erasures that finished more than ``days`` ago."""
    return execute(
        tx,
        """DELETE FROM erasures WHERE id = ANY(ARRAY(
               SELECT id FROM erasures WHERE finished_at < now() - make_interval(secs => :seconds)
               ORDER BY finished_at LIMIT :limit FOR UPDATE SKIP LOCKED))""",
        seconds=days * 86_400,
        limit=limit,
    )


def remove_lists(tx: Tx, days: int, limit: int) -> int:
    """Remove the lists of upstreams that no worker has refreshed for ``days``. There are as many rows as upstreams."""
    return execute(
        tx,
        """DELETE FROM upstream_models WHERE upstream = ANY(ARRAY(
               SELECT upstream FROM upstream_models WHERE refresh_at < now() - make_interval(days => :days)
               LIMIT :limit FOR UPDATE SKIP LOCKED))""",
        days=days,
        limit=limit,
    )
