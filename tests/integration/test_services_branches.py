"""A second message during an answer, a regeneration, an edited question: parents of messages, and running answers."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from app.domain.commands import EditMessage, Regenerate, StartGeneration, User
from app.domain.cursor import START
from app.domain.errors import ConversationBusy, InvalidInput, KeyReused, NotFound
from app.domain.events import Done, decode
from app.domain.transcript import Transcript
from app.services.generation_start import Started
from app.store import leases
from app.store.messages import Message
from app.wiring import Resources
from tests.actors import Hand, claim, start
from tests.stack import Stack


@pytest.fixture
def resources(module_stack: Stack) -> Resources:
    return module_stack.resources


@pytest.fixture
def alice(resources: Resources) -> User:
    return resources.users.user(f"alice {uuid4()}", None)


def answered(resources: Resources, user: User, message: str = "one", **fields: object) -> Started:
    started = start(resources, user, message, **fields)
    claim(resources, started.generation.id).speak(2).finish()
    return started


def speaking(resources: Resources, user: User, conversation_id: str | None = None) -> tuple[Started, Hand]:
    started = start(resources, user, "live", conversation_id=conversation_id)
    hand = claim(resources, started.generation.id).speak(4)
    hand.publish()
    return started, hand


def messages(resources: Resources, user: User, started: Started) -> list[Message]:
    return resources.conversations.messages(user, started.conversation.id, 0, 100).items


def context(resources: Resources, started: Started) -> list[str]:
    return [turn.content for turn in resources.history.context(started.conversation.id, started.message.id)]


def statuses(resources: Resources, user: User, started: Started) -> list[str]:
    return [m.status for m in messages(resources, user, started) if m.role == "assistant"]


def test_by_default_a_busy_conversation_refuses(resources: Resources, alice: User) -> None:
    started, _ = speaking(resources, alice)
    with pytest.raises(ConversationBusy):
        start(resources, alice, "two", conversation_id=started.conversation.id)
    assert len(messages(resources, alice, started)) == 2


def test_an_enqueued_message_is_answered_after_the_first_and_knows_its_answer(
    resources: Resources, alice: User
) -> None:
    first, hand = speaking(resources, alice)
    second = start(resources, alice, "two", conversation_id=first.conversation.id, on_busy="enqueue")
    with resources.database.system() as tx:
        assert leases.claim(tx, second.generation.id, "early", 30, 60) is None
    hand.finish()
    claim(resources, second.generation.id).speak(1).finish()
    assert context(resources, second) == ["live", Transcript.of(hand.entries).text, "two"]
    assert statuses(resources, alice, first) == ["completed", "completed"]


def test_several_enqueued_messages_are_answered_in_their_order(resources: Resources, alice: User) -> None:
    first, hand = speaking(resources, alice)
    waiting = [
        start(resources, alice, f"q{n}", conversation_id=first.conversation.id, on_busy="enqueue").generation.id
        for n in range(3)
    ]
    hand.finish()
    for number, generation in enumerate(waiting):
        with resources.database.system() as tx:
            for later in waiting[number + 1 :]:
                assert leases.claim(tx, later, "early", 30, 60) is None
        claim(resources, generation).speak(1).finish()


@pytest.mark.parametrize("policy", ["interrupt", "replace"])
def test_what_is_interrupted_keeps_what_it_said_and_its_readers_get_an_end(
    resources: Resources, alice: User, policy: str
) -> None:
    first, hand = speaking(resources, alice)
    second = start(resources, alice, "two", conversation_id=first.conversation.id, on_busy=policy)
    view = resources.generations.get(alice, hand.id)
    assert (view.row.status, view.content) == ("cancelled", Transcript.of(hand.entries).text)
    assert isinstance(decode(resources.reader.read(hand.id, START)[-1].payload), Done)
    assert hand.publish().verdict == "FENCED"
    claim(resources, second.generation.id)


def test_after_an_interruption_the_new_message_follows_the_partial_answer(resources: Resources, alice: User) -> None:
    first, hand = speaking(resources, alice)
    second = start(resources, alice, "two", conversation_id=first.conversation.id, on_busy="interrupt")
    assert context(resources, second) == ["live", Transcript.of(hand.entries).text, "two"]


def test_a_replacement_stands_where_the_replaced_message_stood(resources: Resources, alice: User) -> None:
    before = answered(resources, alice)
    speaking(resources, alice, before.conversation.id)
    second = start(resources, alice, "two", conversation_id=before.conversation.id, on_busy="replace")
    assert context(resources, second) == ["one", "t1.0 t1.1 ", "two"]


@pytest.mark.parametrize("policy", ["interrupt", "replace", "enqueue"])
def test_in_an_idle_conversation_every_policy_is_the_same(resources: Resources, alice: User, policy: str) -> None:
    before = answered(resources, alice)
    second = start(resources, alice, "two", conversation_id=before.conversation.id, on_busy=policy)
    assert context(resources, second) == ["one", "t1.0 t1.1 ", "two"]


@pytest.mark.usefixtures("patient_locks")
def test_of_many_simultaneous_interruptions_one_answer_is_left(resources: Resources, alice: User) -> None:
    first, _ = speaking(resources, alice)
    gate = threading.Barrier(6)

    def interrupt(number: int) -> Started:
        gate.wait(10)
        return start(resources, alice, str(number), conversation_id=first.conversation.id, on_busy="interrupt")

    with ThreadPoolExecutor(6) as pool:
        started = list(pool.map(interrupt, range(6)))
    found = statuses(resources, alice, first)
    assert sorted(found) == ["cancelled"] * 6 + ["queued"]
    last = max(started, key=lambda one: one.generation.seq)
    assert resources.generations.get(alice, last.generation.id).row.status == "queued"


def test_another_answer_is_a_branch_beside_the_first(resources: Resources, alice: User) -> None:
    first = answered(resources, alice)
    old = messages(resources, alice, first)[1]
    again = resources.starter.start(alice, Regenerate(old.id))
    assert again.message.id == first.message.id
    claim(resources, again.generation.id).speak(3).finish()
    answers = [m for m in messages(resources, alice, first) if m.role == "assistant"]
    assert [m.parent_id for m in answers] == [first.message.id] * 2
    assert answers[0].content == old.content
    assert context(resources, again) == ["one"]
    following = start(resources, alice, "on the old", conversation_id=first.conversation.id, parent_id=old.id)
    assert context(resources, following) == ["one", old.content, "on the old"]


def test_another_question_is_a_branch_of_its_own(resources: Resources, alice: User) -> None:
    first = answered(resources, alice)
    second = answered(resources, alice, "two", conversation_id=first.conversation.id)
    edited = resources.starter.start(alice, EditMessage(second.message.id, "two, but better"))
    assert edited.message.parent_id == second.message.parent_id
    assert context(resources, edited) == ["one", "t1.0 t1.1 ", "two, but better"]
    assert [m.content for m in messages(resources, alice, first) if m.role == "user"] == [
        "one",
        "two",
        "two, but better",
    ]


def test_the_first_question_can_be_asked_differently_too(resources: Resources, alice: User) -> None:
    first = answered(resources, alice)
    edited = resources.starter.start(alice, EditMessage(first.message.id, "zero"))
    assert context(resources, edited) == ["zero"]
    assert not edited.conversation_created


def test_only_answers_are_regenerated_and_only_questions_edited(resources: Resources, alice: User) -> None:
    first = answered(resources, alice)
    answer = messages(resources, alice, first)[1]
    with pytest.raises(InvalidInput):
        resources.starter.start(alice, Regenerate(first.message.id))
    with pytest.raises(InvalidInput):
        resources.starter.start(alice, EditMessage(answer.id, "x"))


def test_messages_of_others_do_not_exist(resources: Resources, alice: User) -> None:
    first = answered(resources, alice)
    answer = messages(resources, alice, first)[1]
    bob = resources.users.user(f"bob {uuid4()}", None)
    for command in (Regenerate(answer.id), EditMessage(first.message.id, "x"), Regenerate(str(uuid4()))):
        with pytest.raises(NotFound):
            resources.starter.start(bob, command)
    other = answered(resources, bob)
    with pytest.raises(InvalidInput):
        start(resources, bob, "x", conversation_id=other.conversation.id, parent_id=answer.id)


def test_branching_obeys_the_policy_for_busy_conversations(resources: Resources, alice: User) -> None:
    first = answered(resources, alice)
    answer = messages(resources, alice, first)[1]
    speaking(resources, alice, first.conversation.id)
    with pytest.raises(ConversationBusy):
        resources.starter.start(alice, Regenerate(answer.id))
    resources.starter.start(alice, Regenerate(answer.id, on_busy="interrupt"))
    assert statuses(resources, alice, first) == ["completed", "cancelled", "queued"]


def test_a_key_belongs_to_the_kind_of_request_too(resources: Resources, alice: User) -> None:
    first = answered(resources, alice, idempotency_key="k")
    answer = messages(resources, alice, first)[1]
    with pytest.raises(KeyReused):
        resources.starter.start(alice, Regenerate(answer.id, idempotency_key="k"))
    one = resources.starter.start(alice, Regenerate(answer.id, idempotency_key="r"))
    two = resources.starter.start(alice, Regenerate(answer.id, idempotency_key="r"))
    assert (two.repeated, two.generation.id) == (True, one.generation.id)


def test_numbers_of_messages_have_no_gap_whatever_branches(resources: Resources, alice: User) -> None:
    first = answered(resources, alice)
    answer = messages(resources, alice, first)[1]
    for command in (
        Regenerate(answer.id),
        EditMessage(first.message.id, "x"),
        StartGeneration("y", first.conversation.id),
    ):
        started = resources.starter.start(alice, command)
        resources.generations.cancel(alice, started.generation.id)
    found = messages(resources, alice, first)
    assert [m.seq for m in found] == list(range(1, len(found) + 1))
