"""Usage: an ended answer counts on its day, at the price of that moment. A later change or deletion alters nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from app.api.web_process import WebProcess
from app.domain.events import Token
from app.domain.models import ModelSpec, Price
from app.domain.usage import cost_of, priced, tokens
from app.services.finishing import Ending
from app.wiring import Resources

from .conftest import Hand, Person

pytestmark = pytest.mark.usefixtures("one_day")

USAGE = "/api/v1/usage"


def today() -> str:
    return datetime.now(UTC).date().isoformat()


def spec(price: dict[str, Any] | None) -> ModelSpec:
    return ModelSpec.model_validate({"provider": "offline-fast", "price": price})


def test_tokens_and_costs_are_added_up_by_day_and_model(alice: Person, process: WebProcess, resources: Resources):
    process.resources.model_admin.put("paid", spec({"input": "2", "output": "10", "currency": "EUR"}))
    for model in ("paid", "paid", "offline"):
        Hand(resources, alice.start(model=model)["generation"]["id"]).run("word")
    found = alice.get(USAGE).json
    day = {"day": today(), "key_id": None, "generations": 1, "input_tokens": 3, "output_tokens": 5, "cached_tokens": 0}
    day |= {"cost": None, "currency": None}
    paid = {**day, "model": "paid", "generations": 2, "input_tokens": 6, "output_tokens": 10}
    # Twice 3 input tokens at EUR 2 per million and 5 output tokens at EUR 10 per million.
    assert found["items"] == [{**day, "model": "offline"}, {**paid, "cost": "0.000112", "currency": "EUR"}]
    assert found["costs"] == [{"cost": "0.000112", "currency": "EUR"}]
    assert alice.get(USAGE, query_string={"model": "offline"}).json["items"] == [{**day, "model": "offline"}]


def test_a_price_that_changes_does_not_change_the_past(alice: Person, process: WebProcess, resources: Resources):
    process.resources.model_admin.put("changing", spec({"input": "0", "output": "1000000"}))
    made = alice.start(model="changing")
    Hand(resources, made["generation"]["id"]).run("word")
    process.resources.model_admin.put("changing", spec({"input": "0", "output": "7"}))
    path = f"/api/v1/generations/{made['generation']['id']}"
    assert alice.get(path).json["cost"] == {"cost": "5", "currency": "USD"}
    assert [day["cost"] for day in alice.get(USAGE).json["items"]] == ["5"]


def test_what_was_cancelled_or_failed_or_deleted_counts_too(alice: Person, process: WebProcess, resources: Resources):
    process.resources.model_admin.put("dear", spec({"input": "1000000", "output": "1000000"}))
    cancelled = alice.start(model="dear")
    hand = Hand(resources, cancelled["generation"]["id"])
    hand.say(Token("eight ch" * 2))
    hand.save()
    alice.post(f"/api/v1/generations/{hand.id}/cancel")
    # Four output tokens, and two input tokens for "hello".
    assert alice.get(f"/api/v1/generations/{hand.id}").json["cost"] == {"cost": "6", "currency": "USD"}
    failed = Hand(resources, alice.start(model="dear")["generation"]["id"])
    usage = {"input_tokens": 1, "output_tokens": 2}
    attempt = {"attempt": 1, "outcome": "upstream_error", "usage": usage}
    ending = Ending("error", "error", usage, {"code": "upstream_error", "message": "it broke"})
    resources.finisher.finish(failed.claimed, failed.payloads, failed.transcript, ending, [attempt])
    alice.delete(f"/api/v1/conversations/{cancelled['conversation']['id']}")
    [day] = alice.get(USAGE).json["items"]
    assert (day["generations"], day["output_tokens"], day["cost"]) == (2, 6, "9")
    [logged] = alice.get(f"/api/v1/generations/{failed.id}").json["attempt_log"]
    assert Decimal(logged["cost"]) == 3


def test_nobody_sees_what_others_used(alice: Person, bob: Person, resources: Resources):
    Hand(resources, alice.start()["generation"]["id"]).run("word")
    assert bob.get(USAGE).json["items"] == []


def test_a_period_has_a_first_and_a_last_day(alice: Person, resources: Resources):
    Hand(resources, alice.start()["generation"]["id"]).run("word")
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).date().isoformat()
    found = alice.get(USAGE, query_string={"from": tomorrow, "to": tomorrow}).json
    assert (found["from"], found["to"], found["items"]) == (tomorrow, tomorrow, [])
    assert len(alice.get(USAGE, query_string={"from": today(), "to": today()}).json["items"]) == 1


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("from=2026-02-30", "from"),
        ("from=yesterday", "from"),
        ("from=2026-02-02&to=2026-02-01", "from"),
        ("from=2020-01-01&to=2026-01-01", "from"),
        ("to=0001-01-01", "to"),
        ("to=99999-01-01", "to"),
        ("from=2026-01-01&from=2026-01-02", "from"),
        ("model=%00", "model"),
    ],
)
def test_what_is_no_period_is_refused(alice: Person, query: str, field: str):
    refused = alice.get(f"{USAGE}?{query}")
    assert (refused.status_code, refused.json["errors"][0]["field"]) == (422, field)


def test_what_a_provider_says_beyond_reason_does_not_keep_an_answer_from_ending(alice: Person, resources: Resources):
    hand = Hand(resources, alice.start()["generation"]["id"])
    usage = {"input_tokens": 9 * 10**18, "output_tokens": -5, "cost": 1e300}
    done = resources.finisher.finish(
        hand.claimed, hand.payloads, hand.transcript, Ending("completed", "stop", usage), [{"usage": usage}]
    )
    assert b'"completed"' in done
    assert alice.get(USAGE).json["items"][0]["input_tokens"] == 10**12


def test_attempts_have_prices_of_their_own():
    price = Price(input=Decimal(1), output=Decimal(4), currency="USD")
    attempts = [{"usage": None}, {"usage": {"input_tokens": None, "output_tokens": 250_000}}]
    made = priced(attempts, price)
    assert [attempt["cost"] for attempt in made] == ["0", "1"]
    assert cost_of({"output_tokens": 250_000}, price) == (Decimal(1), "USD")
    assert cost_of({"cost": 0.25}, None) == (Decimal("0.25"), None)
    assert cost_of({"cost": float("nan")}, None) == cost_of(None, None) == (None, None)
    assert tokens(None, "input_tokens") == 0
