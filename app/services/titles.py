"""Titles of conversations nobody has named: asked for after the fact, given once."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from app.domain import sse
from app.domain.errors import LogDown
from app.eventlog.log import RedisLog
from app.store import conversations
from app.store.conversations import Untitled
from app.store.database import Database


@dataclass(frozen=True, slots=True)
class Titles:
    """Finds conversations without a title, and gives them one."""

    database: Database
    log: RedisLog

    def wanted(self, generation_id: str) -> Untitled | None:
        """What the conversation of this answer begins with; None when it has a title, or nothing was said in it."""
        with self.database.system() as tx:
            return conversations.untitled(tx, generation_id)

    def give(self, conversation_id: str, generation_id: str, title: str) -> bool:
        """Name a conversation unless somebody was quicker; who follows this answer hears it. Raises DatabaseDown."""
        with self.database.system() as tx:
            given = conversations.entitle(tx, conversation_id, title)
        if given:
            # Only for those who are there: the conversation's feed has it with a number.
            with suppress(LogDown):
                self.log.tell(generation_id, sse.notice({"type": "title", "title": title}))
        return given
