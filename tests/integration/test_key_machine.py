"""API keys beside a plain model: made, used, changed, rotated, ended, expired, in any order and at any time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from app.domain.audit import SERVICE
from app.domain.errors import NotFound, WrongState
from app.services.api_keys import ApiKeys, MadeKey, TooManyKeys
from app.store import audit
from app.store.api_keys import KeyRights
from app.store.database import Database, execute
from dev.postgres import WEB
from tests.factories import add_user, owner
from tests.logins import as_login

MOST = 3
HOURS = st.integers(1, 4)
READ = frozenset({"read"})


@dataclass
class Known:
    """A key of the model. Times are hours of the machine's clock; ``until`` None: it does not expire."""

    id: str
    text: str
    made: int
    until: int | None
    rotations: list[str]
    replaces: str | None = None
    is_ended: bool = False

    def is_valid(self, now: int) -> bool:
        return not self.is_ended and (self.until is None or self.until > now)


class Keys(RuleBasedStateMachine):
    """One user's keys. The clock goes on by making every row older."""

    url: str
    made = Bundle("made")

    def __init__(self) -> None:
        super().__init__()
        with owner(self.url) as cursor:
            self.user_id = add_user(cursor)
        # The web processes' login; the clock needs the workers'.
        self.database, self.workers = Database(as_login(self.url, WEB), 1), Database(self.url, 1)
        self.keys = ApiKeys(self.database, MOST)
        self.now = 0
        self.known: dict[str, Known] = {}

    def teardown(self) -> None:
        self.database.close()
        self.workers.close()

    def _remember(self, new: MadeKey, until: int | None, replaces: str | None = None) -> str:
        self.known[new.key.id] = Known(new.key.id, new.text, self.now, until, [], replaces)
        return new.key.id

    def _counted(self) -> int:
        replaced = {key.replaces for key in self.known.values() if key.is_valid(self.now)}
        return sum(key.is_valid(self.now) and key.id not in replaced for key in self.known.values())

    @rule(target=made, lasts=st.none() | HOURS)
    def make(self, lasts: int | None) -> str:
        expires_at = datetime.now(UTC) + timedelta(hours=lasts) if lasts else None
        rights = KeyRights("k", READ, expires_at=expires_at)
        if self._counted() >= MOST:
            with pytest.raises(TooManyKeys):
                self.keys.make(SERVICE, self.user_id, rights)
            return ""
        return self._remember(self.keys.make(SERVICE, self.user_id, rights), self.now + lasts if lasts else None)

    @rule(target=made, key=made, keep=st.integers(0, 3))
    def rotate(self, key: str, keep: int) -> str:
        old = self.known.get(key)
        if old is None:
            return ""
        refusal = NotFound if not old.is_valid(self.now) else WrongState if old.rotations else None
        if refusal:
            with pytest.raises(refusal):
                self.keys.rotate(SERVICE, self.user_id, key, keep * 3600)
            return ""
        new = self.keys.rotate(SERVICE, self.user_id, key, keep * 3600)
        if old.replaces:
            self.known[old.replaces].is_ended = True
        until = None if old.until is None else self.now + old.until - old.made
        old.rotations.append(new.key.id)
        old.is_ended = keep == 0
        old.until = min(self.now + keep, old.until if old.until is not None else self.now + keep)
        return self._remember(new, until, key)

    @rule(key=made)
    def end(self, key: str) -> None:
        known = self.known.get(key)
        if known is None:
            return
        if known.is_valid(self.now):
            self.keys.end(SERVICE, self.user_id, key)
            known.is_ended = True
        else:
            with pytest.raises(NotFound):
                self.keys.end(SERVICE, self.user_id, key)

    @rule(hours=HOURS)
    def wait(self, hours: int) -> None:
        with self.workers.system() as tx:
            moved = ", ".join(f"{name} = {name} - :by" for name in ("created_at", "expires_at", "last_used_at"))
            execute(
                tx,
                f"UPDATE api_keys SET {moved} WHERE user_id = :user_id",
                by=timedelta(hours=hours),
                user_id=self.user_id,
            )
        self.now += hours

    @rule()
    def sweep(self) -> None:
        ApiKeys(self.workers, MOST).end_expired()

    @invariant()
    def each_valid_key_is_its_users_and_no_other_is_accepted(self) -> None:
        for key in self.known.values():
            found = self.keys.authenticate(key.text)
            assert (found is not None) == key.is_valid(self.now), key
            if found:
                assert (found[0].id, found[0].credential.id) == (self.user_id, key.id)

    @invariant()
    def the_list_has_the_valid_keys(self) -> None:
        listed = [key.id for key in self.keys.page(self.user_id, 100, None, ended=False).items]
        assert listed == sorted((k.id for k in self.known.values() if k.is_valid(self.now)), reverse=True)

    @invariant()
    def two_keys_that_follow_each_other_are_valid_at_most(self) -> None:
        for key in self.known.values():
            elder = self.known.get(key.replaces or "")
            eldest = self.known.get(elder.replaces or "") if elder else None
            assert not (eldest and eldest.is_valid(self.now))

    @invariant()
    def no_secret_is_in_the_audit(self) -> None:
        with self.database.user(self.user_id) as tx:
            told = str(audit.own_page(tx, self.user_id, None, 100))
        assert not [key for key in self.known.values() if key.text[27:60] in told]


def test_keys_behave_like_the_model(module_database_url: str) -> None:
    Keys.url = module_database_url
    run_state_machine_as_test(Keys, settings=settings(max_examples=12, stateful_step_count=20, deadline=None))
