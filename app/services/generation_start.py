"""Starting a generation: its messages and its row are added in one transaction, once for each idempotency key."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from app.broker.queue import Queue
from app.domain.answer_format import storable_parameters
from app.domain.commands import OnBusy, User, request_hash
from app.domain.errors import ConversationBusy, DatabaseDown, KeyReused, UnbrokenError
from app.domain.lease import Claimed
from app.domain.trace_context import TraceContext
from app.domain.webhook_signature import new_secret
from app.services.admission import Admission
from app.services.attachments import Attachments, has_files
from app.services.history import History, turn_of
from app.services.message_branch import Branch, append, preview_of
from app.services.model_catalog import ModelCatalog
from app.services.model_checks import check_allowed, check_form
from app.services.placement import Command, Placement
from app.services.users import new_id
from app.store import conversations, generations, leases, messages, new_generations, responses, webhook_endpoints
from app.store.conversations import Conversation, NewConversation
from app.store.database import ONE_MOMENT, Database, Tx
from app.store.generations import Generation
from app.store.messages import Message, NewMessage
from app.store.new_generations import NewGeneration, Origin

# Seconds for which the sweeper leaves a new generation alone, because its doorbell is on its way.
SWEEP_DELAY_SECONDS = 2.0
# Seconds after its end for which a completed generation is the answer to a repeat of its request.
REPEAT_SECONDS = 60.0
# Seconds of the lease under which an interrupted generation is ended. When its request dies, a worker ends it.
INTERRUPT_LEASE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Started:
    """The outcome of a request. ``repeated``: an earlier request with this idempotency key has made the objects.

    ``queue_position`` is that of a new generation when it was accepted, where the caller wanted it; 1 is the next one.
    """

    conversation: Conversation
    message: Message
    generation: Generation
    repeated: bool
    conversation_created: bool
    history_version: int
    interrupted: tuple[Claimed, ...] = ()
    queue_position: int | None = None


@dataclass(frozen=True, slots=True)
class _Request:
    """A command with the id its generation gets. ``admit`` is called before a conversation begins, and may raise."""

    user: User
    command: Command
    generation_id: str
    request_id: str | None
    trace: TraceContext | None
    admit: Callable[[], None]
    with_position: bool


class GenerationStarter:
    """Starts generations, within the limits of ``admission``.

    ``finish_cancel`` ends a generation that was claimed to be interrupted.
    """

    def __init__(
        self,
        database: Database,
        queue: Queue,
        catalogue: ModelCatalog,
        history: History,
        finish_cancel: Callable[[Claimed], None],
        admission: Admission,
        attachments: Attachments,
    ) -> None:
        self._database = database
        self._queue = queue
        self._catalogue = catalogue
        self._history = history
        self._finish_cancel = finish_cancel
        self._admission = admission
        self._attachments = attachments

    def start(
        self,
        user: User,
        command: Command,
        admit: Callable[[], None] = lambda: None,
        request_id: str | None = None,
        *,
        with_position: bool = False,
        trace: TraceContext | None = None,
    ) -> Started:
        """Store a request's messages and a queued generation, or find the generation that its key already has.

        ``admit`` is called before a conversation begins, and may raise to prevent it. ``request_id`` and ``trace`` are
        kept with the generation. ``with_position``: find the place in the queue, too. Nothing is stored when this
        raises InvalidInput, KeyReused, NotFound, ConversationBusy, Overloaded, QuotaUsed or DatabaseDown.
        """
        request = _Request(user, command, new_id(), request_id, trace, admit, with_position)
        if command.model is None:
            self._catalogue.prepare()
        if has_files(command):
            self._catalogue.prepare_inputs()
        try:
            with self._database.user(user.id) as tx:
                started = _repeated(tx, user, command) or self._create(tx, request)
        except DatabaseDown:
            # The reply to the COMMIT may have been lost. The row shows whether the transaction took place.
            committed = self._read_back(user, request.generation_id)
            if committed is None:
                raise
            started = committed
        if not started.repeated:
            self._follow_up(started)
        return started

    def first_of(self, user: User, command: Command, live_for: float) -> Generation | None:
        """The generation that an equal request of this user has started, for a program that sends the request again.

        It is queued or running, or was completed within REPEAT_SECONDS. ``live_for``: seconds that one can be live.
        """
        with self._database.user(user.id) as tx:
            hashed = request_hash(command)
            return generations.by_hash(tx, user.id, hashed, live_for + REPEAT_SECONDS, REPEAT_SECONDS)

    def check_quota(self, user: User) -> None:
        """Raise QuotaUsed when a budget of the user or of the API key is used up. Raises DatabaseDown."""
        with self._database.user(user.id) as tx:
            self._admission.check_quota(tx, user)

    def _create(self, tx: Tx, request: _Request) -> Started:
        """Add the messages of a request and a queued generation. Raises what ``start`` raises."""
        user, command = request.user, request.command
        self._admission.check_queue(tx)
        self._admission.check_quota(tx, user)
        found = self._attachments.place(tx, user, command, partial(self._catalogue.default_for, tx, user))
        check_allowed(user, found.model)
        model = self._catalogue.find(tx, found.model)
        check_form(model, found.parameters or {})
        self._attachments.check(found.said, lambda: self._catalogue.accepts(model), model.name)
        interrupted = () if found.is_new else _make_room(tx, found.conversation_id, command.on_busy)
        self._admission.check_queue_of(tx, user.id)
        if found.is_new:
            request.admit()
        answer_id, seq, version = _add_messages(tx, user, found, model.name)
        new = NewGeneration(
            id=request.generation_id,
            user_id=user.id,
            conversation_id=found.conversation_id,
            message_id=answer_id,
            user_message_id=found.message_id,
            seq=seq,
            model=model.name,
            model_version=model.version,
            parameters=storable_parameters(found.parameters or {}),
            metadata=found.metadata or {},
            origin=Origin(
                command.idempotency_key,
                request_hash(command),
                request.request_id,
                user.credential.key_id,
                request.trace,
            ),
            webhook_url=command.webhook_url,
        )
        new_generations.add(tx, new, SWEEP_DELAY_SECONDS)
        if command.webhook_url is not None:
            # The event will be signed with it.
            webhook_endpoints.user_secret(tx, user.id, new_secret())
        if found.request is not None:
            responses.add(tx, request.generation_id, user.id, found.request)
        added = _added(tx, request.generation_id, with_position=request.with_position)
        return replace(added, history_version=version, interrupted=interrupted)

    def _follow_up(self, started: Started) -> None:
        """Send the doorbell, extend the cached history, end the interrupted generations. Each may fail unnoticed."""
        self._queue.announce(started.generation.id)
        said = started.message
        if started.history_version:
            self._history.extend(said.conversation_id, started.history_version, said.parent_id, turn_of(said))
        for claimed in started.interrupted:
            # The claim is committed. A worker ends a generation that cannot be ended now.
            with suppress(UnbrokenError):
                self._finish_cancel(claimed)

    def _read_back(self, user: User, generation_id: str) -> Started | None:
        try:
            # One moment: the conversation may be deleted between the statements.
            with self._database.user(user.id, ONE_MOMENT) as tx:
                generation = generations.get(tx, generation_id)
                return _started(tx, generation, repeated=False) if generation else None
        except DatabaseDown:
            return None


def _repeated(tx: Tx, user: User, command: Command) -> Started | None:
    """The outcome of the first request with this idempotency key; None when there is none. Raises KeyReused."""
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


def _add_messages(tx: Tx, user: User, found: Placement, model: str) -> tuple[str, int, int]:
    """Add the messages of a request and the empty answer: the answer's id and number, and the history's version."""
    ids = [*(new_id() for _ in found.said[1:]), found.message_id]
    first, version = _take_numbers(tx, user, found, ids[0])
    branch = Branch(found.conversation_id, user.id, found.parent_id)
    said = found.said
    if said:
        append(tx, branch, first, ids, said, client_msg_id=found.client_msg_id, metadata=found.metadata)
    answer_id, seq = new_id(), first + len(said)
    answer = NewMessage(
        id=answer_id,
        conversation_id=found.conversation_id,
        user_id=user.id,
        parent_id=found.message_id,
        seq=seq,
        role="assistant",
        status="queued",
        model=model,
    )
    messages.add(tx, answer)
    return answer_id, seq, version


def _take_numbers(tx: Tx, user: User, found: Placement, first_message_id: str) -> tuple[int, int]:
    """Numbers for the messages and the answer: the first number, and the history's version.

    A new conversation begins with them.
    """
    count, preview = len(found.said) + 1, preview_of(found.said)
    if not found.is_new:
        return conversations.take_numbers(tx, found.conversation_id, count, preview)
    new = NewConversation(
        id=found.conversation_id,
        user_id=user.id,
        first_message_id=first_message_id,
        count=count,
        model=found.own_model,
        preview=preview or "",
        metadata=found.reserved or {},
        listed=found.listed,
        temporary=found.setup.temporary,
        system_prompt=found.setup.system_prompt or None,
        parameters=found.setup.parameters,
    )
    return conversations.add(tx, new)


def _make_room(tx: Tx, conversation_id: str, policy: OnBusy) -> tuple[Claimed, ...]:
    """Apply the policy for a message to a conversation with a live generation. The claims of interrupted ones.

    Raises ConversationBusy.
    """
    live = generations.live_in(tx, conversation_id)
    if live and policy == "reject":
        raise ConversationBusy
    if policy == "enqueue":
        return ()
    taken = [leases.claim_to_cancel(tx, row.id, INTERRUPT_LEASE_SECONDS) for row in live]
    return tuple(claimed for claimed in taken if claimed)


def _added(tx: Tx, generation_id: str, *, with_position: bool) -> Started:
    """The generation that this transaction has added, with its conversation and message."""
    if with_position:
        generation, position = generations.get_queued(tx, generation_id)
        return replace(_started(tx, generation, repeated=False), queue_position=position)
    found = generations.get(tx, generation_id)
    assert found, "added in this transaction"
    return _started(tx, found, repeated=False)


def _started(tx: Tx, generation: Generation, *, repeated: bool) -> Started:
    conversation = conversations.get(tx, generation.conversation_id)
    message = messages.get(tx, generation.user_message_id)
    assert conversation, "foreign keys keep it"
    assert message, "foreign keys keep it"
    created = (message.seq, generation.seq) == (1, 2)
    return Started(conversation, message, generation, repeated, created, history_version=0)
