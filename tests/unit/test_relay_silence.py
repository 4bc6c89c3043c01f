"""A log that is silent costs a reader few reads."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from app.domain.cursor import Cursor
from app.domain.events import Entry, Snapshot, encode
from app.relay import topics
from app.relay.stream_connection import StreamRequest
from tests.relay_machine.world import ManualPool, SteppedHub, World, channel, log_type, pair


class Deployment:
    """A hub with one log, whose threads and clock are moved by the test."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.world = World()
        self.log = self.world.logs["a"]
        self.hub = SteppedHub(log_type(self.world), "redis://nobody", "test", self._publish, clock=lambda: self.now)
        self.pool = self.hub.reader.readings = self.hub.reader.chores = ManualPool()
        self.hub.subscriber.dial = self.world.dial
        self.hub.loop.open()

    def _publish(self, to: bytes, message: bytes) -> None:
        if self.world.speaker is not None:
            self.world.speaker.publish(to, message)

    def run(self, seconds: float) -> None:
        """Let time pass in small steps, with threads that are at once done."""
        until = self.now + seconds
        while self.now < until:
            self.now += 0.25
            if self.world.speaker is not None:
                self.world.speaker.serve()
            self.hub.step(block=False)
            while self.pool.jobs:
                self.pool.run(0)

    @property
    def reads(self) -> int:
        return self.hub.stats.log_reads


@pytest.fixture
def deployment() -> Iterator[Deployment]:
    found = Deployment()
    yield found
    found.hub.end()


def test_a_newest_event_that_no_tail_has_room_for_is_not_read_again_and_again(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(topics, "PROCESS_BYTES", 0)
    log = deployment.log
    deployment.world.append(log, Entry(Cursor(1, 0), encode(Snapshot("…", "start", 1))), published=False)
    deployment.world.append(log, log.next_token(2 * topics.SMALLEST_TAIL), published=False)
    ours, theirs = pair("unix", 0)
    with ours:
        deployment.hub.adopt(theirs, StreamRequest("a", log.end))
        deployment.run(20.0)
        assert channel("a") in deployment.hub.registry.topics
        before = deployment.reads
        deployment.run(60.0)
        assert deployment.reads == before
