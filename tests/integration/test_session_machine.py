"""Sessions against a model: a session is accepted exactly when the model has it open."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from app.domain.audit import SERVICE
from app.domain.session import SessionRules, SignIn
from app.services.passes import Pass
from app.services.session_keeper import SessionKeeper
from app.services.sessions import Sessions
from app.store.database import Database
from tests.factories import add_user, owner

RULES = SessionRules(idle_seconds=600, longest_seconds=3000, most_per_user=3)
NOTED_SECONDS = 60
USERS = 2
BEGINNING = 1_800_000_000
MOVES = 4 * ["sign_in"] + 5 * ["wait"] + 5 * ["use"] + 2 * ["list"] + ["stream", "end", "end_everywhere", "prune"]
SECONDS = st.one_of(st.integers(1, 200), st.sampled_from([59, 60, 61, 540, 599, 600, 2400, 3000]))


@dataclass
class Known:
    """A session as the model has it; the times are seconds of the machine's clock."""

    id: str
    secret: str
    user: int
    created: int
    seen: int
    ended: bool = False

    def is_open(self, now: int) -> bool:
        return not self.ended and self.seen > now - RULES.idle_seconds and self.created > now - RULES.longest_seconds

    def note_use(self, now: int) -> None:
        if self.is_open(now) and self.seen <= now - NOTED_SECONDS:
            self.seen = now


class Machine(RuleBasedStateMachine):
    """Browsers of two users, and a clock that the machine moves."""

    database_url: str

    @initialize()
    def begin(self) -> None:
        self.now = BEGINNING
        self.known: list[Known] = []
        self.database = Database(self.database_url, 2)
        self.sessions = Sessions(self.database, RULES, lambda: float(self.now))
        with owner(self.database_url) as cursor:
            self.users = [add_user(cursor) for _ in range(USERS)]

    def teardown(self) -> None:
        if hasattr(self, "database"):
            self.database.close()

    # One rule for all moves: Hypothesis leaves whole rules out of many runs, and most moves need a session.
    @rule(move=st.sampled_from(MOVES), user=st.integers(0, USERS - 1), newest=st.integers(0, 5), seconds=SECONDS)
    def move(self, move: str, user: int, newest: int, seconds: int) -> None:
        known = self.known[-1 - newest % len(self.known)] if self.known else None
        if move == "wait":
            self.now += seconds
        elif move == "prune":
            assert Pass(self.sessions.prune, seconds=60).resume() is False
        elif move in ("sign_in", "end_everywhere", "list"):
            getattr(self, move)(user)
        elif known is not None:
            getattr(self, move)(known)

    def sign_in(self, user: int) -> None:
        begun = self.sessions.begin(SignIn(self.users[user], "link"), SERVICE)
        self.known.append(Known(begun.id, begun.secret, user, self.now, self.now))
        mine = sorted(self._open_of(user), key=lambda known: (known.created, known.id), reverse=True)
        for known in mine[RULES.most_per_user :]:
            known.ended = True

    def use(self, known: Known) -> None:
        found = self.sessions.of_secret(known.secret)
        assert (found is not None) == known.is_open(self.now)
        known.note_use(self.now)
        assert found is None or (found.id, found.user_id) == (known.id, self.users[known.user])
        assert found is None or found.seen_at.timestamp() == known.seen

    def stream(self, known: Known) -> None:
        """A stream is open while the keeper makes its round; another one has ended before."""
        keeper = SessionKeeper(self.sessions.touch, RULES.idle_seconds)
        for change in (keeper.joined, keeper.joined, keeper.left):
            change(known.id)
        keeper.keep()
        known.note_use(self.now)
        keeper.left(known.id)
        keeper.keep()

    def end(self, known: Known) -> None:
        assert not self.sessions.end(self.users[1 - known.user], known.id, SERVICE)
        was_open = known.is_open(self.now)
        assert self.sessions.end(self.users[known.user], known.id, SERVICE) or not was_open
        known.ended = True

    def end_everywhere(self, user: int) -> None:
        ended = self.sessions.end_all(self.users[user], SERVICE)
        assert {known.id for known in self._open_of(user)} <= set(ended)
        for known in self.known:
            known.ended |= known.user == user

    def list(self, user: int) -> None:
        listed = {found.id for found in self.sessions.of_user(self.users[user])}
        assert listed == {known.id for known in self._open_of(user)}

    @invariant()
    def nobody_has_too_many(self) -> None:
        if hasattr(self, "known"):
            assert all(len(self._open_of(user)) <= RULES.most_per_user for user in range(USERS))

    def _open_of(self, user: int) -> list[Known]:
        return [known for known in self.known if known.user == user and known.is_open(self.now)]


def test_a_session_is_accepted_exactly_while_the_model_has_it_open(module_database_url: str) -> None:
    machine = type("OnThisDatabase", (Machine,), {"database_url": module_database_url})
    run_state_machine_as_test(machine, settings=settings(max_examples=15, stateful_step_count=50))
