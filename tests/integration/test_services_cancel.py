"""A cancel is a takeover: it leads to one final state in every store and for every reader, in every race."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest

from app.domain.commands import User
from app.domain.cursor import START
from app.domain.errors import DatabaseDown, LeaseLost, NotFound, UnbrokenError
from app.domain.events import Done, Mark, Snapshot, Tool, decode
from app.domain.transcript import Transcript, digest
from app.services.generations import GenerationView
from app.store import leases
from app.store.checkpoints import Checkpoint
from app.store.database import execute
from app.wiring import Resources, build
from dev.server import free_port
from tests.actors import Hand, claim, release, start
from tests.stack import Stack


@pytest.fixture
def resources(module_stack: Stack) -> Resources:
    return module_stack.resources


@pytest.fixture
def alice(resources: Resources) -> User:
    return resources.users.user(f"alice {uuid4()}", None)


@pytest.fixture
def without_redis(module_stack: Stack) -> Iterator[Resources]:
    url = f"redis://127.0.0.1:{free_port()}/0"
    resources = build(module_stack.settings.model_copy(update={"redis_url": url, "celery_broker_url": url}))
    yield resources
    resources.close()


def running(resources: Resources, user: User, tokens: int = 0) -> Hand:
    hand = claim(resources, start(resources, user).generation.id)
    return hand.speak(tokens) if tokens else hand


def check_end(resources: Resources, view: GenerationView) -> None:
    """Assert that row, message, archive and log have one and the same end."""
    assert view.row.final is not None
    entries = resources.reader.read(view.row.id, START)
    done = decode(entries[-1].payload)
    assert isinstance(done, Done)
    assert entries[-1].cursor == view.row.final
    assert done.status == view.row.status
    assert done.sha256 == view.row.sha256 == digest(view.content)
    assert Transcript.of(entries).text == view.content
    logged = resources.log.read(view.row.id)
    assert not logged or logged == entries[-len(logged) :] or logged[-1] == entries[-1]


def test_what_waits_is_cancelled_and_never_runs(resources: Resources, alice: User) -> None:
    started = start(resources, alice)
    view = resources.generations.cancel(alice, started.generation.id)
    assert (view.row.status, view.content, view.row.finish_reason) == ("cancelled", "", "cancelled")
    check_end(resources, view)
    with resources.database.system() as tx:
        assert leases.claim(tx, started.generation.id, "late", 30, 60) is None


def test_what_runs_keeps_what_it_said_and_its_worker_is_fenced(resources: Resources, alice: User) -> None:
    hand = running(resources, alice, 7)
    hand.publish()
    hand.save(3)
    view = resources.generations.cancel(alice, hand.id)
    assert view.row.status == "cancelled"
    assert view.content == Transcript.of(hand.entries).text
    check_end(resources, view)
    assert hand.publish().verdict == "FENCED"
    with pytest.raises(LeaseLost):
        hand.finish()
    beat = Checkpoint(hand.claimed.lease, alice.id, 0, 0, None, None)
    with resources.database.system() as tx:
        assert leases.renew(tx, [beat], 30) == set()


def test_the_cancelled_hear_it_at_once_in_the_log(resources: Resources, alice: User) -> None:
    hand = running(resources, alice, 3)
    hand.publish()
    resources.generations.cancel(alice, hand.id)
    kinds = [type(decode(entry.payload)) for entry in resources.log.read(hand.id)][-2:]
    assert kinds == [Snapshot, Done]


def test_the_usage_of_what_was_said_is_estimated(resources: Resources, alice: User) -> None:
    hand = running(resources, alice, 40)
    hand.publish()
    view = resources.generations.cancel(alice, hand.id)
    assert view.row.usage is not None
    assert view.row.usage["estimated"] is True
    assert view.row.usage["output_tokens"] == -(-len(view.content) // 4) > 10


def test_the_usage_a_provider_told_before_the_cancel_is_kept(resources: Resources, alice: User) -> None:
    hand = running(resources, alice, 3).say(Mark("stop", {"input_tokens": 11, "output_tokens": 3}))
    hand.publish()
    view = resources.generations.cancel(alice, hand.id)
    assert view.row.status == "cancelled"
    assert view.row.usage == {"input_tokens": 11, "output_tokens": 3}
    [attempt] = view.row.attempts
    assert (attempt["outcome"], attempt["usage"]) == ("finished", view.row.usage)


def test_the_attempt_that_was_cancelled_is_recorded(resources: Resources, alice: User) -> None:
    hand = running(resources, alice, 8)
    hand.publish()
    view = resources.generations.cancel(alice, hand.id)
    [attempt] = view.row.attempts
    assert (attempt["attempt"], attempt["outcome"], attempt["visible"]) == (1, "cancelled", True)
    waiting = start(resources, alice).generation.id
    assert resources.generations.cancel(alice, waiting).row.attempts == []


def test_tool_calls_made_before_the_cancel_stay(resources: Resources, alice: User) -> None:
    hand = running(resources, alice, 2).say(Tool("c1", "clock", "started", "{}"))
    hand.publish()
    view = resources.generations.cancel(alice, hand.id)
    assert [tool["call_id"] for tool in view.tools] == ["c1"]


@pytest.mark.parametrize("status", ["completed", "error", "cancelled"])
def test_what_has_ended_is_told_as_it_is(resources: Resources, alice: User, status: str) -> None:
    hand = running(resources, alice, 3)
    if status == "cancelled":
        resources.generations.cancel(alice, hand.id)
    else:
        hand.finish(status)
    before = resources.generations.get(alice, hand.id)
    assert resources.generations.cancel(alice, hand.id) == before
    assert resources.generations.cancel(alice, hand.id) == before
    assert before.row.status == status


def test_nobody_cancels_what_is_not_theirs(resources: Resources, alice: User) -> None:
    hand = running(resources, alice, 2)
    bob = resources.users.user(f"bob {uuid4()}", None)
    for generation_id in (hand.id, str(uuid4())):
        with pytest.raises(NotFound):
            resources.generations.cancel(bob, generation_id)
    assert resources.generations.get(alice, hand.id).row.status == "running"


def test_without_redis_a_cancel_is_stored_and_a_worker_finishes_it_with_all_of_the_text(
    resources: Resources, without_redis: Resources, alice: User
) -> None:
    hand = running(resources, alice, 9)
    hand.publish()
    hand.save(6)
    view = without_redis.generations.cancel(alice, hand.id)
    assert (view.row.status, view.row.final) == ("running", None)
    assert view.row.cancel_at is not None
    assert without_redis.generations.cancel(alice, hand.id) == view, "a second cancel changes nothing"
    following = claim(resources, hand.id, lease=0.1)
    assert following.claimed.cancelled
    assert following.claimed.lease.epoch == view.row.epoch + 1
    assert not without_redis.generations.finish_cancel(following.claimed, 0, must_read=True), "others may read the log"
    assert resources.generations.finish_cancel(following.claimed, 5, must_read=True)
    view = resources.generations.cancel(alice, hand.id)
    assert (view.row.status, view.content) == ("cancelled", Transcript.of(hand.entries).text)
    check_end(resources, view)


def test_a_log_that_no_worker_can_read_is_replaced_by_the_checkpoints(
    resources: Resources, without_redis: Resources, alice: User
) -> None:
    hand = running(resources, alice, 9)
    hand.save(6)
    without_redis.generations.cancel(alice, hand.id)
    following = claim(resources, hand.id, lease=0.1)
    assert without_redis.generations.finish_cancel(following.claimed, 0)
    view = resources.generations.get(alice, hand.id)
    assert (view.row.status, view.content) == ("cancelled", Transcript.of(hand.entries[:6]).text)


def test_without_redis_what_has_never_run_is_cancelled_at_once(
    resources: Resources, without_redis: Resources, alice: User
) -> None:
    started = start(resources, alice)
    view = without_redis.generations.cancel(alice, started.generation.id)
    assert (view.row.status, view.content, view.row.epoch) == ("cancelled", "", 1)


def test_without_redis_a_conversation_is_deleted_while_its_cancel_is_pending(
    resources: Resources, without_redis: Resources, alice: User
) -> None:
    hand = running(resources, alice, 3)
    conversation = resources.generations.get(alice, hand.id).row.conversation_id
    without_redis.conversations.delete(alice, conversation)
    with pytest.raises(NotFound):
        resources.generations.get(alice, hand.id)
    with pytest.raises(LeaseLost):
        hand.finish()


def test_a_cancel_whose_process_died_is_finished_by_the_next_worker(resources: Resources, alice: User) -> None:
    """The commit of the claim acknowledges the cancel. A later takeover must cancel, too."""
    hand = running(resources, alice, 5)
    hand.publish()
    with resources.database.user(alice.id) as tx:
        assert leases.claim_to_cancel(tx, hand.id, 30) is not None
    release(resources, hand.id)
    following = claim(resources, hand.id)
    assert following.claimed.cancelled
    assert resources.generations.finish_cancel(following.claimed, 5)
    view = resources.generations.get(alice, hand.id)
    assert (view.row.status, view.content) == ("cancelled", Transcript.of(hand.entries).text)
    check_end(resources, view)


def together(*works: Callable[[], Any]) -> list[Any]:
    """Call all functions at one moment. Returns the result of each, or its error."""
    gate = threading.Barrier(len(works))

    def one(work: Callable[[], Any]) -> Any:
        gate.wait(60)
        try:
            return work()
        except UnbrokenError as error:
            return error

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(one, works))


@pytest.mark.parametrize("state", ["queued", "running"])
@pytest.mark.usefixtures("patient_locks")
def test_eight_simultaneous_cancels_get_the_same_final_object(resources: Resources, alice: User, state: str) -> None:
    for _ in range(4):
        if state == "queued":
            generation_id = start(resources, alice).generation.id
        else:
            hand = running(resources, alice, 5)
            hand.publish()
            generation_id = hand.id
        views = together(*[lambda: resources.generations.cancel(alice, generation_id)] * 8)  # noqa: B023
        assert {type(view) for view in views} == {GenerationView}, views
        assert all(view == views[0] for view in views)
        assert views[0].row.status == "cancelled"
        check_end(resources, views[0])


@pytest.mark.parametrize("state", ["queued", "running"])
def test_no_cancel_is_acknowledged_that_is_not_stored(resources: Resources, alice: User, state: str) -> None:
    """A cancel that waits for another one in its process does not count on it: the other one may fail."""
    generation_id = start(resources, alice).generation.id
    if state == "running":
        claim(resources, generation_id)
    with resources.database.system() as tx:
        # The row is locked for longer than the lock_timeout of both cancels.
        execute(tx, "SELECT FROM generations WHERE id = :id FOR UPDATE", id=generation_id)
        outcomes = together(*[lambda: resources.generations.cancel(alice, generation_id)] * 2)
    assert {type(outcome) for outcome in outcomes} == {DatabaseDown}, outcomes
    view = resources.generations.cancel(alice, generation_id)
    assert view.row.status == "cancelled"
    check_end(resources, view)


@pytest.mark.usefixtures("patient_locks")
def test_a_cancel_leaves_another_one_the_time_of_its_lease(resources: Resources, alice: User) -> None:
    """Cancels that claim a generation from each other never finish it (found by the chaos rig: epoch 9,246)."""
    hand = running(resources, alice, 3)
    hand.publish()
    with resources.database.user(alice.id) as tx:
        slow = leases.claim_to_cancel(tx, hand.id, 30)
    assert slow
    views = together(*[lambda: resources.generations.cancel(alice, hand.id)] * 4)
    assert {(view.row.status, view.row.epoch) for view in views} == {("running", slow.lease.epoch)}
    resources.generations.finish_cancel(slow, 5)
    view = resources.generations.cancel(alice, hand.id)
    assert (view.row.status, view.row.epoch) == ("cancelled", slow.lease.epoch)


@pytest.mark.parametrize(("expired", "epochs"), [(leases.CANCEL_AGAIN_SECONDS + 5, 1), (1.0, 0)])
def test_a_request_takes_over_a_cancel_that_no_worker_came_for(
    resources: Resources, alice: User, expired: float, epochs: int
) -> None:
    hand = running(resources, alice, 3)
    with resources.database.user(alice.id) as tx:
        dead = leases.claim_to_cancel(tx, hand.id, -expired)
    assert dead
    view = resources.generations.cancel(alice, hand.id)
    assert (view.row.status == "cancelled", view.row.epoch) == (epochs == 1, dead.lease.epoch + epochs)


@pytest.mark.usefixtures("patient_locks")
def test_against_completion_exactly_one_of_both_wins_and_all_see_the_same(resources: Resources, alice: User) -> None:
    won = set()
    for number in range(24):
        hand = running(resources, alice, 3)
        hand.publish()

        def complete(hand: Hand = hand, pause: float = number % 6 * 0.002) -> bytes:
            time.sleep(pause)  # no wait for an event: the race happens at another point each time
            done = hand.finish()
            hand.end(done)
            return done

        def cancel(hand: Hand = hand) -> GenerationView:
            return resources.generations.cancel(alice, hand.id)

        ended, cancelled = together(complete, cancel)
        view = resources.generations.get(alice, hand.id)
        assert cancelled == view
        assert view.row.status in ("completed", "cancelled")
        assert (view.row.status == "cancelled") == isinstance(ended, LeaseLost)
        check_end(resources, view)
        ends = [e for e in resources.log.read(hand.id) if isinstance(decode(e.payload), Done)]
        assert len(ends) == 1
        won.add(view.row.status)
    assert "cancelled" in won


def test_deleting_a_conversation_ends_what_runs_in_it_first(resources: Resources, alice: User) -> None:
    hand = running(resources, alice, 3)
    hand.publish()
    conversation = resources.generations.get(alice, hand.id).row.conversation_id
    with resources.redis.pubsub(ignore_subscribe_messages=True) as live:
        live.psubscribe(f"{resources.settings.redis_namespace}:{{{hand.id}}}:*")
        live.get_message(timeout=5)
        resources.conversations.delete(alice, conversation)
        heard = [message["data"] for _ in range(10) if (message := live.get_message(timeout=0.5))]
    assert any(b'"type":"done"' in data for data in heard), heard
    assert resources.log.read(hand.id) == []
    with pytest.raises(NotFound):
        resources.generations.get(alice, hand.id)
    # A worker whose append finds no log has to prove its lease, and the row is gone.
    assert resources.log.append(hand.id, hand.epoch, 0, hand.payloads).verdict == "LOST"
    beat = Checkpoint(hand.claimed.lease, alice.id, 0, 0, None, None)
    with resources.database.system() as tx:
        assert leases.renew(tx, [beat], 30) == set()
