"""The text of an answer of another user, for those with the right to read it."""

from __future__ import annotations

from dataclasses import dataclass

from app.domain.audit import Actor
from app.domain.errors import NotFound
from app.services.generations import view
from app.store import admin_generations, audit, generations, messages
from app.store.database import ONE_MOMENT, Database

TEXT_READ = "generation.text_read"


@dataclass(frozen=True, slots=True)
class Texts:
    """The message that was answered, and the answer so far."""

    prompt: str
    reasoning: str
    content: str


@dataclass(frozen=True, slots=True)
class TextReader:
    """Reads texts in the name of their owner: no role of the database sees the texts of all users."""

    database: Database

    def read(self, actor: Actor, generation_id: str, reason: str) -> Texts:
        """The texts of a generation. The audit of it is committed before. Raises NotFound."""
        with self.database.operator() as tx:
            found = admin_generations.some(tx, [generation_id])
            if not found:
                raise NotFound("There is no such generation.")
            owner = found[0].user_id
            audit.record(tx, actor, TEXT_READ, "generation", generation_id, user_id=owner, details={"reason": reason})
        with self.database.user(owner, ONE_MOMENT) as tx:
            row = generations.get(tx, generation_id)
            asked = None if row is None else messages.get(tx, row.user_message_id)
            if row is None or asked is None:
                raise NotFound("There is no such generation.")
            seen = view(tx, row)
            return Texts(asked.content, seen.reasoning, seen.content)
