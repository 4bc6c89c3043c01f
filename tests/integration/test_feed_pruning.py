"""Changes that are too old to be replayed are deleted. A client that returns later is informed of the gap."""

from __future__ import annotations

import pytest
from sqlalchemy.exc import DBAPIError

from app.domain.commands import ChangeConversation, User
from app.services import feeds
from app.services.passes import Pass
from app.services.sweeper import Chore, DueGenerations, Sweeper
from app.store.database import execute, fetch
from app.wiring import Resources
from tests.actors import claim, start
from tests.factories import owner
from tests.stack import Stack, until

DAY = 24 * 3600


@pytest.fixture
def resources(stack: Stack) -> Resources:
    return stack.resources


@pytest.fixture
def alice(stack: Stack) -> User:
    return stack.user


def prune(resources: Resources) -> None:
    assert Pass(resources.feeds.prune, seconds=600).resume() is False


def rename(resources: Resources, user: User, conversation_id: str, times: int) -> None:
    for n in range(times):
        resources.conversations.change(user, conversation_id, ChangeConversation(title=f"title {n}"))


def let_pass(resources: Resources, days: float) -> None:
    """Move every change of the feeds into the past by this many days."""
    with resources.database.system() as tx:
        execute(tx, "UPDATE feed_events SET created_at = created_at - make_interval(secs => :secs)", secs=days * DAY)


def kept(resources: Resources, conversation_id: str) -> list[int]:
    with resources.database.system() as tx:
        rows = fetch(
            tx,
            """SELECT conversation_seq AS seq FROM feed_events
               WHERE conversation_id = :id AND conversation_seq IS NOT NULL ORDER BY 1""",
            id=conversation_id,
        )
    return [row.seq for row in rows]


def test_old_changes_behind_the_newest_two_hundred_are_removed(resources: Resources, alice: User) -> None:
    conversation_id = start(resources, alice).conversation.id
    rename(resources, alice, conversation_id, 228)
    let_pass(resources, 8)
    prune(resources)
    assert kept(resources, conversation_id) == list(range(31, 231))
    replay = resources.feeds.of_conversation(alice, conversation_id, 5)
    assert [line.change.seq for line in replay.lines] == list(range(31, 231))
    assert (replay.available, replay.missed, replay.top) == (225, 25, 230)
    everything = resources.feeds.of_user(alice, 0)
    assert [line.change.seq for line in everything.lines] == list(range(31, 231))
    assert everything.missed == 30


def test_what_is_young_stays_however_much_there_is(resources: Resources, alice: User) -> None:
    conversation_id = start(resources, alice).conversation.id
    rename(resources, alice, conversation_id, 220)
    let_pass(resources, 6)
    prune(resources)
    assert len(kept(resources, conversation_id)) == 222


def test_a_conversation_with_few_changes_keeps_them_for_ever(resources: Resources, alice: User) -> None:
    quiet = start(resources, alice, "quiet").conversation.id
    busy = start(resources, alice, "busy").conversation.id
    rename(resources, alice, busy, 230)
    let_pass(resources, 400)
    prune(resources)
    assert kept(resources, quiet) == [1, 2]
    assert len(kept(resources, busy)) == 200
    assert resources.feeds.of_conversation(alice, quiet, 0).missed == 0


def test_that_an_answer_was_begun_is_forgotten_too(resources: Resources, alice: User) -> None:
    begun = start(resources, alice)
    claim(resources, begun.generation.id)
    rename(resources, alice, begun.conversation.id, 210)
    let_pass(resources, 8)
    prune(resources)
    with resources.database.system() as tx:
        assert fetch(tx, "SELECT 1 FROM feed_events WHERE type = 'generation.updated'") == []


def test_that_an_answer_was_begun_stays_while_it_may_be_told(resources: Resources, alice: User) -> None:
    begun = start(resources, alice)
    claim(resources, begun.generation.id)
    rename(resources, alice, begun.conversation.id, 150)
    let_pass(resources, 8)
    prune(resources)
    assert [line.change.seq for line in resources.feeds.of_user(alice, 0).lines] == list(range(1, 154))


@pytest.mark.parametrize("at_once", [1000, 7])
def test_nothing_stays_of_a_deleted_conversation_when_that_is_told_no_more(
    resources: Resources, alice: User, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(feeds, "PRUNED_AT_ONCE", at_once)
    gone = [start(resources, alice).conversation.id for _ in range(3)]
    for conversation_id in gone:
        rename(resources, alice, conversation_id, 4)
        resources.conversations.delete(alice, conversation_id)
    stays = start(resources, alice).conversation.id
    rename(resources, alice, stays, 220)
    let_pass(resources, 8)
    prune(resources)
    assert [kept(resources, conversation_id) for conversation_id in gone] == [[], [], []]
    assert len(kept(resources, stays)) == 200
    everything = resources.feeds.of_user(alice, 0)
    assert len(everything.lines) == 200
    assert everything.available == everything.top


@pytest.mark.parametrize(("times", "days"), [(150, 8), (220, 6)])
def test_that_a_conversation_is_deleted_stays_while_it_is_young_or_may_be_told(
    resources: Resources, alice: User, times: int, days: float
) -> None:
    gone = start(resources, alice).conversation.id
    resources.conversations.delete(alice, gone)
    told = kept(resources, gone)
    rename(resources, alice, start(resources, alice).conversation.id, times)
    let_pass(resources, days)
    prune(resources)
    assert kept(resources, gone) == told
    if times < 200:
        kinds = {line.change.kind for line in resources.feeds.of_user(alice, 0).lines}
        assert "conversation.deleted" in kinds


def test_more_than_is_removed_at_once_is_removed_nevertheless(
    resources: Resources, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeds, "PRUNED_AT_ONCE", 7)
    conversation_id = start(resources, alice).conversation.id
    rename(resources, alice, conversation_id, 230)
    let_pass(resources, 8)
    prune(resources)
    assert len(kept(resources, conversation_id)) == 200


def test_a_conversation_whose_changes_cannot_be_removed_keeps_none_of_the_others(
    resources: Resources, alice: User, monkeypatch: pytest.MonkeyPatch, database_url: str
) -> None:
    monkeypatch.setattr(feeds, "LOOKED_AT_AT_ONCE", 1)
    broken, other = sorted(start(resources, alice, text).conversation.id for text in ("one", "two"))
    for conversation_id in (broken, other):
        rename(resources, alice, conversation_id, 210)
    let_pass(resources, 8)
    with owner(database_url) as cursor:
        cursor.execute(f"""
            CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'refused'; END $$;
            CREATE TRIGGER refuse BEFORE DELETE ON feed_events FOR EACH ROW
                WHEN (OLD.conversation_id = '{broken}') EXECUTE FUNCTION refuse();
        """)
    each = Pass(resources.feeds.prune, seconds=600)
    with pytest.raises(DBAPIError, match="refused"):
        each.resume()
    assert each.resume() is True
    assert [len(kept(resources, conversation_id)) for conversation_id in (broken, other)] == [212, 200]


def test_a_feed_goes_on_after_it_was_pruned(resources: Resources, alice: User) -> None:
    conversation_id = start(resources, alice).conversation.id
    rename(resources, alice, conversation_id, 210)
    let_pass(resources, 8)
    prune(resources)
    rename(resources, alice, conversation_id, 1)
    assert [line.change.seq for line in resources.feeds.of_conversation(alice, conversation_id, 212).lines] == [213]


def test_the_sweeper_tidies_up_now_and_then_and_survives_when_that_fails(resources: Resources) -> None:
    tidied: list[int] = []

    def tidy() -> None:
        tidied.append(1)
        if len(tidied) == 1:
            raise RuntimeError("a store stumbled")

    due = DueGenerations(resources.database, 5, lambda: 1)
    sweeper = Sweeper(due, lambda _: None, 0.02, [Chore("tidy", tidy, 0.1)])
    sweeper.start()
    until(lambda: len(tidied) >= 3)
    sweeper.stop()
