"""The relay reads from the store the last known cursor of logs that have been silent."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from math import inf

import pytest

from app.domain.cursor import START, Cursor
from app.domain.events import Snapshot
from app.relay import topics
from app.relay.hub import Hub
from app.relay.log_type import LogType
from app.relay.stream_connection import StreamRequest
from app.services.log_reader import LogReader
from tests.actors import claim, start
from tests.stack import Stack, until


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


class Counting:
    """A log reader that counts the reads of last cursors."""

    def __init__(self, reader: LogReader) -> None:
        self._reader = reader
        self.asked = 0
        self.read, self.queue_positions = reader.read, reader.queue_positions

    def ends(self, keys: Sequence[str]) -> dict[str, Cursor | None]:
        self.asked += 1
        return self._reader.ends(keys)


def test_a_log_that_has_nothing_to_say_is_not_read_again_and_again(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(topics, "IDLE_SECONDS", 0.2)
    generation_id = start(stack.resources, stack.user).generation.id
    hand = claim(stack.resources, generation_id)
    hand.freeze()
    hand.say(Snapshot("", "start", 1)).publish()
    hand.save(pieces=1)
    resources, settings = stack.resources, stack.settings
    source = Counting(resources.reader)
    book = LogType(source, lambda key: resources.log.keys(key).channel)
    hub = Hub(book, settings.redis_url, settings.redis_namespace, resources.redis.publish)
    ours, theirs = socket.socketpair()
    with ours:
        hub.adopt(theirs, StreamRequest(generation_id, START))
        ours.settimeout(10)
        assert b"snapshot" in ours.recv(65536)
        topic = hub.registry.topics[resources.log.keys(generation_id).channel]
        until(lambda: hub.subscriber.confirmed and not topic.backoff.reading and topic.backoff.due == inf)
        before, asked = hub.stats.log_reads, source.asked
        until(lambda: source.asked >= asked + 8, what="eight questions whether there is more")
        assert hub.stats.log_reads == before
    hub.close()
