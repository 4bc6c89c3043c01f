"""Titles of conversations without one: made after the first answer, set once."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from app.domain import sse
from app.domain.errors import LogDown
from app.eventlog.log import RedisLog
from app.store import titles
from app.store.database import Database
from app.store.titles import Untitled


@dataclass(frozen=True, slots=True)
class Titles:
    """Finds conversations without a title, and gives them one."""

    database: Database
    log: RedisLog

    def wanted(self, generation_id: str) -> Untitled | None:
        """The first message of this answer's conversation; None when it has a title, or no message with text."""
        with self.database.owner("generation", generation_id) as tx:
            return titles.untitled(tx, generation_id)

    def give(self, conversation_id: str, generation_id: str, title: str) -> bool:
        """Set the title of a conversation that has none, and send it to the answer's readers. Raises DatabaseDown."""
        with self.database.owner("conversation", conversation_id) as tx:
            given = titles.entitle(tx, conversation_id, title)
        if given:
            # For connected readers only: the conversation's feed has the title with a number.
            with suppress(LogDown):
                self.log.publish_notice(generation_id, sse.notice({"type": "title", "title": title}))
        return given
