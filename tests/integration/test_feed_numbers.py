"""Numbers of feeds: a transaction that makes a change takes its number; without gaps, in the order of the commits."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import pairwise
from threading import Event
from typing import Any

import pytest
from sqlalchemy import text

from app.domain.commands import ChangeConversation, Regenerate, Said
from app.domain.errors import ConversationBusy
from app.store import conversations, feed
from app.store.database import Tx, defer, fetch
from app.store.feed import Change
from tests.stack import Stack

# This many threads wait for one row: each waits 3 s at most, also where a transaction takes 0.1 s.
THREADS = 8


class Undone(Exception):
    """Raised before the commit, so that a transaction is rolled back."""


def undo(tx: Tx, items: list[Any]) -> None:
    time.sleep(0.001)
    raise Undone


def conversation_feed(stack: Stack, conversation_id: str) -> list[Change]:
    with stack.resources.database.system() as tx:
        return feed.of_conversation(tx, conversation_id, 0, 100_000)


def user_feed(stack: Stack) -> list[Change]:
    with stack.resources.database.system() as tx:
        return feed.of_user(tx, stack.user.id, 0, 100_000)


def gapless(changes: list[Change]) -> bool:
    return [change.seq for change in changes] == list(range(1, len(changes) + 1))


class Watcher:
    """Reads a feed again and again like a client, each time behind the last change it has."""

    def __init__(self, look: Callable[[int], list[Change]]) -> None:
        self.seen: list[Change] = []
        self._look = look
        self._stopped = Event()

    def run(self) -> None:
        while not self._stopped.wait(0.002):
            self._take()
        self._take()

    def stop(self) -> None:
        self._stopped.set()

    def _take(self) -> None:
        self.seen += self._look(self.seen[-1].seq if self.seen else 0)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.usefixtures("patient_locks")
def test_many_threads_that_change_one_conversation_leave_no_gap_and_no_reader_ever_sees_one(
    stack: Stack, seed: int
) -> None:
    """A reader sees a prefix of the feed at any moment: a smaller number never appears behind a larger one."""
    services = stack.resources
    begun = stack.start("one")
    conversation_id = begun.conversation.id
    services.generations.cancel_all(stack.user, conversation_id)

    def rename(n: int) -> None:
        services.conversations.change(stack.user, conversation_id, ChangeConversation(title=f"title {n}"))

    def add(n: int) -> None:
        try:
            services.openai_conversations.add(
                stack.user, conversation_id, [Said("user", f"message {n}"), Said("user", "and")]
            )
        except ConversationBusy:
            rename(n)

    def ask(n: int) -> None:
        started = stack.start(f"question {n}", conversation_id=conversation_id, on_busy="enqueue")
        if n % 2:
            services.generations.cancel(stack.user, started.generation.id)

    def again(n: int) -> None:
        command = Regenerate(begun.generation.message_id, on_busy="interrupt")
        services.starter.start(stack.user, command)

    def fail(n: int) -> None:
        """Roll back a transaction that has taken a number."""
        with suppress(Undone), services.database.user(stack.user.id) as tx:
            conversations.change(tx, conversation_id, ChangeConversation(title="never"))
            defer(tx, undo, None)

    def look(after: int) -> list[Change]:
        with services.database.system() as tx:
            return feed.of_conversation(tx, conversation_id, after, 1000)

    chosen = random.Random(seed).choices([rename, add, ask, again, fail], k=120)
    watcher = Watcher(look)
    with ThreadPoolExecutor(THREADS + 1) as pool:
        watching = pool.submit(watcher.run)
        for done in [pool.submit(action, n) for n, action in enumerate(chosen)]:
            done.result(120)
        watcher.stop()
        watching.result(60)
    changes = conversation_feed(stack, conversation_id)
    assert gapless(changes)
    assert gapless(user_feed(stack))
    assert [change.seq for change in watcher.seen] == [change.seq for change in changes]
    assert services.conversations.get(stack.user, conversation_id).feed_seq == len(changes)
    assert not any(change.body and change.body["title"] == "never" for change in changes)


def test_every_message_is_told_once_and_every_answers_end_once(stack: Stack) -> None:
    services = stack.resources
    begun = stack.start("one")
    for n in range(5):
        stack.start(f"more {n}", conversation_id=begun.conversation.id, on_busy="enqueue")
    services.generations.cancel_all(stack.user, begun.conversation.id)
    changes = conversation_feed(stack, begun.conversation.id)
    with services.database.system() as tx:
        messages = {row.id: row.role for row in fetch(tx, "SELECT id, role FROM messages")}
    new = [change.message_id for change in changes if change.kind == "message.new"]
    ended = [change.message_id for change in changes if change.kind == "message.updated"]
    assert sorted(new) == sorted(messages)
    assert sorted(ended) == sorted(name for name, role in messages.items() if role == "assistant")


@pytest.mark.usefixtures("patient_locks")
def test_conversations_of_one_user_do_not_wait_for_each_other_for_ever(stack: Stack) -> None:
    """Each transaction locks its conversation and then the counter of its user, so no circle is possible."""
    begun = [stack.start(f"chat {n}") for n in range(10)]

    def work(n: int) -> None:
        conversation_id = begun[n % 10].conversation.id
        stack.start(f"next {n}", conversation_id=conversation_id, on_busy="interrupt")
        stack.resources.conversations.change(stack.user, conversation_id, ChangeConversation(title=f"t {n}"))

    with ThreadPoolExecutor(THREADS) as pool:
        for done in [pool.submit(work, n) for n in range(60)]:
            done.result(120)
    assert gapless(user_feed(stack))
    for one in begun:
        assert gapless(conversation_feed(stack, one.conversation.id))


def test_the_numbers_of_a_user_grow_with_those_of_each_conversation(stack: Stack) -> None:
    first, second = stack.start("a"), stack.start("b")
    stack.resources.conversations.change(stack.user, first.conversation.id, ChangeConversation(title="x"))
    stack.resources.generations.cancel(stack.user, second.generation.id)
    for one in (first, second):
        own = [c.conversation_seq for c in user_feed(stack) if c.conversation_id == one.conversation.id]
        numbered = [seq for seq in own if seq is not None]
        assert len(numbered) > 1
        assert all(later == earlier + 1 for earlier, later in pairwise(numbered))


def test_a_transaction_is_rung_for_after_its_commit_and_only_then(stack: Stack) -> None:
    """A notification before the commit would make readers read too early, and not again afterwards."""
    services, rung = stack.resources, []
    conversation_id = stack.start("one").conversation.id
    services.database._announced = lambda keys: rung.append(keys)
    with services.database.user(stack.user.id) as tx:
        conversations.change(tx, conversation_id, ChangeConversation(title="x"))
        assert rung == []
    assert rung == [{conversation_id, stack.user.id}]
    with suppress(Undone), services.database.user(stack.user.id) as tx:
        conversations.change(tx, conversation_id, ChangeConversation(title="y"))
        raise Undone
    with services.database.user(stack.user.id) as tx:
        tx.execute(text("SELECT 1"))
    assert len(rung) == 1
