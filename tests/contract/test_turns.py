"""The order of turns, in PostgreSQL and as a plain model: both agree after every request, end and cancel."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import count

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from app.domain.commands import User
from app.domain.lease import Claimed
from app.services.leases import Leases
from app.store import admission, generations
from app.store.database import execute
from tests.actors import Hand, start
from tests.stack import Stack

PEOPLE = 4
SLOTS = 6
CAP = 3

people = st.integers(0, PEOPLE - 1)
_number = count()


@dataclass
class Person:
    """A user in the model of turns. Moments are numbers of steps."""

    user: User
    waiting: list[tuple[int, str, str]] = field(default_factory=list)  # since when, generation, conversation
    running: dict[str, str] = field(default_factory=dict)  # generation → conversation
    served: int = -1

    def free(self, busy: set[str]) -> list[tuple[int, str, str]]:
        """The generations that may begin: the oldest of each conversation in which nothing runs."""
        found: dict[str, tuple[int, str, str]] = {}
        for one in self.waiting:
            found.setdefault(one[2], one)
        return sorted(one for conversation, one in found.items() if conversation not in busy)


class Turns(RuleBasedStateMachine):
    """Some users, some slots, and the doorbells of a broker that loses none."""

    stack: Stack

    @initialize()
    def begin(self) -> None:
        self.resources = self.stack.resources
        self.doorbells: list[str] = []
        self.resources.finisher._ring = self.doorbells.append
        self.leases = Leases(self.resources.database, "model", 600, 600, lambda: CAP)
        self.people = [Person(self.resources.users.user(f"p{next(_number)}", None)) for _ in range(PEOPLE)]
        self.hands: dict[str, Hand] = {}
        self.step = count()
        # For each user with a generation that may begin: the turns that each other user with as many running got since.
        self.passed: dict[int, Counter[int]] = defaultdict(Counter)

    @property
    def busy(self) -> set[str]:
        return {conversation for one in self.people for conversation in one.running.values()}

    def in_turn(self) -> tuple[int, str] | None:
        """User and generation of the next turn: fewest running, then longest since the last turn, then the oldest."""
        waiting = [
            (len(one.running), max(one.served, one.waiting[0][0]), number, one.free(self.busy)[0][1])
            for number, one in enumerate(self.people)
            if len(one.running) < CAP and one.free(self.busy)
        ]
        return min(waiting)[2:] if waiting else None

    @rule(who=people, often=st.integers(1, 5))
    def ask(self, who: int, often: int) -> None:
        for _ in range(often):
            started = start(self.resources, self.people[who].user)
            self._asked(who, started.generation.id, started.conversation.id)

    @rule(who=people, pick=st.integers(0, 99))
    def ask_more(self, who: int, pick: int) -> None:
        """Start a generation in a conversation that already has a waiting or running one."""
        person = self.people[who]
        known = [*(one[2] for one in person.waiting), *person.running.values()]
        if known:
            conversation = known[pick % len(known)]
            started = start(self.resources, person.user, conversation_id=conversation, on_busy="enqueue")
            self._asked(who, started.generation.id, conversation)

    def _asked(self, who: int, generation: str, conversation: str) -> None:
        self.people[who].waiting.append((next(self.step), generation, conversation))
        self.doorbells.append(generation)

    @precondition(lambda self: self.doorbells and len(self.hands) < SLOTS)
    @rule(pick=st.integers(0, 99))
    def answer(self, pick: int) -> None:
        """A free slot takes a doorbell, any one of those in the broker."""
        self._answer(self.doorbells.pop(pick % len(self.doorbells)))

    @precondition(lambda self: self.doorbells)
    @rule()
    def answer_all(self) -> None:
        """Idle slots take doorbells at once; a generation that may not begin loses its doorbell."""
        while self.doorbells and len(self.hands) < SLOTS:
            self._answer(self.doorbells.pop())

    def _answer(self, doorbell: str) -> None:
        expected = self.in_turn()
        claimed, owed = self.leases.claim_next(doorbell)
        if owed:
            self.doorbells.append(doorbell)
        assert (claimed.lease.generation_id if claimed else None) == (expected[1] if expected else None)
        if claimed and expected:
            self._served(expected[0], claimed)

    def _served(self, who: int, claimed: Claimed) -> None:
        person, generation = self.people[who], claimed.lease.generation_id
        for number, other in enumerate(self.people):
            if number != who and other.free(self.busy) and len(other.running) <= min(len(person.running), CAP - 1):
                self.passed[number][who] += 1
                assert self.passed[number][who] <= 1, "a user was passed over twice by the same one"
        self.passed[who].clear()
        person.waiting = [one for one in person.waiting if one[1] != generation]
        person.running[generation] = claimed.conversation_id
        person.served = next(self.step)
        self.hands[generation] = Hand(self.resources, claimed)

    @precondition(lambda self: self.hands)
    @rule(pick=st.integers(0, 99), how=st.sampled_from(["completed", "error", "cancel"]))
    def end(self, pick: int, how: str) -> None:
        generation = sorted(self.hands)[pick % len(self.hands)]
        hand = self.hands.pop(generation)
        owner = next(one for one in self.people if generation in one.running)
        if how == "cancel":
            self.resources.generations.cancel(owner.user, generation)
        else:
            hand.finish(how)
        del owner.running[generation]
        # A user with no generation that may begin was not passed over: the count begins anew.
        self._forget_ineligible()

    @rule(who=people, pick=st.integers(0, 99))
    def cancel_waiting(self, who: int, pick: int) -> None:
        person = self.people[who]
        if person.waiting:
            gone = person.waiting.pop(pick % len(person.waiting))
            self.resources.generations.cancel(person.user, gone[1])
            self._forget_ineligible()

    def _forget_ineligible(self) -> None:
        for number, one in enumerate(self.people):
            if not one.free(self.busy):
                self.passed[number].clear()

    @invariant()
    def nobody_has_more_than_the_cap(self) -> None:
        if hasattr(self, "people"):
            assert all(len(one.running) <= CAP for one in self.people)

    @invariant()
    def no_slot_is_idle_while_something_may_begin(self) -> None:
        """With a free slot and no doorbell in the broker, no generation waits that may begin."""
        if hasattr(self, "people") and not self.doorbells and len(self.hands) < SLOTS:
            assert self.in_turn() is None

    @invariant()
    def positions_are_the_order_in_which_free_slots_would_begin(self) -> None:
        if not hasattr(self, "people"):
            return
        waiting = [one[1] for person in self.people for one in person.waiting]
        with self.resources.database.system() as tx:
            places = generations.queue_positions(tx, waiting)
        assert sorted(places.values()) == list(range(1, len(waiting) + 1))
        assert sorted(places, key=places.__getitem__) == self.order()

    def order(self) -> list[str]:
        """The waiting generations in the order of their turns, if none ends and no cap or conversation delays one."""
        left = {number: sorted(one.waiting) for number, one in enumerate(self.people) if one.waiting}
        level = {number: len(self.people[number].running) for number in left}
        since = {number: max(self.people[number].served, left[number][0][0]) for number in left}
        order: list[str] = []
        for moment in count(10**6):
            if not left:
                return order
            who = min(left, key=lambda number: (level[number], since[number]))
            order.append(left[who].pop(0)[1])
            level[who], since[who] = level[who] + 1, moment
            if not left[who]:
                del left[who]
        raise AssertionError("unreachable")

    def teardown(self) -> None:
        if hasattr(self, "people"):
            with self.resources.database.system() as tx:
                execute(tx, "DELETE FROM conversations")


def test_the_order_of_claims_is_the_law(stack: Stack) -> None:
    class Here(Turns):
        pass

    Here.stack = stack
    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=25,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_doorbells_do_not_pile_up_while_all_slots_are_taken(stack: Stack) -> None:
    """Each accepted generation and each end may send a doorbell; together these would be twice what the slots take."""
    resources, doorbells = stack.resources, list[str]()
    resources.finisher._ring = doorbells.append
    leases = Leases(resources.database, "model", 600, 600, lambda: 2)
    people = [resources.users.user(name, None) for name in ("ann", "ben")]
    hands: list[Hand] = []
    for turn in range(60):
        for user in people:
            if turn % 2 or turn < 10:
                doorbells.append(start(resources, user).generation.id)
        while doorbells and len(hands) < 3:
            claimed, owed = leases.claim_next(doorbells.pop(0))
            doorbells.extend(["again"] * owed)
            if claimed:
                hands.append(Hand(resources, claimed))
        hands.pop(0).finish()
        with resources.database.system() as tx:
            assert len(doorbells) <= admission.queued_total(tx) + 2
    assert len(hands) == 2
