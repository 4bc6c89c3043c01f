"""Usage is counted for the API key that asked for it, through every way that an answer goes, and once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

import pytest

from app.api.web_process import WebProcess
from app.domain.audit import SERVICE
from app.domain.commands import EditMessage, Regenerate, StartGeneration, User
from app.domain.credential import Credential
from app.domain.events import Token
from app.services.charges import Call
from app.services.finishing import Ending
from app.store.generations import Generation
from app.wiring import Resources

from .conftest import Hand, Person

pytestmark = pytest.mark.usefixtures("one_day")

USAGE = "/api/v1/usage"
FAILED = {"code": "upstream_error", "message": "it broke"}


@dataclass
class Account:
    """A user with API keys, whose requests skip the edge."""

    process: WebProcess
    workers: Resources
    person: Person
    user: User

    def of(self, key: str | None) -> User:
        return replace(self.user, credential=Credential("key", key)) if key else self.user

    def start(self, key: str | None, command: Any = None) -> Generation:
        command = command or StartGeneration("hello", model="offline")
        return self.process.resources.starter.start(self.of(key), command).generation

    def answer(self, key: str | None, command: Any = None) -> Generation:
        row = self.start(key, command)
        Hand(self.workers, row.id).run("word")
        return row

    def fail(self, key: str | None) -> Generation:
        row = self.start(key)
        hand = Hand(self.workers, row.id)
        ending = Ending("error", "error", {"input_tokens": 3, "output_tokens": 5}, FAILED)
        self.workers.finisher.finish(hand.claimed, hand.payloads, hand.transcript, ending, [])
        return row

    def usage(self, **query: str) -> dict[Any, int]:
        """Generations by the value that the rows are grouped by."""
        shown = {"day": "day", "model": "model", "key": "key_id"}.get(query.get("group", ""), "model")
        items = self.person.get(USAGE, query_string=query).json["items"]
        return {item[shown]: item["generations"] for item in items}


@pytest.fixture
def account(process: WebProcess, resources: Resources, alice: Person) -> Account:
    found = alice.get("/api/v1/me").json
    return Account(process, resources, alice, User(found["id"], found["subject"]))


def test_each_key_has_its_usage_and_the_rest_stands_without_a_key(account: Account) -> None:
    for key, many in (("one", 2), ("two", 1), (None, 3)):
        for _ in range(many):
            account.answer(key)
    account.answer("one", StartGeneration("hello", model="offline-fast"))
    assert account.usage(group="key") == {"one": 3, "two": 1, None: 3}
    assert account.usage(group="key", model="offline") == {"one": 2, "two": 1, None: 3}
    assert (
        account.usage(key_id="one") == account.usage(key_id="one", group="model") == {"offline": 2, "offline-fast": 1}
    )
    assert account.usage(group="model") == {"offline": 6, "offline-fast": 1}
    assert account.usage(key_id="nobody's") == {}
    [day] = account.person.get(USAGE, query_string={"group": "day"}).json["items"]
    assert (day["generations"], day["input_tokens"], day["model"], day["key_id"]) == (7, 21, None, None)


def test_usage_of_keys_alone_leaves_nothing_without_a_key(account: Account) -> None:
    account.answer("one")
    assert account.usage(group="key") == {"one": 1}


def test_every_way_of_an_answer_keeps_its_key(account: Account) -> None:
    first = account.answer("one")
    account.answer("two", Regenerate(first.message_id))
    account.answer("two", EditMessage(first.user_message_id, "again"))
    # A takeover: the first worker is gone with a part of the answer.
    taken = account.start("taken")
    lost = Hand(account.workers, taken.id)
    lost.say(Token("so far"))
    lost.save()
    lost.leases.release(lost.claimed.lease, [])
    Hand(account.workers, taken.id).finish()
    cancelled = account.start("cancelled")
    hand = Hand(account.workers, cancelled.id)
    hand.say(Token("so far"))
    hand.save()
    account.process.resources.generations.cancel(account.user, cancelled.id)
    counted = {"one": 1, "two": 2, "taken": 1, "cancelled": 1}
    assert account.usage(group="key") == counted
    dead = account.fail("dead")
    again = account.process.resources.admin.requeue(SERVICE, dead.id)
    Hand(account.workers, again.id).run("word")
    assert account.usage(group="key") == {**counted, "dead": 2}


def test_a_key_of_another_user_with_the_same_id_is_another_key(account: Account, bob: Person) -> None:
    account.answer("one")
    assert bob.get(USAGE, query_string={"key_id": "one"}).json["items"] == []


def test_calls_beside_answers_count_for_the_key(account: Account) -> None:
    reports, key = account.process.resources.usage, uuid4().hex
    reports.charge(Call(account.user.id, key, "offline", {"input_tokens": 7, "output_tokens": 2})).write()
    reports.charge(Call(account.user.id, None, "offline", {"input_tokens": 1, "output_tokens": 0})).write()
    rows = account.person.get(USAGE, query_string={"group": "key"}).json["items"]
    assert {row["key_id"]: (row["generations"], row["input_tokens"]) for row in rows} == {key: (0, 7), None: (0, 1)}
