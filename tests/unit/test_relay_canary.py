"""A dead subscription is noticed within a bound, and a late one is kept."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from app.relay.subscriber import CANARY_SECONDS, DEAF_SECONDS
from tests.relay_machine.world import ManualPool, SteppedHub, World, log_type


class Deployment:
    """A hub with a Redis, threads and a clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.world = World()
        self.chores = ManualPool()
        self.hub = SteppedHub(log_type(self.world), "redis://nobody", "test", self._publish, clock=lambda: self.now)
        self.hub.reader.chores = self.chores
        self.hub.subscriber.dial = self.world.dial
        self.hub.loop.open()
        self.is_frozen = self.loses_canaries = False
        self.step()
        self.run_chores()
        self.run(CANARY_SECONDS / 2)
        assert self.hub.subscriber.confirmed

    def _publish(self, channel: bytes, message: bytes) -> None:
        if not self.is_frozen and not self.loses_canaries:
            self.world.speaker.publish(channel, message)  # type: ignore[union-attr]  # dialled by now

    def step(self) -> None:
        if self.world.speaker is not None and not self.is_frozen:
            self.world.speaker.serve()
        self.hub.step(block=False)

    def run_chores(self) -> None:
        while self.chores.jobs:
            self.chores.run(0)
        self.step()

    def run(self, seconds: float) -> None:
        """Let time pass in small steps, with threads that finish at once."""
        until = self.now + seconds
        while self.now < until - 1e-6:
            self.now = min(self.now + 0.05, until)
            self.step()
            self.run_chores()

    @property
    def failures(self) -> int:
        return self.hub.stats.canary_failures


@pytest.fixture
def deployment() -> Iterator[Deployment]:
    found = Deployment()
    yield found
    found.hub.end()


@pytest.mark.parametrize("phase", [0.0, 0.3, 0.6, 0.9])
def test_a_frozen_redis_is_noticed_within_the_two_bounds(deployment: Deployment, phase: float) -> None:
    deployment.run(3.0 + phase)
    assert deployment.failures == 0
    deployment.is_frozen = True
    deployment.run(CANARY_SECONDS + DEAF_SECONDS + 0.1)
    assert deployment.failures == 1


def test_a_message_that_arrives_while_the_thread_is_not_scheduled_counts(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment.now += CANARY_SECONDS
    deployment.step()
    assert deployment.chores.jobs, "the canary waits for a thread"
    run_posted = deployment.hub.loop.run_posted

    def run_late() -> None:
        """Delay the thread for a long time between its look at the descriptors and the posted calls."""
        monkeypatch.undo()
        deployment.chores.run(0)
        deployment.now += 10 * DEAF_SECONDS
        run_posted()

    monkeypatch.setattr(deployment.hub.loop, "run_posted", run_late)
    for _ in range(3):
        deployment.step()
    assert deployment.failures == 0


def test_other_messages_show_that_the_subscription_works_while_the_canary_is_late(deployment: Deployment) -> None:
    deployment.now += CANARY_SECONDS
    deployment.step()
    assert deployment.chores.jobs, "the canary waits for a thread"
    speaker = deployment.world.speaker
    assert speaker is not None
    deployment.now += DEAF_SECONDS / 2
    speaker._send(b"message", b"live:other", b"ding")
    deployment.step()
    deployment.now += 10 * DEAF_SECONDS
    deployment.step()
    deployment.step()
    assert deployment.failures == 0


def test_a_canary_is_sent_again_after_each_one(deployment: Deployment) -> None:
    deployment.run(20 * CANARY_SECONDS)
    assert deployment.failures == 0
    deployment.is_frozen = True
    deployment.run(CANARY_SECONDS + DEAF_SECONDS + 0.1)
    assert deployment.failures == 1


def test_a_subscription_that_no_canary_reaches_is_built_again_less_and_less_often(deployment: Deployment) -> None:
    deployment.loses_canaries = True
    deployment.run(60.0)
    first = deployment.failures
    assert 3 <= first <= 6
    deployment.run(60.0)
    assert deployment.failures - first <= 3
    deployment.loses_canaries = False
    deployment.run(40.0)
    deployment.is_frozen = True
    before = deployment.failures
    deployment.run(CANARY_SECONDS + DEAF_SECONDS + 0.1)
    assert deployment.failures == before + 1
