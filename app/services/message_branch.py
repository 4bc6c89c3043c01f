"""Messages appended as one branch: each is the parent of the next one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.domain import message_files
from app.domain.commands import Said
from app.store import messages
from app.store.database import Tx
from app.store.messages import NewMessage


@dataclass(frozen=True, slots=True)
class Branch:
    """A place for messages: behind ``parent_id``, which is None for the first message of a conversation."""

    conversation_id: str
    user_id: str
    parent_id: str | None


def preview_of(said: Sequence[Said]) -> str | None:
    """The text that a list of conversations shows after these messages; None when none of them has text or a file."""
    texts = (one.content or message_files.names_of(one.items) for one in reversed(said))
    return next(filter(None, texts), None)


def append(
    tx: Tx,
    branch: Branch,
    seq: int,
    ids: Sequence[str],
    said: Sequence[Said],
    *,
    client_msg_id: str | None = None,
    metadata: dict[str, Any] | None = None,
) -> None:
    """Add messages under the numbers from ``seq`` on. ``client_msg_id`` and ``metadata`` belong to the last one."""
    parent_id = branch.parent_id
    for n, (message_id, one) in enumerate(zip(ids, said, strict=True)):
        is_last = n == len(said) - 1
        new = NewMessage(
            id=message_id,
            conversation_id=branch.conversation_id,
            user_id=branch.user_id,
            parent_id=parent_id,
            seq=seq + n,
            role=one.role,
            status="completed",
            content=one.content,
            client_msg_id=client_msg_id if is_last else None,
            metadata=(metadata or {}) if is_last else {},
            items=list(one.items) or None,
        )
        messages.add(tx, new)
        parent_id = message_id
