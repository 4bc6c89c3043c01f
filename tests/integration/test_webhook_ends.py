"""Each end of a generation has exactly one event for each matching receiver, in whatever way it ends."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from threading import Thread, current_thread
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from app.domain.audit import SERVICE
from app.domain.commands import EditMessage, Regenerate, StartGeneration, User
from app.domain.errors import DatabaseDown, LeaseLost, NotFound, WrongState
from app.domain.trace_context import TraceContext
from app.domain.transcript import Transcript
from app.domain.webhook_event import EVENT_TYPES
from app.services.finishing import Ending
from app.store import leases
from app.store.database import execute, fetch
from app.store.webhook_endpoints import EndpointChange
from app.wiring import Resources, build
from tests.actors import Hand, before_statement, claim, release, somebody_waits, start
from tests.stack import Stack, until

HOOK = "https://hooks.example.com/for-this-request"
# Status and finish reason of an end, and the type of its event.
ENDS = {
    ("completed", "stop"): "response.completed",
    ("completed", "length"): "response.incomplete",
    ("completed", "content_filter"): "response.incomplete",
    ("completed", "tool_calls"): "response.completed",
    ("error", "error"): "response.failed",
    ("cancelled", "cancelled"): "response.cancelled",
}


def deliveries(resources: Resources, generation_id: str) -> list[Any]:
    with resources.database.system() as tx:
        return fetch(tx, "SELECT * FROM webhook_deliveries WHERE generation_id = :id ORDER BY id", id=generation_id)


def finish(resources: Resources, hand: Hand, status: Any = "completed", reason: str = "stop") -> bytes:
    ending = Ending(status, reason, {"output_tokens": 2})
    said = Transcript.of(hand.entries)
    return resources.finisher.finish(hand.claimed, hand.payloads, said, ending, [])


def endpoint(resources: Resources, user: User, *types: str, url: str = "https://hooks.example.com/") -> str:
    given = EndpointChange("mine", url, types or EVENT_TYPES)
    return resources.webhooks.create(SERVICE, user.id, given).endpoint.id


@pytest.fixture
def resources(module_stack: Stack) -> Resources:
    return module_stack.resources


@pytest.fixture
def alice(resources: Resources) -> User:
    return resources.users.user(f"alice {uuid4()}", None)


def lose_reply(resources: Resources) -> Callable[[], None]:
    """Have the next COMMIT take place without its reply. Returns the end of the fault."""
    engine, due = resources.database.engine, [True]

    def look(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if statement == "COMMIT" and due:
            due.clear()
            raise OperationalError("COMMIT", None, ConnectionError("the reply is lost"), connection_invalidated=True)

    event.listen(engine, "after_cursor_execute", look)
    return lambda: event.remove(engine, "after_cursor_execute", look)


class Ends(RuleBasedStateMachine):
    """Generations of one user that end in every way, while the user's endpoints change."""

    stack: Stack

    @initialize()
    def begin(self) -> None:
        self.resources = self.stack.resources
        self.user = self.resources.users.user(f"alice {uuid4()}", None)
        self.hooked: dict[str, bool] = {}  # live generations: whether their request has a webhook_url
        self.hands: dict[str, Hand] = {}
        self.endpoints: dict[str, set[str]] = {}
        self.conversations: dict[str, str] = {}
        self.expected: dict[str, tuple[str, set[str | None]]] = {}

    def pick(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(sorted(self.hooked)))

    def ends(self, generation_id: str, kind: str) -> None:
        receivers: set[str | None] = {one for one, types in self.endpoints.items() if kind in types}
        if self.hooked.pop(generation_id):
            receivers.add(None)
        self.expected[generation_id] = kind, receivers
        self.hands.pop(generation_id, None)

    @rule(hooked=st.booleans())
    def sends_a_message(self, hooked: bool) -> None:
        generation = start(self.resources, self.user, webhook_url=HOOK if hooked else None).generation
        self.hooked[generation.id] = hooked
        self.conversations[generation.id] = generation.conversation_id

    @precondition(lambda self: len(self.endpoints) < 3)
    @rule(types=st.sets(st.sampled_from(EVENT_TYPES), min_size=1))
    def adds_an_endpoint(self, types: set[str]) -> None:
        self.endpoints[endpoint(self.resources, self.user, *sorted(types))] = types

    @precondition(lambda self: self.endpoints)
    @rule(data=st.data(), types=st.sets(st.sampled_from(EVENT_TYPES), min_size=1))
    def changes_an_endpoint(self, data: st.DataObject, types: set[str]) -> None:
        chosen = data.draw(st.sampled_from(sorted(self.endpoints)))
        self.resources.webhooks.change(SERVICE, self.user.id, chosen, EndpointChange(event_types=sorted(types)))
        self.endpoints[chosen] = types

    @precondition(lambda self: self.endpoints)
    @rule(data=st.data())
    def deletes_an_endpoint(self, data: st.DataObject) -> None:
        chosen = data.draw(st.sampled_from(sorted(self.endpoints)))
        self.resources.webhooks.delete(SERVICE, self.user.id, chosen)
        del self.endpoints[chosen]

    @precondition(lambda self: self.hooked)
    @rule(data=st.data())
    def is_claimed_or_taken_over(self, data: st.DataObject) -> None:
        chosen = self.pick(data)
        earlier = self.hands.get(chosen)
        if earlier:
            release(self.resources, chosen)
        self.hands[chosen] = claim(self.resources, chosen).speak(1)
        if earlier:
            with pytest.raises(LeaseLost):
                finish(self.resources, earlier)

    @precondition(lambda self: self.hands)
    @rule(data=st.data(), how=st.sampled_from(sorted(ENDS)), fault=st.sampled_from(["none", "lost reply", "killed"]))
    def is_finished(self, data: st.DataObject, how: tuple[str, str], fault: str) -> None:
        chosen = data.draw(st.sampled_from(sorted(self.hands)))
        hand = self.hands[chosen]
        if fault == "killed":
            self.is_killed_while_finishing(hand, how)
            return
        undo = lose_reply(self.resources) if fault == "lost reply" else lambda: None
        try:
            finish(self.resources, hand, *how)
        finally:
            undo()
        self.ends(chosen, ENDS[how])
        with suppress(LeaseLost):
            finish(self.resources, hand, *how)  # a worker that repeats its end adds nothing

    def is_killed_while_finishing(self, hand: Hand, how: tuple[str, str]) -> None:
        """The connection breaks behind the insertion of the deliveries: nothing has ended, and no event is left."""
        engine = self.resources.database.engine

        def look(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
            if statement == "COMMIT":
                raise OperationalError("COMMIT", None, ConnectionError("killed"), connection_invalidated=True)

        event.listen(engine, "before_cursor_execute", look)
        try:
            with pytest.raises(DatabaseDown):
                finish(self.resources, hand, *how)
        finally:
            event.remove(engine, "before_cursor_execute", look)

    @precondition(lambda self: self.hooked)
    @rule(data=st.data())
    def is_cancelled(self, data: st.DataObject) -> None:
        chosen = self.pick(data)
        self.resources.generations.cancel(self.user, chosen)
        self.ends(chosen, "response.cancelled")
        self.resources.generations.cancel(self.user, chosen)

    @precondition(lambda self: self.hooked)
    @rule(data=st.data())
    def is_failed_by_an_operator(self, data: st.DataObject) -> None:
        chosen = self.pick(data)
        self.resources.admin.fail(SERVICE, chosen)
        self.ends(chosen, "response.failed")
        with pytest.raises(WrongState):
            self.resources.admin.fail(SERVICE, chosen)

    @precondition(lambda self: self.hooked)
    @rule(data=st.data(), claimed=st.booleans())
    def is_deleted_with_its_conversation(self, data: st.DataObject, claimed: bool) -> None:
        chosen = self.pick(data)
        if claimed:  # a cancel is under way elsewhere, so the deletion does not wait for it
            with self.resources.database.user(self.user.id) as tx:
                assert leases.claim_to_cancel(tx, chosen, 60)
        self.resources.conversations.delete(self.user, self.conversations[chosen])
        self.ends(chosen, "response.cancelled")

    @invariant()
    def each_end_has_its_events(self) -> None:
        with self.resources.database.system() as tx:
            rows = fetch(tx, "SELECT * FROM webhook_deliveries WHERE user_id = :user", user=self.user.id)
        found: dict[str, list[Any]] = {}
        for row in rows:
            found.setdefault(row.generation_id, []).append(row)
        wanted = {one: kinds for one, kinds in self.expected.items() if kinds[1]}
        assert found.keys() == wanted.keys()
        for generation_id, (kind, receivers) in wanted.items():
            sent = found[generation_id]
            assert len(sent) == len(receivers)
            assert {row.endpoint_id for row in sent} == receivers
            assert {(row.event_type, row.event_id) for row in sent} == {(kind, f"evt_{generation_id.replace('-', '')}")}
            assert all((row.state == "dead") == (row.endpoint_id not in {None, *self.endpoints}) for row in sent)


def test_every_end_has_one_event_for_each_receiver(module_stack: Stack) -> None:
    class Machine(Ends):
        stack = module_stack

    checks = list(HealthCheck)
    run_machine(
        Machine, settings=settings(max_examples=15, stateful_step_count=20, deadline=None, suppress_health_check=checks)
    )


@pytest.mark.parametrize(("how", "kind"), ENDS.items())
def test_a_body_has_ids_and_no_text(resources: Resources, alice: User, how: tuple[str, str], kind: str) -> None:
    endpoint(resources, alice)
    started = start(resources, alice, "a secret question")
    finish(resources, claim(resources, started.generation.id).speak(3), *how)
    (row,) = deliveries(resources, started.generation.id)
    body = json.loads(bytes(row.body))
    shown = started.generation
    assert body["data"] == {
        "id": f"resp_{shown.id.replace('-', '')}",
        "generation_id": shown.id,
        "conversation_id": shown.conversation_id,
        "message_id": shown.message_id,
    }
    assert (body["id"], body["object"], body["type"]) == (row.event_id, "event", kind)
    assert set(body) == {"id", "object", "type", "created_at", "timestamp", "data"}
    ended = resources.generations.get(alice, shown.id).row.finished_at
    assert ended is not None
    assert body["created_at"] == int(ended.timestamp())


def test_the_request_and_its_trace_are_kept_with_the_delivery(resources: Resources, alice: User) -> None:
    command = StartGeneration("Hello", model="offline", webhook_url=HOOK)
    trace = TraceContext("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", 1)
    started = resources.starter.start(alice, command, request_id="request-17", trace=trace)
    finish(resources, claim(resources, started.generation.id).speak(1))
    (row,) = deliveries(resources, started.generation.id)
    assert (row.url, row.endpoint_id, row.request_id, row.traceparent) == (HOOK, None, "request-17", trace.parent)


def test_another_answer_and_an_edit_have_a_receiver_of_their_own(resources: Resources, alice: User) -> None:
    first = start(resources, alice, webhook_url=f"{HOOK}/1")
    finish(resources, claim(resources, first.generation.id).speak(1))
    again = Regenerate(first.generation.message_id, webhook_url=f"{HOOK}/2")
    edit = EditMessage(first.message.id, "Hi", webhook_url=f"{HOOK}/3")
    for n, command in enumerate((again, edit), 2):
        started = resources.starter.start(alice, command)
        finish(resources, claim(resources, started.generation.id).speak(1))
        assert [row.url for row in deliveries(resources, started.generation.id)] == [f"{HOOK}/{n}"]


def test_a_user_with_too_many_waiting_deliveries_loses_no_answer(module_stack: Stack) -> None:
    few = build(module_stack.settings.model_copy(update={"max_webhooks_waiting_per_user": 2}))
    try:
        carol = few.users.user(f"carol {uuid4()}", None)
        states = []
        for _ in range(4):
            started = start(few, carol, webhook_url=HOOK)
            finish(few, claim(few, started.generation.id).speak(1))
            assert few.generations.get(carol, started.generation.id).row.status == "completed"
            states += [(row.state, row.reason) for row in deliveries(few, started.generation.id)]
        assert states == [("waiting", None)] * 2 + [("dead", "too_many_waiting")] * 2
    finally:
        few.close()


def test_an_endpoint_that_is_switched_off_gets_no_event(resources: Resources, alice: User) -> None:
    chosen = endpoint(resources, alice)
    with resources.database.system() as tx:
        execute(
            tx,
            "UPDATE webhook_endpoints SET disabled_at = now(), disabled_reason = 'gone' WHERE id = :id",
            id=chosen,
        )
    started = start(resources, alice)
    finish(resources, claim(resources, started.generation.id).speak(1))
    assert deliveries(resources, started.generation.id) == []


def test_an_endpoint_that_is_deleted_while_an_answer_ends_leaves_nothing_waiting(
    resources: Resources, alice: User
) -> None:
    chosen = endpoint(resources, alice)
    started = start(resources, alice)
    hand = claim(resources, started.generation.id).speak(1)
    deletion = Thread(target=resources.webhooks.delete, args=(SERVICE, alice.id, chosen))

    def delete_meanwhile() -> None:
        deletion.start()
        until(lambda: somebody_waits(resources) or not deletion.is_alive(), 60)

    before_statement(resources, "next_to_ring", delete_meanwhile, by=current_thread())
    finish(resources, hand)
    deletion.join(60)
    assert [(row.state, row.reason) for row in deliveries(resources, started.generation.id)] == [
        ("dead", "endpoint_gone")
    ]


def test_an_end_tells_the_sender_after_its_commit(module_stack: Stack) -> None:
    resources = build(module_stack.settings)
    try:
        dave = resources.users.user(f"dave {uuid4()}", None)
        seen: list[int] = []
        generations = [start(resources, dave, webhook_url=url).generation.id for url in (HOOK, None)]
        resources.finisher.webhooks_added = lambda: seen.append(len(deliveries(module_stack.resources, generations[0])))
        for generation_id in generations:
            finish(resources, claim(resources, generation_id).speak(1))
        assert seen == [1]
    finally:
        resources.close()


def test_another_users_endpoint_gets_nothing(resources: Resources, alice: User) -> None:
    bob = resources.users.user(f"bob {uuid4()}", None)
    theirs = endpoint(resources, bob)
    started = start(resources, alice)
    finish(resources, claim(resources, started.generation.id).speak(1))
    assert deliveries(resources, started.generation.id) == []
    with pytest.raises(NotFound):
        resources.webhooks.get(alice.id, theirs)
