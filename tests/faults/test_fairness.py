"""Slots are shared between users: a crowd of one user's answers does not stand in the way of another user."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from app.domain.audit import SERVICE
from app.domain.commands import StartGeneration, User
from app.domain.errors import Overloaded
from app.store.database import fetch, fetch_one
from bench.fairness import first_token_seconds, start_long_answers
from tests.fakes.upstream import FakeUpstream
from tests.stack import Stack, until

ROUNDS = 9
# Longer than a test: an answer that has begun was begun by a doorbell.
SWEEP_SECONDS = 600


@pytest.fixture(scope="module")
def upstream() -> Iterator[FakeUpstream]:
    with FakeUpstream() as upstream:
        yield upstream


@pytest.fixture
def crowded(tmp_path: Path, database_url: str, redis_url: str, upstream: FakeUpstream) -> Iterator[Stack]:
    """One user may have half of four slots. The sweepers run too late to start an answer."""
    stack = Stack(
        tmp_path,
        database_url,
        redis_url,
        OPENAI_BASE_URL=upstream.base_url,
        DEFAULT_MODEL="fake",
        SWEEP_SECONDS=SWEEP_SECONDS,
        LEASE_SECONDS=60,
        MAX_RUNNING_PER_USER=2,
        MAX_QUEUED_PER_USER=100,
    )
    yield stack
    stack.stop()


def person(stack: Stack, name: str) -> User:
    return stack.resources.users.user(name, None)


def statuses(stack: Stack, user: User) -> dict[str, int]:
    with stack.resources.database.system() as tx:
        rows = fetch(
            tx, "SELECT status, count(*) AS many FROM generations WHERE user_id = :id GROUP BY status", id=user.id
        )
    return {row.status: row.many for row in rows}


def test_behind_a_crowd_of_another_user_an_answer_begins_although_the_crowd_still_waits(crowded: Stack) -> None:
    """The sweepers run too late to help, so each answer was begun by its own doorbell. `bench.fairness` has times."""
    crowded.worker(concurrency=4)
    bob = person(crowded, "bob")
    start_long_answers(crowded, crowded.user, 102)
    until(lambda: statuses(crowded, crowded.user) == {"running": 2, "queued": 100})
    loaded = first_token_seconds(crowded, bob, ROUNDS)
    assert len(loaded) == ROUNDS
    assert statuses(crowded, bob) == {"completed": ROUNDS}
    assert statuses(crowded, crowded.user) == {"running": 2, "queued": 100}


def test_a_full_queue_of_one_user_refuses_this_user_only_and_names_the_limit(crowded: Stack) -> None:
    start_long_answers(crowded, crowded.user, 99)
    gate, outcomes = Barrier(8), list[object]()

    def ask() -> None:
        gate.wait(60)
        try:
            outcomes.append(crowded.start("one more"))
        except Overloaded as refusal:
            outcomes.append(refusal)

    with ThreadPoolExecutor(8) as pool:
        for one in [pool.submit(ask) for _ in range(8)]:
            one.result(60)
    refusals = [one for one in outcomes if isinstance(one, Overloaded)]
    assert len(refusals) == 7
    assert all("MAX_QUEUED_PER_USER" in one.detail and "100" in one.detail and one.retry_after for one in refusals)
    assert (
        crowded.resources.starter.start(person(crowded, "bob"), StartGeneration("hello")).generation.status == "queued"
    )


def test_what_a_message_interrupts_does_not_count_against_it(crowded: Stack) -> None:
    first = crowded.start("one")
    start_long_answers(crowded, crowded.user, 99)
    assert crowded.start("two", conversation_id=first.conversation.id, on_busy="interrupt").interrupted


def test_the_last_places_of_everybodys_queue_are_given_out_once(
    tmp_path: Path, database_url: str, redis_url: str
) -> None:
    stack = Stack(tmp_path, database_url, redis_url, MAX_QUEUED=5)
    gate, outcomes = Barrier(12), list[object]()

    def ask(number: int) -> None:
        user = person(stack, f"user {number}")
        gate.wait(60)
        try:
            outcomes.append(stack.resources.starter.start(user, StartGeneration("hello")))
        except Overloaded as refusal:
            outcomes.append(refusal)

    with ThreadPoolExecutor(12) as pool:
        for one in [pool.submit(ask, number) for number in range(12)]:
            one.result(60)
    refusals = [one for one in outcomes if isinstance(one, Overloaded)]
    assert len(refusals) == 7
    assert all("MAX_QUEUED" in one.detail for one in refusals)
    stack.stop()


def test_the_cap_holds_when_many_slots_come_at_once(crowded: Stack) -> None:
    """The cap holds between two workers. A released lease is claimed again, and its answer counts once."""
    start_long_answers(crowded, crowded.user, 30)
    workers = crowded.workers(2, concurrency=8)
    until(lambda: statuses(crowded, crowded.user).get("running") == 2)
    bob = person(crowded, "bob")
    start_long_answers(crowded, bob, 10)
    until(lambda: statuses(crowded, bob).get("running") == 2)
    workers[0].kill()
    with crowded.resources.database.system() as tx:
        free = "UPDATE generations SET lease_until = NULL WHERE status = 'running' AND worker = :name RETURNING id"
        rows = fetch(tx, free, name=workers[0].name)
    for row in rows:
        crowded.resources.queue.run_generation(row.id)
        until(lambda: crowded.generation(row.id).epoch == 2)  # noqa: B023
    assert (statuses(crowded, crowded.user)["running"], statuses(crowded, bob)["running"]) == (2, 2)


def test_a_full_worker_leaves_doorbells_to_one_that_has_room(crowded: Stack) -> None:
    """A worker with no free slot takes no doorbell, so a doorbell never waits for a slot of a full worker."""
    people = [person(crowded, f"user {number}") for number in range(2)]
    crowded.worker(concurrency=4)
    for user in people:
        start_long_answers(crowded, user, 2)
        until(lambda: statuses(crowded, user) == {"running": 2})  # noqa: B023
    crowded.worker(concurrency=4)
    for number in range(4):
        user = person(crowded, f"late {number}")
        generation = start_long_answers(crowded, user, 1)[0]
        # No slot of the full worker becomes free.
        until(lambda: crowded.generation(generation).status == "running")  # noqa: B023


@pytest.mark.parametrize("how", ["cancelled", "failed by an operator", "failed", "completed", "deleted"])
def test_what_waits_for_an_end_is_rung_for_at_once(crowded: Stack, upstream: FakeUpstream, how: str) -> None:
    """An end starts the next answer of its conversation, and an answer that waited because its user was at the cap."""
    crowded.worker(concurrency=4)
    resources, alice = crowded.resources, crowded.user
    # An answer that fails by itself does so after the others have begun to wait, on a busy machine too.
    fails = {"error_after": 120} if how == "failed" else {}
    called = len(upstream.calls)
    first = crowded.start(json.dumps({"fake": {"tokens": 10**6, "rate": 20, **fails}}), model="fake")
    until(lambda: crowded.generation(first.generation.id).status == "running")
    until(lambda: len(upstream.calls) > called, what="the call of the first answer")
    long = json.dumps({"fake": {"tokens": 10**6, "rate": 20}})
    behind = crowded.start(long, model="fake", conversation_id=first.conversation.id, on_busy="enqueue")
    crowded.start(long, model="fake")
    capped = crowded.start(long, model="fake")
    waiting = [capped.generation.id] if how == "deleted" else [behind.generation.id, capped.generation.id]
    until(lambda: statuses(crowded, alice) == {"running": 2, "queued": 2})
    until(lambda: not any(rung(crowded, one) for one in waiting), what="their doorbells have been for nothing")
    if how == "cancelled":
        resources.generations.cancel(alice, first.generation.id)
    elif how == "failed by an operator":
        resources.admin.fail(SERVICE, first.generation.id)
    elif how == "deleted":
        resources.conversations.delete(alice, first.conversation.id)
    else:
        upstream.calls[called].enough = how == "completed"
        crowded.finished(first.generation.id)
    until(lambda: any(crowded.generation(one).status == "running" for one in waiting), what="an answer that waited")


def rung(stack: Stack, generation: str) -> bool:
    with stack.resources.database.system() as tx:
        row = fetch_one(tx, "SELECT rung FROM generations WHERE id = :id", id=generation)
    return bool(row and row.rung)
