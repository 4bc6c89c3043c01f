"""Asking for an answer: everything that takes is created in one transaction, once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from app.domain.commands import EditMessage, OnBusy, Regenerate, Said, StartGeneration, User, request_hash
from app.domain.errors import (
    ConversationBusy,
    DatabaseDown,
    InvalidInput,
    KeyReused,
    NotFound,
    Overloaded,
    QuotaUsed,
    UnbrokenError,
)
from app.queue import Queue
from app.services.accounts import new_id
from app.services.catalogue import Catalogue
from app.services.history import History, turn_of
from app.store import conversations, generations, leases, reserved, responses
from app.store.conversations import Conversation, Message
from app.store.database import ONE_MOMENT, Database, Tx
from app.store.generations import Generation
from app.store.leases import Claimed

# The enqueue is on its way: the sweeper waits this long before it looks, in seconds.
GRACE_SECONDS = 2.0
# A cancel of what is interrupted is finished within this lease, in seconds, or by the sweeper afterwards.
INTERRUPT_LEASE_SECONDS = 10.0

Command = StartGeneration | Regenerate | EditMessage


@dataclass(frozen=True, slots=True)
class Started:
    """What a request led to. ``repeated``: an earlier request with the same key did it."""

    conversation: Conversation
    message: Message
    generation: Generation
    repeated: bool
    conversation_created: bool
    history_version: int
    interrupted: tuple[Claimed, ...] = ()


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an answer belongs. ``said`` empty: the message it answers exists already, as ``message_id``.

    ``message_id`` is the last of what is said; ``reserved`` the metadata a new conversation was promised with.
    """

    conversation_id: str
    is_new: bool
    message_id: str
    parent_id: str | None
    said: tuple[Said, ...]
    model: str
    own_model: str | None = None
    client_msg_id: str | None = None
    metadata: dict[str, Any] | None = None
    parameters: dict[str, Any] | None = None
    request: dict[str, Any] | None = None
    reserved: dict[str, Any] | None = None

    @property
    def preview(self) -> str | None:
        """What a list of conversations shows of it; None when nothing new was written."""
        return next((said.content for said in reversed(self.said) if said.content), None)


class Starter:
    """Starts generations. ``most_queued`` is where admission ends, ``tokens_per_day`` where a user's day does.

    ``finish_cancel`` ends what was interrupted.
    """

    def __init__(
        self,
        database: Database,
        queue: Queue,
        catalogue: Catalogue,
        history: History,
        finish_cancel: Callable[[Claimed], None],
        most_queued: int,
        tokens_per_day: int | None,
    ) -> None:
        self._database = database
        self._queue = queue
        self._catalogue = catalogue
        self._history = history
        self._finish_cancel = finish_cancel
        self._most_queued = most_queued
        self._tokens_per_day = tokens_per_day

    def start(self, user: User, command: Command, admit: Callable[[], None] = lambda: None) -> Started:
        """Store what was asked for with a queued generation, or attach to the one this key already has.

        ``admit`` is called when a conversation is really about to begin, and may raise to prevent it.
        Raises InvalidInput, KeyReused, NotFound, ConversationBusy, Overloaded, DatabaseDown (then nothing is stored).
        """
        generation_id = new_id()
        self._catalogue.refresh(with_default=command.model is None)
        try:
            with self._database.user(user.id) as tx:
                started = self._repeat(tx, user, command) or self._create(tx, command, user, generation_id, admit)
        except DatabaseDown:
            # The reply to the COMMIT may have been lost: what is there says whether it took place.
            committed = self._read_back(user, generation_id)
            if committed is None:
                raise
            started = committed
        if not started.repeated:
            self._follow_up(started)
        return started

    def _repeat(self, tx: Tx, user: User, command: Command) -> Started | None:
        if command.idempotency_key is None:
            return None
        generations.hold_key(tx, user.id, command.idempotency_key)
        found = generations.by_key(tx, command.idempotency_key)
        if found is None:
            return None
        generation, hashed = found
        if hashed != request_hash(command):
            raise KeyReused
        if conversations.lock(tx, generation.conversation_id) is None:
            return None  # it is deleted by now, and its key with it
        return _started(tx, generation, repeated=True)

    def _create(self, tx: Tx, command: Command, user: User, generation_id: str, admit: Callable[[], None]) -> Started:
        if generations.queued_total(tx) >= self._most_queued:
            raise Overloaded("Too many generations are waiting already; try again a little later.")
        self._check_quota(tx, user)
        place = self._place(tx, command)
        model = self._catalogue.find(place.model)
        interrupted = () if place.is_new else _make_room(tx, place.conversation_id, command.on_busy)
        ids = [*(new_id() for _ in place.said[1:]), place.message_id]
        count = len(place.said) + 1
        if place.is_new:
            admit()
        seq, version = _take_numbers(tx, place, user, ids[0], count)
        _add_messages(tx, place, user, ids, seq)
        answer_id = new_id()
        conversations.add_message(
            tx,
            message_id=answer_id,
            conversation_id=place.conversation_id,
            user_id=user.id,
            parent_id=place.message_id,
            seq=seq + count - 1,
            role="assistant",
            status="queued",
            model=model.name,
        )
        generations.add(
            tx,
            generation_id=generation_id,
            user_id=user.id,
            conversation_id=place.conversation_id,
            message_id=answer_id,
            user_message_id=place.message_id,
            seq=seq + count - 1,
            model=model.name,
            parameters=place.parameters or {},
            metadata=place.metadata or {},
            idempotency_key=command.idempotency_key,
            request_hash=request_hash(command),
            grace=GRACE_SECONDS,
        )
        if place.request is not None:
            responses.add(tx, generation_id, user.id, place.request)
        generation = generations.get(tx, generation_id)
        assert generation, "added above"
        return _started(tx, generation, repeated=False, history_version=version, interrupted=interrupted)

    def _check_quota(self, tx: Tx, user: User) -> None:
        if self._tokens_per_day is None:
            return
        used, left = generations.tokens_today(tx, user.id)
        if used >= self._tokens_per_day:
            raise QuotaUsed(left)

    def _place(self, tx: Tx, command: Command) -> _Place:
        match command:
            case StartGeneration(conversation_id=None):
                return self._place_new(command)
            case StartGeneration():
                return self._place_next(tx, command)
            case Regenerate():
                return self._place_again(tx, command)
            case EditMessage():
                return self._place_edited(tx, command)

    def _place_new(self, command: StartGeneration) -> _Place:
        if command.parent_id is not None:
            raise InvalidInput("A new conversation has no message to branch from.", "parent_id")
        return _Place(
            conversation_id=new_id(),
            is_new=True,
            message_id=new_id(),
            parent_id=None,
            said=command.messages,
            model=command.model or self._catalogue.default(),
            own_model=command.model,
            client_msg_id=command.client_msg_id,
            metadata=command.metadata,
            parameters=command.parameters,
            request=command.request,
        )

    def _place_next(self, tx: Tx, command: StartGeneration) -> _Place:
        assert command.conversation_id, "checked by the caller"
        if command.parent_id is None and (promised := reserved.take(tx, command.conversation_id)) is not None:
            new = self._place_new(command)
            return replace(new, conversation_id=command.conversation_id, reserved=promised)
        own_model = _hold(tx, command.conversation_id)
        return _Place(
            conversation_id=command.conversation_id,
            is_new=False,
            message_id=new_id(),
            parent_id=_parent(tx, command.conversation_id, command.parent_id, command.on_busy),
            said=command.messages,
            model=command.model or own_model or self._catalogue.default(),
            client_msg_id=command.client_msg_id,
            metadata=command.metadata,
            parameters=command.parameters,
            request=command.request,
        )

    def _place_again(self, tx: Tx, command: Regenerate) -> _Place:
        answer = _message(tx, command.message_id)
        if answer.role != "assistant" or answer.parent_id is None:
            raise InvalidInput("Only an answer can be generated once more.", "message_id")
        own_model = _hold(tx, answer.conversation_id)
        return _Place(
            conversation_id=answer.conversation_id,
            is_new=False,
            message_id=answer.parent_id,
            parent_id=None,
            said=(),
            model=command.model or answer.model or own_model or self._catalogue.default(),
            parameters=command.parameters,
        )

    def _place_edited(self, tx: Tx, command: EditMessage) -> _Place:
        message = _message(tx, command.message_id)
        if message.role != "user":
            raise InvalidInput("Only your own messages can be edited.", "message_id")
        own_model = _hold(tx, message.conversation_id)
        return _Place(
            conversation_id=message.conversation_id,
            is_new=False,
            message_id=new_id(),
            parent_id=message.parent_id,
            said=(Said("user", command.message),),
            model=command.model or own_model or self._catalogue.default(),
            client_msg_id=command.client_msg_id,
            metadata=command.metadata,
            parameters=command.parameters,
        )

    def _follow_up(self, started: Started) -> None:
        """What may be lost: the doorbell, the cached history, and the end of what was interrupted."""
        self._queue.run_generation(started.generation.id)
        said = started.message
        if started.history_version:
            self._history.extend(said.conversation_id, started.history_version, said.parent_id, turn_of(said))
        for claimed in started.interrupted:
            # The claim is committed: what cannot be ended now, the sweeper's next worker ends.
            with suppress(UnbrokenError):
                self._finish_cancel(claimed)

    def _read_back(self, user: User, generation_id: str) -> Started | None:
        try:
            # What is there may be deleted while we look.
            with self._database.user(user.id, ONE_MOMENT) as tx:
                generation = generations.get(tx, generation_id)
                return _started(tx, generation, repeated=False) if generation else None
        except DatabaseDown:
            return None


def _take_numbers(tx: Tx, place: _Place, user: User, first_message_id: str, count: int) -> tuple[int, int]:
    """Numbers for so many messages: the first, and the version of the history; a new conversation begins with them."""
    if not place.is_new:
        return conversations.take_numbers(tx, place.conversation_id, count, place.preview)
    return conversations.add(
        tx,
        conversation_id=place.conversation_id,
        user_id=user.id,
        first_message_id=first_message_id,
        count=count,
        model=place.own_model,
        preview=place.preview or "",
        metadata=place.reserved or {},
    )


def _add_messages(tx: Tx, place: _Place, user: User, ids: list[str], seq: int) -> None:
    """Add what is said as one branch. The client's name and metadata belong to the last message."""
    parent_id = place.parent_id
    for n, (message_id, said) in enumerate(zip(ids, place.said, strict=False)):
        is_last = message_id == place.message_id
        conversations.add_message(
            tx,
            message_id=message_id,
            conversation_id=place.conversation_id,
            user_id=user.id,
            parent_id=parent_id,
            seq=seq + n,
            role=said.role,
            status="completed",
            content=said.content,
            client_msg_id=place.client_msg_id if is_last else None,
            metadata=place.metadata if is_last else None,
            items=list(said.items) or None,
        )
        parent_id = message_id


def _hold(tx: Tx, conversation_id: str) -> str | None:
    """Hold the conversation until the transaction ends; its own model. Raises NotFound."""
    held = conversations.lock(tx, conversation_id)
    if held is None:
        raise NotFound("There is no such conversation.")
    return held.model  # type: ignore[no-any-return]  # a row's column


def _make_room(tx: Tx, conversation_id: str, policy: OnBusy) -> tuple[Claimed, ...]:
    """Apply the policy for a second message while one is being answered. What it takes away is returned."""
    live = generations.live_in(tx, conversation_id)
    if live and policy == "reject":
        raise ConversationBusy
    if policy == "enqueue":
        return ()
    taken = [leases.claim_to_cancel(tx, row.id, policy, INTERRUPT_LEASE_SECONDS) for row in live]
    return tuple(claimed for claimed in taken if claimed)


def _parent(tx: Tx, conversation_id: str, wanted: str | None, policy: OnBusy) -> str | None:
    """The message a new one follows: the one named, or the newest; with ``replace``, what the replaced one followed."""
    if wanted is not None:
        parent = conversations.message(tx, wanted)
        if parent is None or parent.conversation_id != conversation_id:
            raise InvalidInput("There is no such message in this conversation.", "parent_id")
        return parent.id
    live = generations.live_in(tx, conversation_id)
    if policy == "replace" and live:
        replaced = conversations.message(tx, live[0].user_message_id)
        return replaced.parent_id if replaced else None
    return conversations.last_message_id(tx, conversation_id)


def _message(tx: Tx, message_id: str) -> Message:
    found = conversations.message(tx, message_id)
    if found is None:
        raise NotFound("There is no such message.")
    return found


def _started(
    tx: Tx,
    generation: Generation,
    *,
    repeated: bool,
    history_version: int = 0,
    interrupted: tuple[Claimed, ...] = (),
) -> Started:
    conversation = conversations.get(tx, generation.conversation_id)
    message = conversations.message(tx, generation.user_message_id)
    assert conversation, "foreign keys keep it"
    assert message, "foreign keys keep it"
    created = (message.seq, generation.seq) == (1, 2)
    return Started(conversation, message, generation, repeated, created, history_version, interrupted)
