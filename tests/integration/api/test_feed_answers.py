"""A user's feed together with the running answers: one connection carries each event once, in order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from app.api.web_process import WebProcess
from app.domain.events import Token
from app.relay import substreams, topics
from app.wiring import Resources
from tests.integration.api.conftest import Hand, Person
from tests.integration.api.test_feeds import Said, following, up_to
from tests.stack import until

UNKNOWN = "0197a000-0000-7000-8000-000000000000"
FEED = "/api/v1/feed?generations=live"


def of_answers(feed: Iterator[Said], ends: int) -> list[dict[str, Any]]:
    """The events of answers in a feed, up to the end of this many answers."""
    seen = []
    while ends:
        said = next(feed)
        if said.name != "generation.event":
            continue
        assert said.id is None, "the feed's own position must stay what it was"
        seen.append(said.data)
        ends -= said.data["type"] == "done"
    return seen


def heard(seen: list[dict[str, Any]], generation_id: str) -> list[str]:
    """The cursors of one answer's events, in the order of their arrival."""
    return [one["cursor"] for one in seen if one["generation_id"] == generation_id and one["type"] != "open"]


def text(seen: list[dict[str, Any]], generation_id: str) -> str:
    return "".join(one["content"] for one in seen if one["generation_id"] == generation_id and one["type"] == "token")


@pytest.mark.parametrize("ahead", ["1-3", "1-9"])
def test_an_answer_that_ends_at_a_position_the_client_named_gets_its_end(
    alice: Person, resources: Resources, monkeypatch: pytest.MonkeyPatch, ahead: str
) -> None:
    monkeypatch.setattr(topics, "IDLE_SECONDS", 0.5)
    generation_id = alice.start("one")["generation"]["id"]
    hand = Hand(resources, generation_id)
    hand.say(Token("a"))
    with following(alice, f"{FEED}&after={generation_id}:{ahead}") as feed:
        up_to(feed, "replay.end")
        hand.finish()
        seen = of_answers(feed, ends=1)
    assert heard(seen, generation_id) == ["1-3"]


def test_one_connection_carries_the_feed_and_two_answers_at_once(alice: Person, resources: Resources) -> None:
    with following(alice, FEED) as feed:
        up_to(feed, "replay.end")
        begun = [alice.start("one"), alice.start("two")]
        ids = [one["generation"]["id"] for one in begun]
        first, second = (Hand(resources, one) for one in ids)
        for n in range(30):
            first.say(Token(f"a{n} "))
            second.say(Token(f"b{n} "))
        first.finish()
        second.finish()
        seen = of_answers(feed, ends=2)
    for hand, letter in ((first, "a"), (second, "b")):
        assert heard(seen, hand.id) == [f"1-{n}" for n in range(33)]
        assert text(seen, hand.id) == "".join(f"{letter}{n} " for n in range(30))


def test_an_answers_events_come_behind_the_message_that_tells_of_it(alice: Person, resources: Resources) -> None:
    with following(alice, FEED) as feed:
        up_to(feed, "replay.end")
        begun = alice.start("hello")
        Hand(resources, begun["generation"]["id"]).run("ok")
        first = up_to(feed, "generation.event")
    assert [one.name for one in first[:2]] == ["message.new", "message.new"]
    assert first[-1].data["type"] == "snapshot"
    assert first[1].data["generation_id"] == first[-1].data["generation_id"] == begun["generation"]["id"]


def test_an_answer_that_is_being_made_when_the_feed_opens_is_shown_from_its_beginning(
    alice: Person, resources: Resources
) -> None:
    begun = alice.start("early")
    hand = Hand(resources, begun["generation"]["id"])
    hand.say(Token("Once "))
    with following(alice, FEED) as feed:
        opened = up_to(feed, "generation.event")[-1].data
        hand.say(Token("upon"))
        hand.finish()
        seen = of_answers(feed, ends=1)
    assert opened["type"] == "open"
    assert (opened["generation_id"], opened["message_id"]) == (hand.id, begun["generation"]["message_id"])
    assert opened["conversation_id"] == begun["conversation"]["id"]
    assert (opened["status"], opened["after"]) == ("running", "0-0")
    assert heard(seen, hand.id) == [f"1-{n}" for n in range(5)]
    assert text(seen, hand.id) == "Once upon"


def test_who_comes_back_gets_each_event_once_across_connections(alice: Person, resources: Resources) -> None:
    hands = [Hand(resources, alice.start(name)["generation"]["id"]) for name in ("one", "two", "three")]
    seen: list[dict[str, Any]] = []
    last = 0
    with following(alice, FEED) as feed:
        for hand in hands:
            hand.say(*(Token(f"{n} ") for n in range(10)))
        while len([one for one in seen if one["type"] == "token"]) < 20:
            said = next(feed)
            last = said.id or last
            seen += [said.data] if said.name == "generation.event" else []
    # While no client follows, one answer continues, one ends, and one does nothing.
    hands[0].say(Token("later "))
    hands[1].say(Token("at last "))
    hands[1].finish()
    positions = [f"{hand.id}:{(heard(seen, hand.id) or ['0-0'])[-1]}" for hand in hands]
    with following(alice, f"{FEED}&from_seq={last}&after={','.join(positions)}") as feed:
        hands[0].say(Token("and now"))
        hands[0].finish()
        hands[2].finish()
        seen += of_answers(feed, ends=3)
    for hand in hands:
        assert heard(seen, hand.id) == [f"1-{n}" for n in range(len(hand.payloads) + 1)]


def test_what_has_ended_and_was_heard_is_not_told_again(alice: Person, resources: Resources) -> None:
    ended = Hand(resources, alice.start("one")["generation"]["id"])
    ended.run("done")
    running = Hand(resources, alice.start("two")["generation"]["id"])
    with following(alice, f"{FEED}&after={ended.id}:1-{len(ended.payloads)}") as feed:
        running.finish()
        seen = of_answers(feed, ends=1)
    assert {one["generation_id"] for one in seen} == {running.id}


def test_nobody_gets_answers_of_others_whatever_he_asks_for(alice: Person, bob: Person, resources: Resources) -> None:
    hers = Hand(resources, alice.start("hers")["generation"]["id"])
    hers.say(Token("a secret"))
    with following(bob, f"{FEED}&after={hers.id}:0-0,{uuid4()}:1-3") as feed:
        his = Hand(resources, bob.start("his")["generation"]["id"])
        hers.finish()
        his.run("fine")
        said = [next(feed) for _ in range(10)]
    assert "secret" not in repr(said)
    assert {one.data["generation_id"] for one in said if one.name == "generation.event"} == {his.id}


def test_without_being_asked_a_feed_has_no_answers(alice: Person, resources: Resources) -> None:
    with following(alice, "/api/v1/feed") as feed:
        up_to(feed, "replay.end")
        Hand(resources, alice.start("one")["generation"]["id"]).run("ok")
        alice.start("two")
        names = [next(feed).name for _ in range(6)]
    assert "generation.event" not in names


def test_an_answer_that_has_ended_leaves_the_connection(
    alice: Person, resources: Resources, process: WebProcess
) -> None:
    with following(alice, FEED) as feed:
        up_to(feed, "replay.end")
        hand = Hand(resources, alice.start("one")["generation"]["id"])
        hand.run("ok")
        of_answers(feed, ends=1)
        channel = resources.log.keys(hand.id).channel
        until(lambda: process.live.hub.registry.topics[channel].readers == 0)
        # A later change in the feed does not bring it back.
        alice.start("two")
        assert [said.name for said in up_to(feed, "message.new")].count("generation.event") == 0


def test_more_answers_than_a_connection_carries_at_once_take_their_turns(
    alice: Person, resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(substreams, "MOST_CARRIED", 2)
    early = [Hand(resources, alice.start(f"early {n}")["generation"]["id"]) for n in range(3)]
    with following(alice, FEED) as feed:
        up_to(feed, "replay.end")
        late = [Hand(resources, alice.start(f"late {n}")["generation"]["id"]) for n in range(3)]
        for hand in early + late:
            hand.run("so ", "it ", "goes")
        seen = of_answers(feed, ends=6)
    for hand in early + late:
        assert heard(seen, hand.id) == [f"1-{n}" for n in range(6)]


def test_a_deleted_conversations_answer_takes_nothing_else_with_it(alice: Person, resources: Resources) -> None:
    begun = alice.start("one")
    Hand(resources, begun["generation"]["id"]).say(Token("half"))
    with following(alice, FEED) as feed:
        up_to(feed, "replay.end")
        assert alice.delete(f"/api/v1/conversations/{begun['conversation']['id']}").status_code == 204
        other = Hand(resources, alice.start("two")["generation"]["id"])
        other.run("whole")
        seen: list[dict[str, Any]] = []
        while not any(one["type"] == "done" and one["generation_id"] == other.id for one in seen):
            seen += of_answers(feed, ends=1)
    assert text(seen, other.id) == "whole"


@pytest.mark.parametrize(
    ("after", "status"),
    [
        ("nonsense", 400),
        (UNKNOWN, 400),
        (f"{UNKNOWN}:1", 400),
        ("not-an-id:1-2", 400),
        (",".join([f"{UNKNOWN}:1-2"] * 51), 400),
    ],
)
def test_positions_that_are_none_are_refused(alice: Person, after: str, status: int) -> None:
    refused = alice.get(f"{FEED}&after={after}")
    assert refused.status_code == status
    assert refused.json["errors"][0]["field"] == "after"


def test_a_position_an_answer_has_not_reached_is_refused(alice: Person) -> None:
    begun = alice.start("one")
    refused = alice.get(f"{FEED}&after={begun['generation']['id']}:7-1")
    assert refused.status_code == 400
    assert refused.json["errors"][0]["field"] == "after"


def test_another_word_for_which_answers_is_refused(alice: Person) -> None:
    refused = alice.get("/api/v1/feed?generations=all")
    assert refused.status_code == 422
    assert refused.json["errors"][0]["field"] == "generations"
