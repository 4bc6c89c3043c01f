"""Responses of OpenAI's protocol: generations with their request, deleted without their conversation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from app.domain.commands import User
from app.domain.cursor import START
from app.domain.errors import NotFound
from app.domain.events import Entry
from app.services.generations import Generations
from app.services.log_reader import LogReader
from app.store import conversations, generations, messages, responses
from app.store.database import ONE_MOMENT, Database
from app.store.generations import Generation
from app.store.messages import Message


@dataclass(frozen=True, slots=True)
class Found:
    """A generation with its request of the Responses API; empty for a generation of another API."""

    row: Generation
    request: dict[str, Any]


class OpenAIResponses:
    """The responses of a user. Raises NotFound for a response that is another user's, deleted or unknown."""

    def __init__(
        self, database: Database, generations: Generations, reader: LogReader, erase: Callable[[Sequence[str]], None]
    ) -> None:
        self._database = database
        self._generations = generations
        self._reader = reader
        self._erase = erase

    def find(self, user: User, generation_id: str) -> Found:
        """The response behind this id."""
        with self._database.user(user.id, ONE_MOMENT) as tx:
            row = generations.get(tx, generation_id)
            request, deleted = responses.get(tx, generation_id)
        if row is None or deleted:
            raise NotFound("There is no such response.")
        return Found(row, request)

    def log(self, row: Generation) -> list[Entry]:
        """The log as far as it goes; whole when the generation has ended. Raises DatabaseDown.

        Raises NotFound when it has ended and was deleted since.
        """
        entries: list[Entry] = []
        while page := self._reader.read(row.id, entries[-1].cursor if entries else START):
            entries += page
            if row.final is not None and entries[-1].cursor >= row.final:
                return entries
        if row.final is not None:
            raise NotFound("There is no such response.")
        return entries

    def logs(self, user: User, generation_ids: list[str]) -> dict[str, tuple[Found, list[Entry]]]:
        """Several responses with their logs, by id. Ids that do not exist are left out."""
        with self._database.user(user.id, ONE_MOMENT) as tx:
            rows = [row for wanted in generation_ids if (row := generations.get(tx, wanted))]
            requests = responses.of(tx, generation_ids)
        return {row.id: (Found(row, requests.get(row.id, {})), self.log(row)) for row in rows}

    def message(self, user: User, message_id: str) -> Message:
        """One of the user's messages, to be referred to."""
        with self._database.user(user.id) as tx:
            found = messages.get(tx, message_id)
        if found is None:
            raise NotFound("There is no such item.")
        return found

    def cancel(self, user: User, generation_id: str) -> Found:
        """Cancel a live response. Returns the response after the cancel."""
        self.find(user, generation_id)
        self._generations.cancel(user, generation_id)
        return self.find(user, generation_id)

    def delete(self, user: User, generation_id: str) -> None:
        """Delete a response and cancel it if it is live. A conversation with nothing else in it is deleted, too."""
        found = self.cancel(user, generation_id)
        conversation_id = found.row.conversation_id
        gone: list[str] = []
        with self._database.user(user.id) as tx:
            # Locked: a message that is added meanwhile is there before, or finds no conversation.
            if conversations.lock(tx, conversation_id) is None:
                raise NotFound("There is no such response.")
            responses.mark_deleted(tx, generation_id, user.id)
            last = messages.page(tx, conversation_id, found.row.seq, 1)
            if not last and found.row.seq == _count(found) + 1 and not found.request.get("conversation"):
                self._generations.end_with_deletion(tx, conversation_id)
                gone = conversations.delete(tx, conversation_id)
        self._erase(gone)

    def inputs(self, user: User, found: Found) -> list[Message]:
        """The messages the request added, oldest first."""
        row, count = found.row, _count(found)
        with self._database.user(user.id) as tx:
            if not found.request:
                message = messages.get(tx, row.user_message_id)
                return [message] if message else []
            return messages.page(tx, row.conversation_id, row.seq - count - 1, count)


def _count(found: Found) -> int:
    """The number of messages that the request added before the answer."""
    return int(found.request.get("messages", 1))
