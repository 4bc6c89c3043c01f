"""An answer that ends while a request reads it is read as before its end or as after it, never in between."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from threading import Thread

import pytest

from app.domain.commands import ListConversations, StartGeneration
from app.domain.cursor import START, Cursor
from app.domain.errors import NotFound
from app.services.aisdk_chats import ChatRequest
from app.services.placement import Command
from app.services.poller import Poller
from app.wiring import Resources, build
from tests.actors import Hand, before_statement, claim, somebody_waits, start
from tests.fakes.proxy import TcpProxy
from tests.stack import Stack, until


@pytest.fixture
def looker(module_stack: Stack) -> Iterator[Resources]:
    """The services of another process, with connections of their own to the stores."""
    resources = build(module_stack.settings)
    yield resources
    resources.close()


@pytest.fixture
def hand(module_stack: Stack) -> Hand:
    """A worker in the middle of an answer, all of it checkpointed."""
    resources = module_stack.resources
    hand = claim(resources, start(resources, module_stack.user).generation.id).speak(6)
    hand.save()
    return hand


def test_a_poller_is_not_shown_an_answer_without_its_text(module_stack: Stack, looker: Resources, hand: Hand) -> None:
    before_statement(looker, "FROM generation_chunks", hand.finish)
    seen = looker.generations.get(module_stack.user, hand.id)
    assert (seen.row.status, seen.content) == ("running", "".join(f"t1.{n} " for n in range(6)))
    assert looker.generations.get(module_stack.user, hand.id).row.status == "completed"


def test_the_status_of_a_conversation_has_the_text_of_its_answer(
    module_stack: Stack, looker: Resources, hand: Hand
) -> None:
    conversation = hand.claimed.conversation_id
    before_statement(looker, "FROM generation_chunks", hand.finish)
    active = looker.conversations.status(module_stack.user, conversation).active
    assert active is not None
    assert active.content == "".join(f"t1.{n} " for n in range(6))
    assert looker.conversations.status(module_stack.user, conversation).active is None


def test_a_reader_finds_the_checkpoints_or_the_archive(looker: Resources, hand: Hand) -> None:
    before_statement(looker, "FROM generation_chunks", hand.finish)
    assert looker.reader.read(hand.id, START) == hand.entries[:7]
    assert looker.reader.read(hand.id, START)[:7] == hand.entries[:7]


def test_a_poller_is_not_shown_an_end_without_its_events(module_stack: Stack, looker: Resources, hand: Hand) -> None:
    hand.finish()
    resources, conversation = module_stack.resources, hand.claimed.conversation_id
    before_statement(
        looker, "owner_of_generation", lambda: resources.conversations.delete(module_stack.user, conversation)
    )
    with pytest.raises(NotFound):
        Poller(looker.generations, looker.reader).poll(module_stack.user, hand.id, Cursor(1, 2))


@pytest.fixture
def delete(module_stack: Stack, hand: Hand) -> Callable[[], None]:
    """Ends the answer and deletes its conversation."""

    def delete() -> None:
        hand.finish()
        module_stack.resources.conversations.delete(module_stack.user, hand.claimed.conversation_id)

    return delete


def test_a_repeat_of_a_request_whose_conversation_is_deleted_begins_anew(
    module_stack: Stack, looker: Resources
) -> None:
    command = StartGeneration("Hello", model="offline", idempotency_key="told twice")
    first = looker.starter.start(module_stack.user, command)

    def delete() -> None:
        module_stack.resources.conversations.delete(module_stack.user, first.conversation.id)

    before_statement(looker, "FROM conversations", delete)
    second = looker.starter.start(module_stack.user, command)
    assert not second.repeated
    assert second.conversation.id != first.conversation.id


def test_what_was_started_although_nobody_heard_of_the_commit_is_told_as_it_was(module_stack: Stack) -> None:
    url = module_stack.settings.database_url
    with TcpProxy.before(url) as proxy:
        starter = build(module_stack.settings.model_copy(update={"database_url": proxy.url(url)}))
        proxy.drop_reply_to(lambda data: b"COMMIT" in data)

        def delete() -> None:
            newest, *_ = module_stack.resources.conversations.list(module_stack.user, ListConversations()).items
            module_stack.resources.conversations.delete(module_stack.user, newest.id)

        before_statement(starter, "FROM conversations c WHERE c.id", delete, time=2)
        assert start(starter, module_stack.user, "Am I heard?").message.content == "Am I heard?"
        assert proxy.lost_replies == 1
        starter.close()


def test_a_conversation_that_is_deleted_while_it_leaves_is_whole_or_gone(
    module_stack: Stack, looker: Resources, hand: Hand, delete: Callable[[], None]
) -> None:
    before_statement(looker, "FROM messages", delete)
    export = looker.import_export.export_branch(module_stack.user, hand.claimed.conversation_id, None)
    assert [place.id for place in export.places] == [hand.claimed.user_message_id, hand.claimed.message_id]
    with pytest.raises(NotFound):
        list(export.messages)


class TestResponses:
    @pytest.fixture
    def hand(self, module_stack: Stack) -> Hand:
        resources = module_stack.resources
        started = start(resources, module_stack.user, request={"messages": 1})
        return claim(resources, started.generation.id).speak(3)

    def test_one_that_is_deleted_meanwhile_is_not_told_without_what_it_said(
        self, module_stack: Stack, looker: Resources, hand: Hand, delete: Callable[[], None]
    ) -> None:
        hand.finish()
        found = looker.openai_responses.find(module_stack.user, hand.id)
        module_stack.resources.conversations.delete(module_stack.user, found.row.conversation_id)
        with pytest.raises(NotFound):
            looker.openai_responses.log(found.row)

    def test_one_is_found_with_its_request_or_not_at_all(
        self, module_stack: Stack, looker: Resources, hand: Hand, delete: Callable[[], None]
    ) -> None:
        before_statement(looker, "FROM responses", delete)
        assert looker.openai_responses.find(module_stack.user, hand.id).request == {"messages": 1}
        with pytest.raises(NotFound):
            looker.openai_responses.find(module_stack.user, hand.id)

    def test_two_who_delete_one_are_told_that_it_is_gone(
        self, module_stack: Stack, looker: Resources, hand: Hand, delete: Callable[[], None]
    ) -> None:
        hand.finish()
        conversation = hand.claimed.conversation_id
        resources, user = module_stack.resources, module_stack.user
        # The conversation is deleted before the second read of the response, which has been stopped by then.
        before_statement(looker, "FROM responses", lambda: resources.conversations.delete(user, conversation), time=2)
        with pytest.raises(NotFound):
            looker.openai_responses.delete(user, hand.id)

    def test_what_is_said_while_one_is_deleted_is_not_deleted_with_it(
        self, module_stack: Stack, looker: Resources, hand: Hand
    ) -> None:
        hand.finish()
        conversation = hand.claimed.conversation_id
        before_statement(
            looker,
            "SELECT id, model FROM conversations",
            lambda: start(module_stack.resources, module_stack.user, "And?", conversation_id=conversation),
        )
        looker.openai_responses.delete(module_stack.user, hand.id)
        said = looker.conversations.messages(module_stack.user, conversation, 0, 10).items
        assert [message.content for message in said if message.role == "user"] == ["Hello", "And?"]


class TestChats:
    def plan(self, resources: Resources, stack: Stack, chat: str, message: str) -> Command:
        command = resources.aisdk_chats.plan(stack.user, ChatRequest(chat, message, message, model="offline"))
        assert isinstance(command, StartGeneration)
        return command

    def test_one_that_begins_while_something_is_said_in_it_is_not_promised_again(
        self, module_stack: Stack, looker: Resources
    ) -> None:
        resources = module_stack.resources
        first = self.plan(looker, module_stack, "quick", "one")
        before_statement(looker, "reserved_conversations", lambda: resources.starter.start(module_stack.user, first))
        second = self.plan(looker, module_stack, "quick", "two")
        begun = looker.starter.start(module_stack.user, second)
        assert [m.content for m in looker.aisdk_chats.branch(module_stack.user, "quick")] == ["one", "", "two", ""]
        assert not begun.conversation_created

    def test_the_same_when_it_is_only_about_to_begin(self, module_stack: Stack, looker: Resources) -> None:
        resources, planned = module_stack.resources, []
        first = self.plan(resources, module_stack, "quicker", "one")
        other = Thread(target=lambda: planned.append(self.plan(resources, module_stack, "quicker", "two")))

        def wait_behind() -> None:
            other.start()
            until(lambda: not other.is_alive() or somebody_waits(resources), what="the wait for who is quicker")

        before_statement(looker, "INSERT INTO generations", wait_behind)
        looker.starter.start(module_stack.user, first)
        other.join()
        looker.starter.start(module_stack.user, planned[0])
        assert [m.content for m in looker.aisdk_chats.branch(module_stack.user, "quicker")] == ["one", "", "two", ""]
