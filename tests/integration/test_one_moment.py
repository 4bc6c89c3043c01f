"""An answer that ends while somebody looks at it is seen as it was before or as it is after, never in between."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import event

from app.domain.cursor import START
from app.wiring import Resources, build
from tests.actors import Hand, claim, start
from tests.stack import Stack


@pytest.fixture
def looker(module_stack: Stack) -> Iterator[Resources]:
    """Somebody else's connections to the same stores."""
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


def before_statement(resources: Resources, about: str, do: Callable[[], Any]) -> None:
    """Have something happen once, just before these connections send a statement that says ``about``."""

    due = [do]

    def look(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if about in statement and due:
            due.pop()()

    event.listen(resources.database.engine, "before_cursor_execute", look)


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
