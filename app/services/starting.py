"""Sending a message: everything it creates is created in one transaction, once."""

from __future__ import annotations

from dataclasses import dataclass

from app.domain.commands import StartGeneration, User
from app.domain.errors import ConversationBusy, DatabaseDown, InvalidInput, KeyReused, NotFound, Overloaded
from app.queue import Queue
from app.services.accounts import new_id
from app.services.catalogue import Catalogue
from app.services.history import History, Turn
from app.store import conversations, generations
from app.store.conversations import Conversation, Message
from app.store.database import Database, Tx
from app.store.generations import Generation

# The enqueue is on its way: the sweeper waits this long before it looks, in seconds.
GRACE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Started:
    """What a sent message led to. ``repeated``: an earlier request with the same key did it."""

    conversation: Conversation
    message: Message
    generation: Generation
    repeated: bool
    conversation_created: bool
    history_version: int


@dataclass(frozen=True, slots=True)
class _Ids:
    """The natural keys of one request: with them a lost COMMIT reply can be asked about."""

    conversation: str
    message: str
    answer: str
    generation: str

    @classmethod
    def new(cls, conversation_id: str | None) -> _Ids:
        return cls(conversation_id or new_id(), new_id(), new_id(), new_id())


class Starter:
    """Starts generations. ``most_queued`` is where admission ends."""

    def __init__(
        self, database: Database, queue: Queue, catalogue: Catalogue, history: History, most_queued: int
    ) -> None:
        self._database = database
        self._queue = queue
        self._catalogue = catalogue
        self._history = history
        self._most_queued = most_queued

    def start(self, user: User, command: StartGeneration) -> Started:
        """Store the message and a queued generation, or attach to the one this key already has.

        Raises InvalidInput, KeyReused, NotFound, ConversationBusy, Overloaded, DatabaseDown (then nothing is stored).
        """
        ids = _Ids.new(command.conversation_id)
        try:
            with self._database.user(user.id) as tx:
                started = self._repeat(tx, user, command) or self._create(tx, user, command, ids)
        except DatabaseDown:
            # The reply to the COMMIT may have been lost: what is there says whether it took place.
            committed = self._read_back(user, ids)
            if committed is None:
                raise
            started = committed
        if not started.repeated:
            self._queue.run_generation(started.generation.id)
            self._remember(started)
        return started

    def _repeat(self, tx: Tx, user: User, command: StartGeneration) -> Started | None:
        if command.idempotency_key is None:
            return None
        generations.hold_key(tx, user.id, command.idempotency_key)
        found = generations.by_key(tx, command.idempotency_key)
        if found is None:
            return None
        generation, request_hash = found
        if request_hash != command.request_hash():
            raise KeyReused
        return _started(tx, generation, repeated=True)

    def _create(self, tx: Tx, user: User, command: StartGeneration, ids: _Ids) -> Started:
        if generations.queued_total(tx) >= self._most_queued:
            raise Overloaded("Too many generations are waiting already; try again a little later.")
        parent_id, model_name = self._place(tx, command)
        model = self._catalogue.find(model_name)
        if command.conversation_id is None:
            conversations.add(
                tx,
                conversation_id=ids.conversation,
                user_id=user.id,
                first_message_id=ids.message,
                model=command.model,
                preview=command.message,
                metadata={},
            )
        seq, version = conversations.take_numbers(tx, ids.conversation, 2, command.message)
        conversations.add_message(
            tx,
            message_id=ids.message,
            conversation_id=ids.conversation,
            user_id=user.id,
            parent_id=parent_id,
            seq=seq,
            role="user",
            status="completed",
            content=command.message,
            client_msg_id=command.client_msg_id,
            metadata=command.metadata,
        )
        conversations.add_message(
            tx,
            message_id=ids.answer,
            conversation_id=ids.conversation,
            user_id=user.id,
            parent_id=ids.message,
            seq=seq + 1,
            role="assistant",
            status="queued",
            model=model.name,
        )
        generations.add(
            tx,
            generation_id=ids.generation,
            user_id=user.id,
            conversation_id=ids.conversation,
            message_id=ids.answer,
            user_message_id=ids.message,
            model=model.name,
            parameters=command.parameters,
            metadata=command.metadata,
            idempotency_key=command.idempotency_key,
            request_hash=command.request_hash(),
            grace=GRACE_SECONDS,
        )
        generation = generations.get(tx, ids.generation)
        assert generation is not None, "added above"
        return _started(tx, generation, repeated=False, history_version=version)

    def _place(self, tx: Tx, command: StartGeneration) -> tuple[str | None, str]:
        """Where the message belongs: its parent, and the model that answers."""
        if command.conversation_id is None:
            if command.parent_id is not None:
                raise InvalidInput("A new conversation has no message to branch from.", "parent_id")
            return None, command.model or self._catalogue.default()
        held = conversations.lock(tx, command.conversation_id)
        if held is None:
            raise NotFound("There is no such conversation.")
        if generations.live_in(tx, command.conversation_id):
            raise ConversationBusy
        model = command.model or held.model or self._catalogue.default()
        if command.parent_id is None:
            return conversations.last_message_id(tx, command.conversation_id), model
        parent = conversations.message(tx, command.parent_id)
        if parent is None or parent.conversation_id != command.conversation_id:
            raise InvalidInput("There is no such message in this conversation.", "parent_id")
        return parent.id, model

    def _remember(self, started: Started) -> None:
        said = started.message
        turn = Turn(said.id, "user", said.content)
        self._history.extend(said.conversation_id, started.history_version, said.parent_id, turn)

    def _read_back(self, user: User, ids: _Ids) -> Started | None:
        try:
            with self._database.user(user.id) as tx:
                generation = generations.get(tx, ids.generation)
                return _started(tx, generation, repeated=False) if generation else None
        except DatabaseDown:
            return None


def _started(tx: Tx, generation: Generation, *, repeated: bool, history_version: int = 0) -> Started:
    conversation = conversations.get(tx, generation.conversation_id)
    message = conversations.message(tx, generation.user_message_id)
    assert conversation, "foreign keys keep it"
    assert message, "foreign keys keep it"
    return Started(conversation, message, generation, repeated, message.seq == 1, history_version)
