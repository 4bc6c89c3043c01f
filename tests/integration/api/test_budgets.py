"""Budgets of users and keys: refused at 100 %, warned of at 80 %, exceeded by what runs and by no more."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs
from werkzeug.test import TestResponse

from app.api.web_process import EXTENSION
from app.domain.budget import Budget, Standing, from_json, merged, to_json
from app.domain.models import ModelSpec
from app.wiring import Resources

from .conftest import Hand, Person, token

pytestmark = pytest.mark.usefixtures("one_day")

START = "/api/v1/generations"
# An answer of the hand uses 3 input tokens and 5 output tokens.
OF_ANSWER = 8


class Place:
    """An application with budgets, and its workers."""

    def __init__(self, app: Any, workers: Resources) -> None:
        self.app, self.workers = app, workers
        self.admin = self.person("admin", role="admin")
        price = {"input": "0", "output": "200000"}
        for name, currency in (("paid", "EUR"), ("foreign", "CHF")):
            spec = {"provider": "offline-fast", "price": {**price, "currency": currency}}
            app.extensions[EXTENSION].resources.model_admin.put(name, ModelSpec.model_validate(spec))

    def person(self, subject: str | None = None, **claims: Any) -> Person:
        subject = f"{subject or 'person'}-{uuid4().hex[:6]}"
        person = Person(self.app.test_client(), subject)
        return Person(person.client, subject, {"Authorization": f"Bearer {token(subject, **claims)}"})

    def program(self, person: Person, **budget: Any) -> Person:
        made = person.post("/api/v1/api-keys", json={"name": "program", "limits": {"budget": budget}})
        assert made.status_code == 201, made.text
        return Person(person.client, person.subject, {"Authorization": f"Bearer {made.json['key']}"})

    def answer(self, person: Person, model: str = "offline", many: int = 1) -> None:
        for _ in range(many):
            Hand(self.workers, person.start(model=model)["generation"]["id"]).run("word")

    def budget(self, person: Person, **limits: Any) -> TestResponse:
        user = person.get("/api/v1/me").json["id"]
        return self.admin.put(f"/api/v1/ops/users/{user}/budget", json=limits)


@pytest.fixture
def place(make_app: Any, of_workers: Callable[[Any], Resources]) -> Callable[..., Place]:
    def make(**settings: Any) -> Place:
        app = make_app(budget_currency="EUR", **settings)
        return Place(app, of_workers(app))

    return make


def ask(person: Person, **body: Any) -> TestResponse:
    return person.post(START, json={"message": "hello", "model": "offline", **body})


def shown(person: Person) -> dict[tuple[str, str, str], tuple[str, str, bool]]:
    budgets = person.get("/api/v1/usage").json["budgets"]
    return {(one["of"], one["period"], one["unit"]): (one["used"], one["left"], one["warning"]) for one in budgets}


def test_a_budget_warns_at_eighty_percent_and_refuses_at_a_hundred(place: Callable[..., Place]) -> None:
    here = place(budget_tokens_per_day=5 * OF_ANSWER, budget_tokens_per_month=1000, budget_cost_per_day=Decimal(7))
    person = here.person()
    here.answer(person, many=3)
    assert "Unbroken-Budget-Warning" not in ask(person).headers
    here.answer(person)
    with capture_logs() as lines:
        warned = [ask(person) for _ in range(2)]
    expected = f"user;period=day;unit=tokens;limit={5 * OF_ANSWER};used={4 * OF_ANSWER}"
    assert [answer.headers["Unbroken-Budget-Warning"] for answer in warned] == [expected] * 2
    [line] = [line for line in lines if line.get("action") == "budget"]
    assert line["used"] == str(4 * OF_ANSWER)
    # The formatter writes `user_id` as a digest, and no other field.
    user_id = person.get("/api/v1/me").json["id"]
    assert [field for field, value in line.items() if value == user_id] == ["user_id"]
    # A request that is no generation has none.
    assert "Unbroken-Budget-Warning" not in person.get("/api/v1/me").headers
    here.answer(person)
    refused = ask(person)
    assert (refused.status_code, refused.json["type"]) == (429, "/problems/budget-used")
    assert "your account for this day is used up: 40 of 40 tokens (BUDGET_TOKENS_PER_DAY)" in refused.json["detail"]
    midnight = (datetime.now(UTC) + timedelta(days=1)).date().isoformat()
    assert refused.json["detail"].endswith(f"midnight UTC, {midnight}.")
    assert 1 <= int(refused.headers["Retry-After"]) <= 86_400
    assert person.get("/api/v1/me").json["budgets"] == person.get("/api/v1/usage").json["budgets"]
    assert shown(person) == {
        ("user", "day", "tokens"): ("40", "0", True),
        ("user", "month", "tokens"): ("40", "960", False),
        ("user", "day", "EUR"): ("0", "7", False),
    }
    of_openai = person.post("/v1/chat/completions", json={"model": "offline", "messages": [_said()]})
    assert (of_openai.status_code, of_openai.json["error"]["code"]) == (429, "insufficient_quota")
    assert of_openai.headers["x-should-retry"] == "false"
    embeddings = person.post("/v1/embeddings", json={"model": "m", "input": "x"})
    assert "BUDGET_TOKENS_PER_DAY" in embeddings.json["error"]["message"]
    assert ask(here.person()).status_code == 202


def _said() -> dict[str, str]:
    return {"role": "user", "content": "hello"}


def test_a_month_counts_its_days_and_only_they(place: Callable[..., Place]) -> None:
    here = place(budget_tokens_per_month=2 * OF_ANSWER)
    person = here.person()
    here.answer(person, many=2)
    refused = ask(person)
    assert refused.status_code == 429
    assert "BUDGET_TOKENS_PER_MONTH" in refused.json["detail"]
    assert int(refused.headers["Retry-After"]) <= 86_400
    with here.workers.database.system() as tx:
        tx.execute(text("UPDATE usage_days SET day = date_trunc('month', now() AT TIME ZONE 'UTC')"))
    assert ask(person).status_code == 429
    with here.workers.database.system() as tx:
        tx.execute(text("UPDATE usage_days SET day = day - 1"))
    assert ask(person).status_code == 202


def test_money_in_another_currency_counts_for_no_budget_of_money(place: Callable[..., Place]) -> None:
    here = place(budget_cost_per_day=Decimal(2))
    person = here.person()
    here.answer(person, "foreign", many=3)
    here.answer(person, "offline")
    assert shown(person) == {("user", "day", "EUR"): ("0", "2", False)}
    here.answer(person, "paid", many=2)
    refused = ask(person)
    assert "2.000000 of 2 EUR (BUDGET_COST_PER_DAY)" in refused.json["detail"]


def test_a_key_has_its_budget_beside_that_of_its_user(place: Callable[..., Place]) -> None:
    here = place(budget_tokens_per_day=5 * OF_ANSWER)
    person = here.person()
    small, other = here.program(person, tokens_per_day=2 * OF_ANSWER), here.program(person, cost_per_month="1.5")
    here.answer(small, many=2)
    refused = ask(small)
    assert refused.status_code == 429
    assert "this API key for this day is used up: 16 of 16 tokens (limits.budget.tokens_per_day" in refused.text
    here.answer(other, "paid")
    assert shown(other)[("key", "month", "EUR")] == ("1", "0.5", False)
    assert ("key", "day", "tokens") not in shown(other)
    here.answer(person, many=2)
    # The user's budget holds for every key.
    assert [ask(who).status_code for who in (small, other, person)] == [429] * 3
    [listed, _] = person.get("/api/v1/api-keys").json["items"]
    assert listed["limits"]["budget"] == {
        "tokens_per_day": None,
        "tokens_per_month": None,
        "cost_per_day": None,
        "cost_per_month": "1.5",
    }


def test_an_administrator_sets_the_budget_of_a_user(place: Callable[..., Place]) -> None:
    here = place(budget_tokens_per_day=OF_ANSWER, budget_tokens_per_month=100)
    person = here.person()
    here.answer(person)
    assert ask(person).status_code == 429
    made = here.budget(person, tokens_per_day=3 * OF_ANSWER, cost_per_day="0.5")
    assert (made.status_code, made.json["limits"]) == (200, {"tokens_per_day": 24, "cost_per_day": "0.5"})
    assert {(one["unit"], one["period"]): one["limit"] for one in made.json["budgets"]} == {
        ("tokens", "day"): "24",
        ("EUR", "day"): "0.5",
        ("tokens", "month"): "100",
    }
    here.answer(person, many=2)
    assert "tokens_per_day, set by an administrator" in ask(person).json["detail"]
    here.budget(person, tokens_per_day=None, tokens_per_month=None)
    here.answer(person, many=20)
    assert shown(person) == {}
    [last, *_] = person.get("/api/v1/me/audit").json["items"]
    assert (last["action"], last["details"]) == ("budget.set", {"tokens_per_day": None, "tokens_per_month": None})
    here.budget(person)
    assert ask(person).status_code == 429
    nobody = f"/api/v1/ops/users/{uuid4()}/budget"
    assert [answer.status_code for answer in (here.admin.put(nobody, json={}), here.admin.get(nobody))] == [404] * 2
    assert here.budget(person, tokens_per_day=-1).status_code == 422
    assert person.put(nobody, json={}).status_code == 403


def test_what_runs_may_exceed_a_budget_by_its_own_use(place: Callable[..., Place]) -> None:
    running = 4
    here = place(budget_tokens_per_day=OF_ANSWER + 1)
    person = here.person()
    here.answer(person)
    accepted = [person.start(model="offline")["generation"]["id"] for _ in range(running)]
    for generation in accepted:
        Hand(here.workers, generation).run("word")
    assert ask(person).status_code == 429
    [(used, _, _)] = shown(person).values()
    assert int(used) == (1 + running) * OF_ANSWER


def test_the_earlier_name_of_the_variable_goes_on_working(place: Callable[..., Place]) -> None:
    here = place(token_quota_per_day=OF_ANSWER)
    person = here.person()
    here.answer(person)
    assert "(TOKEN_QUOTA_PER_DAY)" in ask(person).json["detail"]
    newer = place(token_quota_per_day=OF_ANSWER, budget_tokens_per_day=2 * OF_ANSWER)
    newer.answer(newer.person(), many=1)
    assert newer.app.extensions[EXTENSION].resources.budgets._defaults.budget.tokens_per_day == 2 * OF_ANSWER


def test_limits_are_stored_as_they_are() -> None:
    limits = {"tokens_per_day": 5, "cost_per_day": Decimal("0.10"), "cost_per_month": None}
    assert from_json(to_json(limits)) == limits
    assert from_json({"tokens_per_day": 5, "of_a_later_release": 1}) == {"tokens_per_day": 5}
    assert merged(Budget(1, 2, Decimal(3)), limits) == Budget(5, 2, Decimal("0.10"), None)
    zero = Standing("user", "day", "tokens", Decimal(0), Decimal(0), datetime.now(UTC), "x")
    assert (zero.is_used_up, zero.is_warning, zero.left) == (True, True, 0)
