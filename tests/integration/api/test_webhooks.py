"""Webhooks over HTTP: endpoints in OpenAI's form, the ``webhook_url`` of a request, deliveries, replay, operators."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from threading import Thread
from typing import Any

import pytest
from flask_openapi3.openapi import OpenAPI
from openai.types.webhooks.deleted_webhook_endpoint import DeletedWebhookEndpoint
from openai.types.webhooks.webhook_endpoint import WebhookEndpoint
from openai.types.webhooks.webhook_endpoint_list import WebhookEndpointList
from openai.types.webhooks.webhook_endpoint_test_result import WebhookEndpointTestResult
from openai.types.webhooks.webhook_endpoint_with_secret import WebhookEndpointWithSecret

from app.api.openai import webhook_test
from app.domain.webhook_event import EVENT_TYPES
from app.store.database import execute, fetch, fetch_one
from app.wiring import Resources
from tests.stack import until

from .conftest import Hand, Person, token

URL = "https://hooks.example.com/in"
UNKNOWN = "01890000-0000-7000-8000-000000000000"


def create(person: Person, **fields: Any) -> dict[str, Any]:
    body = {"name": "mine", "url": URL, "event_types": ["response.completed"], **fields}
    answer = person.post("/v1/webhook_endpoints", json=body)
    assert answer.status_code == 200, answer.text
    WebhookEndpointWithSecret.model_validate(answer.json, strict=True)
    return dict(answer.json)


def finished(resources: Resources, person: Person, **body: Any) -> dict[str, Any]:
    """A generation that has completed."""
    started = person.start(**body)
    Hand(resources, started["generation"]["id"]).run("Hello")
    return dict(started["generation"])


def of_user(person: Person, **query: str) -> list[dict[str, Any]]:
    answer = person.get("/api/v1/webhook-deliveries", query_string=query)
    assert answer.status_code == 200, answer.text
    return list(answer.json["items"])


def attempt(resources: Resources, delivery_id: str, state: str, *, status: int | None = 500) -> None:
    """Write as the sender does: an attempt, and the state after it."""
    with resources.database.system() as tx:
        execute(
            tx,
            """INSERT INTO webhook_attempts (delivery_id, user_id, n, status, latency_ms, error, excerpt)
               SELECT id, user_id, attempts + 1, :status, 12, :error, 'oops' FROM webhook_deliveries WHERE id = :id""",
            id=delivery_id,
            status=status,
            error=None if status else "the connection was refused",
        )
        execute(
            tx,
            """UPDATE webhook_deliveries SET attempts = attempts + 1, state = :state,
                   reason = CASE WHEN :state = 'dead' THEN 'attempts_exhausted' END,
                   finished_at = CASE WHEN :state <> 'waiting' THEN now() END WHERE id = :id AND state = 'waiting'""",
            id=delivery_id,
            state=state,
        )


def operator(person: Person, role: str) -> Person:
    return Person(person.client, "olga", {"Authorization": f"Bearer {token('olga', role=role)}"})


# --- endpoints -------------------------------------------------------------------------------------------------------


def test_an_endpoint_is_created_read_changed_and_deleted(alice: Person) -> None:
    made = create(alice, event_types=["response.failed", "response.completed", "response.failed"])
    assert made["id"].startswith("we_")
    assert made["event_types"] == ["response.failed", "response.completed"]
    assert 24 <= len(b64decode(made["signing_secret"].removeprefix("whsec_"), validate=True)) <= 64
    secret = made.pop("signing_secret")
    assert made["signing_secret_hint"].endswith(secret[-4:])
    place = f"/v1/webhook_endpoints/{made['id']}"
    assert alice.get(place).json == made
    WebhookEndpoint.model_validate(alice.get(place).json, strict=True)
    changed = alice.post(place, json={"name": "other", "url": "https://other.example.com/"}).json
    assert (changed["name"], changed["url"]) == ("other", "https://other.example.com/")
    assert changed["event_types"] == made["event_types"]
    gone = alice.delete(place).json
    DeletedWebhookEndpoint.model_validate(gone, strict=True)
    assert gone == {"id": made["id"], "object": "webhook_endpoint.deleted", "deleted": True}
    assert alice.get(place).status_code == alice.delete(place).status_code == 404


def test_endpoints_are_listed_in_pages_newest_first(alice: Person) -> None:
    made = [create(alice, name=f"n{n}")["id"] for n in range(3)]
    first = alice.get("/v1/webhook_endpoints?limit=2").json
    WebhookEndpointList.model_validate(first, strict=True)
    assert ([one["id"] for one in first["data"]], first["has_more"]) == ([made[2], made[1]], True)
    second = alice.get(f"/v1/webhook_endpoints?limit=2&after={first['last_id']}").json
    assert ([one["id"] for one in second["data"]], second["has_more"]) == ([made[0]], False)
    assert "signing_secret" not in first["data"][0]


def test_the_types_of_events_are_listed(alice: Person) -> None:
    assert alice.get("/v1/webhook_event_types").json == {"object": "list", "data": list(EVENT_TYPES)}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("url", "http://hooks.example.com/"),
        ("url", "https://127.0.0.1/"),
        ("url", "https://[::ffff:10.0.0.1]/"),
        ("url", "https://0x7f000001/"),
        ("url", "https://169.254.169.254/latest"),
        ("url", "https://user:pw@hooks.example.com/"),
        ("url", "https://hooks.example.com:22/"),
        ("url", "https://hooks.example.com/\r\nHost: other"),
        ("url", "https://hooks.example.com/" + "a" * 2048),
        ("url", ""),
        ("url", 7),
        ("url", None),
        ("name", ""),
        ("name", "x" * 201),
        ("event_types", []),
        ("event_types", ["batch.completed"]),
        ("event_types", ["response.completed"] * 50),
        ("event_types", "response.completed"),
        ("secret", "whsec_mine"),
    ],
)
def test_a_bad_field_is_refused_in_openais_form(alice: Person, field: str, value: Any) -> None:
    body = {"name": "mine", "url": URL, "event_types": ["response.completed"], field: value}
    answer = alice.post("/v1/webhook_endpoints", json=body)
    assert answer.status_code == 400, answer.text
    error = answer.json["error"]
    assert error["type"] == "invalid_request_error"
    assert error["param"].startswith(field), error
    assert alice.get("/v1/webhook_endpoints").json["data"] == []


@pytest.mark.parametrize("field", ["name", "url"])
def test_a_text_that_cannot_be_stored_is_refused(alice: Person, field: str) -> None:
    body = {"name": "mine", "url": URL, "event_types": ["response.completed"]}
    for text in ("a\0b", "a\ud800b"):
        assert alice.post("/v1/webhook_endpoints", json={**body, field: text}).status_code == 400


def test_the_refusal_of_an_address_names_the_setting(alice: Person) -> None:
    refused = {
        "https://10.1.2.3/": "WEBHOOK_ALLOWED_NETWORKS",
        "http://hooks.example.com/": "WEBHOOK_ALLOW_HTTP",
        "https://hooks.example.com:9000/": "WEBHOOK_PORTS",
    }
    for url, setting in refused.items():
        answer = alice.post("/api/v1/generations", json={"message": "hi", "webhook_url": url})
        assert (answer.status_code, answer.json["errors"][0]["field"]) == (422, "webhook_url")
        assert setting in answer.json["detail"]


@pytest.mark.usefixtures("patient_locks")
def test_a_user_has_so_many_endpoints_and_no_more(make_app: Any) -> None:
    person = Person(make_app(max_webhook_endpoints_per_user=2).test_client(), "alice")
    threads = [Thread(target=person.post, args=("/v1/webhook_endpoints",), kwargs={"json": {
        "name": "n", "url": URL, "event_types": ["response.completed"]}}) for _ in range(4)]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(person.get("/v1/webhook_endpoints").json["data"]) == 2
    refused = person.post("/v1/webhook_endpoints", json={"name": "n", "url": URL, "event_types": [EVENT_TYPES[0]]})
    assert refused.status_code == 409
    assert "MAX_WEBHOOK_ENDPOINTS_PER_USER" in refused.json["error"]["message"]


def test_a_rotated_secret_keeps_the_old_one_for_a_day_where_that_is_wanted(alice: Person, resources: Resources) -> None:
    made = create(alice)
    place = f"/v1/webhook_endpoints/{made['id']}"
    kept = alice.post(f"{place}/rotate_secret", json={"keep_old_secret_active_for_24_hours": True}).json
    WebhookEndpointWithSecret.model_validate(kept, strict=True)
    row = stored(resources, made["id"])
    assert (row.secret, row.previous_secret) == (kept["signing_secret"], made["signing_secret"])
    assert 86_000 < row.left < 86_401
    again = alice.post(f"{place}/rotate_secret").json
    row = stored(resources, made["id"])
    assert (row.secret, row.previous_secret) == (again["signing_secret"], None)
    # Another change leaves the secret alone.
    alice.post(place, json={"name": "other"})
    assert stored(resources, made["id"]).secret == again["signing_secret"]


def stored(resources: Resources, shown: str) -> Any:
    with resources.database.system() as tx:
        return fetch_one(
            tx,
            """SELECT secret, previous_secret, extract(epoch FROM previous_secret_until - now()) AS left
               FROM webhook_endpoints WHERE CAST(id AS text) = :id""",
            id=f"{shown[3:11]}-{shown[11:15]}-{shown[15:19]}-{shown[19:23]}-{shown[23:]}",
        )


def test_an_unchanged_update_does_not_advance_the_time(alice: Person, resources: Resources) -> None:
    made = create(alice)
    with resources.database.system() as tx:
        execute(tx, "UPDATE webhook_endpoints SET updated_at = now() - interval '1 hour'")
    place = f"/v1/webhook_endpoints/{made['id']}"
    earlier = alice.get(place).json["updated_at"]
    assert alice.post(place, json={"name": "mine"}).json["updated_at"] == earlier
    assert alice.post(place, json={}).json["updated_at"] == earlier
    assert alice.post(place, json={"name": "new"}).json["updated_at"] > earlier


def test_another_users_endpoint_looks_like_none(alice: Person, bob: Person) -> None:
    place = f"/v1/webhook_endpoints/{create(bob)['id']}"
    requests = [
        ("GET", place), ("POST", place), ("DELETE", place), ("POST", f"{place}/rotate_secret"),
    ]  # fmt: skip
    for method, path in requests:
        answer = alice._ask(method, path, {})
        nothing = alice._ask(method, path.replace(place, f"/v1/webhook_endpoints/we_{UNKNOWN.replace('-', '')}"), {})
        assert (answer.status_code, answer.data) == (404, nothing.data)
    assert alice.post(f"{place}/test", json={"event_type": EVENT_TYPES[0]}).status_code == 404
    assert bob.get(place).status_code == 200


def test_an_endpoint_that_was_switched_off_is_on_after_an_update(alice: Person, resources: Resources) -> None:
    made = create(alice)
    place = f"/v1/webhook_endpoints/{made['id']}"
    with resources.database.system() as tx:
        execute(tx, "UPDATE webhook_endpoints SET disabled_at = now(), disabled_reason = 'it has answered 410'")
    assert alice.get(place).json["disabled_reason"] == "it has answered 410"
    assert alice.post(f"{place}/test", json={"event_type": EVENT_TYPES[0]}).status_code == 409
    assert "disabled_reason" not in alice.post(place, json={}).json
    finished(resources, alice)
    assert len(of_user(alice)) == 1


# --- the test of an endpoint -----------------------------------------------------------------------------------------


@contextmanager
def sender(resources: Resources, status: int | None) -> Iterator[None]:
    """A sender that attempts the first test it finds."""

    def send() -> None:
        def find() -> Any:
            with resources.database.system() as tx:
                return fetch(tx, "SELECT id FROM webhook_deliveries WHERE is_test AND state = 'waiting'")

        (row,) = until(find, 60)
        attempt(resources, row.id, "delivered" if status == 200 else "dead", status=status)
        resources.mailbox.reply(row.id, b"1")

    thread = Thread(target=send)
    thread.start()
    yield
    thread.join(60)


@pytest.mark.parametrize("status", [200, 503])
def test_a_test_returns_the_status_of_the_receiver(alice: Person, resources: Resources, status: int) -> None:
    made = create(alice)
    with sender(resources, status):
        answer = alice.post(f"/v1/webhook_endpoints/{made['id']}/test", json={"event_type": "response.failed"})
    WebhookEndpointTestResult.model_validate(answer.json, strict=True)
    assert answer.json == {
        "object": "webhook_endpoint.test",
        "event_type": "response.failed",
        "status_code": status,
        "success": True,
        "webhook_endpoint_id": made["id"],
    }
    (shown,) = of_user(alice)
    assert (shown["is_test"], shown["event_type"], shown["generation_id"]) == (True, "response.failed", None)


def test_a_test_without_a_response_is_an_error_that_is_not_repeated(alice: Person, resources: Resources) -> None:
    made = create(alice)
    with sender(resources, None):
        answer = alice.post(f"/v1/webhook_endpoints/{made['id']}/test", json={"event_type": "response.failed"})
    assert (answer.status_code, answer.headers["x-should-retry"]) == (502, "false")
    assert "the connection was refused" in answer.json["error"]["message"]


def test_a_test_that_no_worker_sends_ends(alice: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook_test, "TEST_SECONDS", 0.2)
    made = create(alice)
    answer = alice.post(f"/v1/webhook_endpoints/{made['id']}/test", json={"event_type": "response.failed"})
    assert (answer.status_code, answer.json["error"]["code"]) == (504, "webhook_test_not_sent")
    (shown,) = of_user(alice)
    assert (shown["state"], shown["reason"]) == ("dead", "not_sent")
    assert alice.post(f"/api/v1/webhook-deliveries/{shown['id']}/replay").status_code == 409


# --- the secret of single requests -----------------------------------------------------------------------------------


def test_a_user_has_one_secret_and_rotates_it(alice: Person, bob: Person) -> None:
    first = alice.get("/api/v1/webhook-secret").json
    assert first["secret"].startswith("whsec_")
    assert alice.get("/api/v1/webhook-secret").json == first
    assert bob.get("/api/v1/webhook-secret").json["secret"] != first["secret"]
    second = alice.post("/api/v1/webhook-secret", json={"keep_old_secret_active_for_24_hours": True}).json
    assert second["secret"] != first["secret"]
    assert datetime.fromisoformat(second["previous_until"]) > datetime.now(UTC) + timedelta(hours=23)
    third = alice.post("/api/v1/webhook-secret").json
    assert datetime.fromisoformat(third["previous_until"]) <= datetime.now(UTC)


def test_a_request_with_a_receiver_makes_the_secret_that_will_sign(alice: Person, resources: Resources) -> None:
    alice.start(webhook_url=URL)
    with resources.database.system() as tx:
        sql = "SELECT s.secret FROM webhook_secrets s JOIN users u ON u.id = s.user_id WHERE u.subject = :subject"
        row = fetch_one(tx, sql, subject=alice.subject)
    assert row is not None
    assert alice.get("/api/v1/webhook-secret").json["secret"] == row.secret


def test_a_requeued_answer_has_the_receiver_of_the_failed_one(alice: Person, resources: Resources) -> None:
    admin = operator(alice, "admin")
    failed = alice.start(webhook_url=URL)["generation"]["id"]
    assert admin.post(f"/api/v1/ops/generations/{failed}/fail").status_code == 200
    again = admin.post(f"/api/v1/ops/generations/{failed}/requeue").json["id"]
    Hand(resources, again).run("Hello")
    assert [(one["generation_id"], one["event_type"]) for one in of_user(alice)] == [
        (again, "response.completed"),
        (failed, "response.failed"),
    ]


# --- deliveries ------------------------------------------------------------------------------------------------------


def test_a_delivery_is_shown_with_its_attempts(alice: Person, resources: Resources) -> None:
    generation = finished(resources, alice, webhook_url=URL)
    (shown,) = of_user(alice)
    assert (shown["state"], shown["url"], shown["generation_id"]) == ("waiting", URL, generation["id"])
    assert (shown["endpoint_id"], shown["attempts"], shown["attempt_count"]) == (None, [], 0)
    attempt(resources, shown["id"], "waiting", status=None)
    attempt(resources, shown["id"], "dead")
    (shown,) = of_user(alice, state="dead")
    assert [(one["n"], one["status"], one["error"], one["excerpt"]) for one in shown["attempts"]] == [
        (1, None, "the connection was refused", "oops"),
        (2, 500, None, "oops"),
    ]
    assert (shown["reason"], shown["next_attempt_at"]) == ("attempts_exhausted", None)
    assert alice.get(f"/api/v1/webhook-deliveries/{shown['id']}").json == shown


def test_deliveries_are_found_by_state_and_endpoint_in_pages(alice: Person, bob: Person, resources: Resources) -> None:
    one, other = create(alice)["id"], create(alice)["id"]
    finished(resources, alice)
    finished(resources, alice, webhook_url=URL)
    assert {shown["endpoint_id"] for shown in of_user(alice)} == {one, other, None}
    assert len(of_user(alice, endpoint=one)) == 2
    attempt(resources, of_user(alice, endpoint=one)[0]["id"], "delivered", status=200)
    assert len(of_user(alice, endpoint=one, state="delivered")) == len(of_user(alice, state="delivered")) == 1
    seen, cursor = [], ""
    while cursor is not None:
        page = alice.get(f"/api/v1/webhook-deliveries?limit=2{'&cursor=' + cursor if cursor else ''}").json
        seen += [shown["id"] for shown in page["items"]]
        cursor = page["next_cursor"]
    assert seen == sorted(seen, reverse=True)
    assert len(set(seen)) == 5
    assert of_user(bob) == of_user(bob, endpoint=one) == []


@pytest.mark.parametrize("query", ["state=gone", "endpoint=nothing", "cursor=x", "limit=0", "limit=1000"])
def test_a_bad_filter_is_refused(alice: Person, query: str) -> None:
    assert alice.get(f"/api/v1/webhook-deliveries?{query}").status_code == 422


def test_a_replay_sends_the_same_event_by_a_schedule_from_its_beginning(alice: Person, resources: Resources) -> None:
    finished(resources, alice, webhook_url=URL)
    (first,) = of_user(alice)
    attempt(resources, first["id"], "dead")
    answer = alice.post(f"/api/v1/webhook-deliveries/{first['id']}/replay")
    assert answer.status_code == 202
    assert (answer.json["state"], answer.json["event_id"], answer.json["reason"]) == (
        "waiting",
        first["event_id"],
        None,
    )
    with resources.database.system() as tx:
        row = fetch_one(tx, "SELECT * FROM webhook_deliveries WHERE id = :id", id=first["id"])
    assert row is not None
    assert (row.attempts, row.attempts_before, row.claimed_until) == (1, 1, None)
    assert alice.post(f"/api/v1/webhook-deliveries/{first['id']}/replay").status_code == 202, "it waits already"


def test_a_replay_goes_to_the_address_that_the_endpoint_has_now(alice: Person, resources: Resources) -> None:
    made = create(alice)
    finished(resources, alice)
    finished(resources, alice)
    waiting, dead = of_user(alice)
    attempt(resources, dead["id"], "dead")
    alice.post(f"/v1/webhook_endpoints/{made['id']}", json={"url": "https://new.example.com/"})
    alice.post(f"/api/v1/webhook-deliveries/{dead['id']}/replay")
    assert [one["url"] for one in of_user(alice)] == ["https://new.example.com/"] * 2
    alice.delete(f"/v1/webhook_endpoints/{made['id']}")
    assert [(one["state"], one["reason"]) for one in of_user(alice)] == [("dead", "endpoint_gone")] * 2
    refused = alice.post(f"/api/v1/webhook-deliveries/{waiting['id']}/replay")
    assert refused.status_code == 409
    assert "deleted or switched off" in refused.json["detail"]


def test_a_range_is_replayed_and_nothing_else(alice: Person, bob: Person, resources: Resources) -> None:
    made = create(alice)["id"]
    begun = datetime.now(UTC)
    for person in (alice, alice, bob):
        finished(resources, person, webhook_url=URL)
    every = of_user(alice) + of_user(bob)
    for shown in every:
        attempt(resources, shown["id"], "dead")
    delivered = finished(resources, alice)
    attempt(resources, next(d for d in of_user(alice) if d["generation_id"] == delivered["id"])["id"], "delivered")
    late = {"since": (begun - timedelta(days=2)).isoformat(), "until": (begun - timedelta(days=1)).isoformat()}
    assert alice.post("/api/v1/webhook-deliveries/replay", json=late).json == {"replayed": 0, "has_more": False}
    now = {"since": (begun - timedelta(hours=1)).isoformat(), "until": (begun + timedelta(hours=1)).isoformat()}
    answer = alice.post("/api/v1/webhook-deliveries/replay", json={**now, "endpoint": made})
    assert answer.json == {"replayed": 2, "has_more": False}
    assert alice.post("/api/v1/webhook-deliveries/replay", json=now).json["replayed"] == 2
    assert {shown["state"] for shown in of_user(alice)} == {"waiting", "delivered"}
    assert [shown["state"] for shown in of_user(bob)] == ["dead"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"since": "2026-01-01T00:00:00Z"},
        {"since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"},
        {"since": "2026-01-01T00:00:00", "until": "2026-01-02T00:00:00Z"},
        {"since": "x", "until": "2026-01-02T00:00:00Z"},
        {"since": "2026-01-01T00:00:00Z", "until": "2026-01-02T00:00:00Z", "state": "waiting"},
        {"since": "2026-01-01T00:00:00Z", "until": "2026-01-02T00:00:00Z", "endpoint": "we_1"},
    ],
)
def test_a_bad_range_is_refused(alice: Person, body: dict[str, str]) -> None:
    assert alice.post("/api/v1/webhook-deliveries/replay", json=body).status_code in (400, 422)


@pytest.mark.parametrize(
    ("since", "status"),
    [("1271-07-31T23:52:56-23:52", 202), ("0001-01-01T00:00:00+23:00", 422), ("0001-01-01T00:00:00Z", 202)],
)
def test_a_range_may_begin_at_any_time_that_there_is(alice: Person, since: str, status: int) -> None:
    body = {"since": since, "until": "9999-12-31T23:59:59Z"}
    assert alice.post("/api/v1/webhook-deliveries/replay", json=body).status_code == status


def test_a_replay_keeps_the_bound_of_waiting_deliveries(make_app: Any, of_workers: Any) -> None:
    app: OpenAPI = make_app(max_webhooks_waiting_per_user=2)
    person, resources = Person(app.test_client(), "alice"), of_workers(app)
    for _ in range(4):
        finished(resources, person, webhook_url=URL)
    assert [(one["state"], one["reason"]) for one in of_user(person)] == [("dead", "too_many_waiting")] * 2 + [
        ("waiting", None)
    ] * 2
    made = create(person)["id"]
    test = person.post(f"/v1/webhook_endpoints/{made}/test", json={"event_type": "response.failed"})
    assert test.status_code == 409
    assert "MAX_WEBHOOKS_WAITING_PER_USER" in test.json["error"]["message"]
    dead, waiting = of_user(person, state="dead"), of_user(person, state="waiting")
    refused = person.post(f"/api/v1/webhook-deliveries/{dead[0]['id']}/replay")
    assert refused.status_code == 409
    assert "MAX_WEBHOOKS_WAITING_PER_USER" in refused.json["detail"]
    attempt(resources, waiting[0]["id"], "delivered", status=200)
    every = {"since": "2026-01-01T00:00:00Z", "until": "2100-01-01T00:00:00Z"}
    assert person.post("/api/v1/webhook-deliveries/replay", json=every).json == {"replayed": 1, "has_more": True}
    assert len(of_user(person, state="waiting")) == 2


def test_another_users_delivery_looks_like_none(alice: Person, bob: Person, resources: Resources) -> None:
    finished(resources, bob, webhook_url=URL)
    place = f"/api/v1/webhook-deliveries/{of_user(bob)[0]['id']}"
    for method, path in (("GET", place), ("POST", f"{place}/replay")):
        answer = alice._ask(method, path, {})
        nothing = alice._ask(method, path.replace(place, f"/api/v1/webhook-deliveries/{UNKNOWN}"), {})
        answer.json.pop("request_id")
        assert answer.status_code == nothing.status_code == 404
        assert answer.json["detail"] == nothing.json["detail"]


def test_old_deliveries_are_removed_with_their_attempts(alice: Person, resources: Resources) -> None:
    for _ in range(2):
        finished(resources, alice, webhook_url=URL)
    new, old = of_user(alice)
    attempt(resources, old["id"], "dead")
    with resources.database.system() as tx:
        execute(tx, "UPDATE webhook_deliveries SET finished_at = now() - interval '31 days' WHERE state = 'dead'")
        execute(tx, "UPDATE webhook_deliveries SET created_at = now() - interval '60 days' WHERE state = 'waiting'")
    resources.webhook_deliveries.prune()
    assert [one["id"] for one in of_user(alice)] == [new["id"]], "what waits is kept"
    with resources.database.system() as tx:
        assert fetch(tx, "SELECT FROM webhook_attempts WHERE delivery_id = :id", id=old["id"]) == []


# --- operators -------------------------------------------------------------------------------------------------------


def test_operators_see_deliveries_without_bodies_and_paths(alice: Person, resources: Resources) -> None:
    generation = finished(resources, alice, webhook_url="https://hooks.example.com:8443/a-secret-path?token=secret")
    (own,) = of_user(alice)
    attempt(resources, own["id"], "dead", status=None)
    olga = operator(alice, "operator")
    answer = olga.get(f"/api/v1/ops/webhook-deliveries?user={alice.subject}&state=dead")
    assert answer.status_code == 200, answer.text
    (shown,) = answer.json["items"]
    assert shown["url"] == "https://hooks.example.com:8443"
    assert (shown["subject"], shown["generation_id"], shown["attempt_count"]) == (alice.subject, generation["id"], 1)
    assert (shown["last_status"], shown["last_error"]) == (None, "the connection was refused")
    assert "secret" not in answer.text
    assert "excerpt" not in answer.text
    assert olga.get(f"/api/v1/ops/webhook-deliveries?user={alice.subject}&state=waiting").json["items"] == []
    assert olga.get("/api/v1/ops/webhook-deliveries?user=nobody-of-this-name").json["items"] == []
    assert alice.get("/api/v1/ops/webhook-deliveries").status_code == 403


def test_administrators_send_a_delivery_again_and_the_audit_says_so(alice: Person, resources: Resources) -> None:
    finished(resources, alice, webhook_url=URL)
    (own,) = of_user(alice)
    attempt(resources, own["id"], "dead")
    place = f"/api/v1/ops/webhook-deliveries/{own['id']}/replay"
    assert operator(alice, "operator").post(place).status_code == 403
    admin = operator(alice, "admin")
    answer = admin.post(place, json={"reason": "the receiver was down"})
    assert (answer.status_code, answer.json["state"]) == (202, "waiting")
    (row,) = admin.get(f"/api/v1/ops/audit?object={own['id']}").json["items"]
    assert (row["action"], row["details"]) == ("webhook_delivery.replayed", {"reason": "the receiver was down"})
    assert admin.post(place.replace(own["id"], UNKNOWN)).status_code == 404


def test_everything_is_audited_without_a_secret(alice: Person) -> None:
    made = create(alice)
    place = f"/v1/webhook_endpoints/{made['id']}"
    rotated = alice.post(f"{place}/rotate_secret").json
    alice.post(place, json={"name": "other"})
    own = alice.post("/api/v1/webhook-secret").json["secret"]
    alice.delete(place)
    answer = alice.get("/api/v1/me/audit")
    assert [row["action"] for row in answer.json["items"]] == [
        "webhook_endpoint.deleted",
        "webhook_secret.rotated",
        "webhook_endpoint.changed",
        "webhook_secret.rotated",
        "webhook_endpoint.created",
    ]
    assert not any(secret in answer.text for secret in (made["signing_secret"], rotated["signing_secret"], own))
