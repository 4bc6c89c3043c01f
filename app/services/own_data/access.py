"""The end of a user's access."""

from __future__ import annotations

from app.domain.credential import revocable_user
from app.store import api_keys, revocations, sessions, tickets
from app.store.database import Tx


def end_access(tx: Tx, user_id: str) -> None:
    """End everything that lets someone act for a user: sessions, keys, tickets, and what is open in every process.

    ``tx`` is a transaction of the user or of the system. A hold keeps none of it alive: the erasure may wait for long.
    A room with another kind of credential ends it here.
    """
    sessions.end_all(tx, user_id)
    api_keys.end_all(tx, user_id)
    tickets.forget(tx, user_id, 0)
    revocations.add(tx, [revocable_user(user_id)])
