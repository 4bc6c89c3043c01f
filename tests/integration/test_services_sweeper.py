"""A sweeper finds generations whose message was lost: not too early, once, and at growing intervals."""

from __future__ import annotations

import threading
from collections import Counter
from decimal import Decimal
from typing import Any

import pytest

from app.domain.commands import User
from app.services.generation_start import SWEEP_DELAY_SECONDS
from app.services.sweeper import DueGenerations, Sweeper
from app.store import leases
from app.store.database import Database, execute, fetch_one
from app.wiring import Resources
from tests.actors import claim, start
from tests.stack import Stack, until


@pytest.fixture
def resources(stack: Stack) -> Resources:
    return stack.resources


@pytest.fixture
def alice(stack: Stack) -> User:
    return stack.user


def sweeper(resources: Resources, heard: list[str], lease: float = 0.001, **fields: Any) -> Sweeper:
    return Sweeper(DueGenerations(resources.database, lease, lambda: 1000, **fields), heard.append, 60)


def let_pass(database: Database, seconds: float, generation_id: str | None = None) -> None:
    """Move the times of waiting generations and of leases into the past by this many seconds."""
    with database.system() as tx:
        execute(
            tx,
            """UPDATE generations SET next_dispatch_at = next_dispatch_at - make_interval(secs => :seconds),
                   lease_until = lease_until - make_interval(secs => :seconds)
               WHERE CAST(:id AS uuid) IS NULL OR id = :id""",
            seconds=seconds,
            id=generation_id,
        )


def due_at(database: Database, generation_id: str) -> Decimal:
    """The time from which a sweeper may send the generation's message again, in seconds since 1970."""
    with database.system() as tx:
        row = fetch_one(
            tx, "SELECT extract(epoch FROM next_dispatch_at) AS at FROM generations WHERE id = :id", id=generation_id
        )
    assert row is not None
    return Decimal(row.at)


def clock(database: Database) -> Decimal:
    """The time of PostgreSQL's clock, in seconds since 1970."""
    with database.system() as tx:
        row = fetch_one(tx, "SELECT extract(epoch FROM clock_timestamp()) AS now")
    assert row is not None
    return Decimal(row.now)


def test_a_queued_generation_is_due_only_after_its_delay(resources: Resources, alice: User) -> None:
    begins, generation = clock(resources.database), start(resources, alice).generation.id
    delay, due = Decimal(SWEEP_DELAY_SECONDS), due_at(resources.database, generation)
    assert begins + delay <= due <= clock(resources.database) + delay
    heard: list[str] = []
    # At any speed of this test: 100 s are left, and then none.
    let_pass(resources.database, -100)
    assert sweeper(resources, heard).sweep() == []
    let_pass(resources.database, 100 + SWEEP_DELAY_SECONDS)
    assert sweeper(resources, heard).sweep() == heard == [generation]


def test_each_hand_out_puts_the_next_one_off_for_longer(resources: Resources, alice: User) -> None:
    generation = start(resources, alice).generation.id
    heard: list[str] = []
    let_pass(resources.database, 100)
    for pause in (2, 4, 8, 16, 32, 60, 60, 60):
        before = clock(resources.database)
        sweeper(resources, heard).sweep()
        due, after = due_at(resources.database, generation), clock(resources.database)
        assert before + pause <= due <= after + pause
        # At any speed of this test: the generation is not due yet, and then it is.
        let_pass(resources.database, -100)
        assert sweeper(resources, heard).sweep() == []
        let_pass(resources.database, 200)
    assert heard == [generation] * 8


def test_a_claim_ends_the_putting_off(resources: Resources, alice: User) -> None:
    generation = start(resources, alice).generation.id
    for _ in range(4):
        let_pass(resources.database, 100)
        sweeper(resources, []).sweep()
    claim(resources, generation).release()
    assert sweeper(resources, []).sweep() == [generation]
    assert due_at(resources.database, generation) <= clock(resources.database) + 2


def test_a_running_generation_is_due_when_its_lease_has_ended_and_not_before(resources: Resources, alice: User) -> None:
    generation = start(resources, alice).generation.id
    claim(resources, generation, lease=600)
    let_pass(resources.database, 500)
    assert sweeper(resources, []).sweep() == []
    let_pass(resources.database, 101)
    assert sweeper(resources, []).sweep() == [generation]


def test_a_lease_given_back_is_due_at_once(resources: Resources, alice: User) -> None:
    generation = start(resources, alice).generation.id
    hand = claim(resources, generation, lease=20)
    with resources.database.system() as tx:
        assert leases.release(tx, hand.claimed.lease, [])
    assert sweeper(resources, []).sweep() == [generation]


def test_nothing_is_reaped_while_postgresql_is_younger_than_a_lease(resources: Resources, alice: User) -> None:
    """PostgreSQL was away: every lease looks expired, and every worker is about to renew."""
    running, waiting = (start(resources, alice).generation.id for _ in range(2))
    claim(resources, running, lease=0.001)
    let_pass(resources.database, 100)
    assert sweeper(resources, [], lease=10**8).sweep() == [waiting]
    let_pass(resources.database, 100)
    assert sorted(sweeper(resources, [], lease=0.001).sweep()) == sorted([running, waiting])


def test_a_claim_too_leaves_an_expired_lease_alone_while_postgresql_is_young(resources: Resources, alice: User) -> None:
    generation = start(resources, alice).generation.id
    claim(resources, generation, lease=0.001)
    let_pass(resources.database, 100)
    with resources.database.system() as tx:
        assert leases.claim(tx, generation, "other", 10**8, 60) is None
        assert leases.claim(tx, generation, "other", 0.001, 60) is not None


def test_what_is_finished_is_never_due(resources: Resources, alice: User) -> None:
    generation = start(resources, alice).generation.id
    claim(resources, generation).speak(1).finish()
    let_pass(resources.database, 10_000)
    assert sweeper(resources, []).sweep() == []


def test_two_sweepers_never_hand_out_the_same_row_in_one_round(resources: Resources, alice: User) -> None:
    for _ in range(30):
        start(resources, alice)
    let_pass(resources.database, 100)
    with resources.database.system() as one, resources.database.system() as other:
        first = leases.due(one, 20, 1, 1000)
        second = leases.due(other, 20, 1, 1000)
    assert len(first) == 20
    assert len(second) == 10
    assert not set(first) & set(second)


def test_many_sweepers_at_once_hand_out_everything_once(resources: Resources, alice: User) -> None:
    expected = {start(resources, alice).generation.id for _ in range(40)}
    let_pass(resources.database, 100)
    with resources.database.system() as tx:
        # The next messages are due in a minute instead of 2 s, so none is due again during this test.
        execute(tx, "UPDATE generations SET dispatches = 9")
    heard: list[str] = []
    gate = threading.Barrier(5)

    def sweep() -> None:
        gate.wait(60)
        for _ in range(4):
            sweeper(resources, heard, room=lambda: 7).sweep()

    threads = [threading.Thread(target=sweep) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert set(heard) == expected
    assert set(Counter(heard).values()) == {1}


def test_nothing_is_put_off_that_nobody_has_room_for(resources: Resources, alice: User) -> None:
    for _ in range(3):
        start(resources, alice)
    let_pass(resources.database, 100)
    heard: list[str] = []
    assert sweeper(resources, heard, room=lambda: 0).sweep() == []
    assert len(sweeper(resources, heard, room=lambda: 2).sweep()) == 2
    assert len(sweeper(resources, heard).sweep()) == 1


def test_it_sweeps_by_itself_until_it_is_stopped_and_survives_a_handler_that_fails(
    resources: Resources, alice: User
) -> None:
    heard: list[str] = []

    def handle(generation_id: str) -> None:
        heard.append(generation_id)
        raise RuntimeError("a handler's own fault")

    sweeping = Sweeper(DueGenerations(resources.database, 5, lambda: 1000), handle, 0.05)
    sweeping.start()
    first = start(resources, alice).generation.id
    let_pass(resources.database, 100)
    until(lambda: first in heard)
    second = start(resources, alice).generation.id
    let_pass(resources.database, 100, second)
    until(lambda: second in heard)
    sweeping.stop()


def test_the_answers_of_a_conversation_are_handed_out_one_after_the_other(resources: Resources, alice: User) -> None:
    first = start(resources, alice)
    second = start(resources, alice, "more", conversation_id=first.conversation.id, on_busy="enqueue")
    let_pass(resources.database, 100)
    assert sweeper(resources, []).sweep() == [first.generation.id]
    claim(resources, first.generation.id).speak(1).finish()
    assert sweeper(resources, []).sweep() == [second.generation.id]
