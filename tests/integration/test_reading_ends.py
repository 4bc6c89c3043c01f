"""What the relay asks about logs that have been silent: how far does the store know each of them?"""

from __future__ import annotations

import socket
import time

import pytest

from app.domain.cursor import START, Cursor
from app.domain.events import Snapshot
from app.relay import shelf
from app.relay.book import Book
from app.relay.hub import Hub
from tests.actors import claim, start
from tests.stack import Stack


def test_the_store_knows_a_running_log_as_far_as_its_newest_checkpoint(stack: Stack) -> None:
    generation_id = start(stack.resources, stack.user).generation.id
    ends = stack.resources.reader.ends
    assert ends([generation_id]) == {generation_id: START}, "it is queued: there is nothing to read"
    hand = claim(stack.resources, generation_id)
    assert ends([generation_id]) == {generation_id: None}, "it runs, and nothing is stored: who knows"
    hand.say(Snapshot("", "start", 1)).speak(5).save(pieces=2)
    assert ends([generation_id]) == {generation_id: Cursor(1, 5)}
    hand.speak(3, 5).publish()
    hand.finish()
    assert ends([generation_id]) == {generation_id: Cursor(1, 10)}, "the mark and done stand behind it"
    assert ends(["019aa000-0000-7000-8000-000000000000"]) == {}


def test_a_log_that_has_nothing_to_say_is_not_read_again_and_again(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shelf, "IDLE_SECONDS", 0.2)
    generation_id = start(stack.resources, stack.user).generation.id
    hand = claim(stack.resources, generation_id)
    hand.freeze()
    hand.say(Snapshot("", "start", 1)).publish()
    hand.save(pieces=1)
    resources, settings = stack.resources, stack.settings
    book = Book(resources.reader, lambda key: resources.log.keys(key).channel)
    hub = Hub(book, settings.redis_url, settings.redis_namespace, resources.redis.publish)
    ours, theirs = socket.socketpair()
    with ours:
        hub.adopt(theirs, generation_id, START)
        ours.settimeout(10)
        assert b"snapshot" in ours.recv(65536)
        time.sleep(0.5)
        before = hub.log_reads
        time.sleep(2.5)
        assert hub.log_reads == before
    hub.close()
