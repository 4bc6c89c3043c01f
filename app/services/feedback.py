"""Feedback of users on answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from app.domain.commands import User
from app.domain.errors import InvalidInput, NotFound
from app.store import conversations, messages
from app.store.database import Database
from app.store.messages import Message


@dataclass(frozen=True, slots=True)
class Feedback:
    """Keeps one rating of an answer, with a comment."""

    database: Database

    def give(self, user: User, message_id: str, rating: int | None, comment: str | None) -> Message:
        """Replace the feedback on an answer; ``rating`` None removes it. Returns the answer.

        Raises NotFound, and InvalidInput for a message that is no answer.
        """
        feedback: dict[str, Any] | None = None if rating is None else {"rating": rating, "comment": comment or None}
        with self.database.user(user.id) as tx:
            said = messages.get(tx, message_id)
            # Every transaction locks the conversation first.
            if said is None or conversations.lock(tx, said.conversation_id) is None:
                raise NotFound("There is no such message.")
            if said.role != "assistant":
                raise InvalidInput("Only an answer has feedback.", "message_id")
            messages.set_feedback(tx, said.conversation_id, message_id, feedback)
            given = messages.get(tx, message_id)
        assert given, "its conversation is locked"
        return given
