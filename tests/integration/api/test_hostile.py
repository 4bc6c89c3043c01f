"""Invalid requests are refused with the right status and a problem that names the field, and nothing is written."""

from __future__ import annotations

import base64
import json
from typing import Any
from uuid import uuid4

import pytest
from flask.testing import FlaskClient

from app.api.representations.models import ModelList
from app.wiring import Resources

from .conftest import Person, row_counts

START = "/api/v1/generations"
UNKNOWN = "01890000-0000-7000-8000-000000000000"


def is_problem(answer: Any, status: int, field: str | None = None) -> bool:
    """True for a refusal in the form of a problem."""
    assert answer.status_code == status, answer.text
    assert answer.content_type == "application/problem+json"
    body = answer.json
    assert body.keys() == {"type", "title", "status", "detail", "errors", "request_id"}
    assert body["status"] == status
    assert body["detail"]
    assert body["request_id"] == answer.headers["x-request-id"]
    assert "Traceback" not in answer.text
    if field is not None:
        assert field in [error["field"] for error in body["errors"]], body
    return True


BODIES: list[tuple[str, Any, int, str | None]] = [
    ("empty message", {"message": ""}, 422, "message"),
    ("only spaces", {"message": " \n\t\u3000"}, 422, "message"),
    ("no message", {}, 422, "message"),
    ("null", {"message": None}, 422, "message"),
    ("a number", {"message": 5}, 422, "message"),
    ("a list", {"message": ["hi"]}, 422, "message"),
    ("an object", {"message": {"text": "hi"}}, 422, "message"),
    ("true", {"message": True}, 422, "message"),
    ("10,001 characters", {"message": "x" * 10_001}, 422, "message"),
    ("10,001 characters outside the basic plane", {"message": "🦜" * 10_001}, 422, "message"),
    ("NUL", {"message": "a\0b"}, 422, "message"),
    ("half a surrogate pair", {"message": "a\ud800b"}, 422, "message"),
    ("an unknown field", {"message": "hi", "mesage": "hi"}, 422, "mesage"),
    ("a webhook without TLS", {"message": "hi", "webhook_url": "http://localhost"}, 422, "webhook_url"),
    ("a conversation that is no id", {"message": "hi", "conversation_id": "1"}, 422, "conversation_id"),
    ("a conversation that is a number", {"message": "hi", "conversation_id": 1}, 422, "conversation_id"),
    ("a parent that is no id", {"message": "hi", "parent_id": "'; drop table"}, 422, "parent_id"),
    ("a parent without a conversation", {"message": "hi", "parent_id": UNKNOWN}, 422, "parent_id"),
    ("a model that is not there", {"message": "hi", "model": "no-such-model"}, 422, "model"),
    ("a model with NUL", {"message": "hi", "model": "off\0line"}, 422, "model"),
    ("an empty model", {"message": "hi", "model": ""}, 422, "model"),
    ("stream as text", {"message": "hi", "stream": "true"}, 422, "stream"),
    ("stream as number", {"message": "hi", "stream": 1}, 422, "stream"),
    ("an unknown policy", {"message": "hi", "on_busy": "explode"}, 422, "on_busy"),
    ("an empty key", {"message": "hi", "client_msg_id": ""}, 422, "client_msg_id"),
    ("a long key", {"message": "hi", "client_msg_id": "k" * 201}, 422, "client_msg_id"),
    ("a key with NUL", {"message": "hi", "client_msg_id": "k\0"}, 422, "client_msg_id"),
    ("metadata as list", {"message": "hi", "metadata": []}, 422, "metadata"),
    ("metadata with a number", {"message": "hi", "metadata": {"a": 1}}, 422, "metadata.a"),
    ("17 pairs", {"message": "hi", "metadata": {str(n): "" for n in range(17)}}, 422, "metadata"),
    ("a long name in metadata", {"message": "hi", "metadata": {"k" * 65: ""}}, 422, None),
    ("a long value in metadata", {"message": "hi", "metadata": {"k": "v" * 513}}, 422, "metadata.k"),
    ("NUL in metadata", {"message": "hi", "metadata": {"k": "\0"}}, 422, "metadata.k"),
    ("half a pair as a name in metadata", {"message": "hi", "metadata": {"\ud800": "v"}}, 422, None),
    ("a conversation that is not there", {"message": "hi", "conversation_id": UNKNOWN}, 404, None),
]


@pytest.mark.parametrize(("body", "status", "field"), [case[1:] for case in BODIES], ids=[case[0] for case in BODIES])
def test_a_bad_body_is_refused_and_nothing_is_written(
    alice: Person, resources: Resources, body: Any, status: int, field: str | None
):
    before = row_counts(resources)
    answer = alice.post(START, data=json.dumps(body), content_type="application/json")
    assert is_problem(answer, status, field)
    assert row_counts(resources) == before


RAW: list[tuple[str, bytes, str | None, int]] = [
    ("broken JSON", b'{"message": "hi"', "application/json", 400),
    ("nothing", b"", "application/json", 400),
    ("nothing at all", b"", None, 400),
    ("a list", b'["hi"]', "application/json", 400),
    ("a string that holds JSON", b'"{\\"message\\": \\"hi\\"}"', "application/json", 400),
    ("null", b"null", "application/json", 400),
    ("NaN", b'{"message": NaN}', "application/json", 400),
    ("bytes that are not UTF-8", b'{"message": "\xff"}', "application/json", 400),
    ("UTF-16", '{"message": "hi"}'.encode("utf-16"), "application/json", 400),
    ("a deep nest", b"[" * 200_000, "application/json", 400),
    ("a long number", b'{"message": ' + b"1" * 10_000 + b"}", "application/json", 400),
    ("a form", b"message=hi", "application/x-www-form-urlencoded", 415),
    ("plain text", b'{"message": "hi"}', "text/plain", 415),
    ("no type", b'{"message": "hi"}', None, 415),
    ("two megabytes", b'{"message": "' + b"x" * 2_000_000 + b'"}', "application/json", 413),
]


@pytest.mark.parametrize(("data", "kind", "status"), [case[1:] for case in RAW], ids=[case[0] for case in RAW])
def test_what_cannot_be_read_is_refused_and_nothing_is_written(
    alice: Person, resources: Resources, data: bytes, kind: str | None, status: int
):
    before = row_counts(resources)
    assert is_problem(alice.post(START, data=data, content_type=kind), status)
    assert row_counts(resources) == before


def test_a_body_without_a_length_is_measured_too(alice: Person):
    import io

    answer = alice.post(
        START,
        input_stream=io.BytesIO(b'{"message": "' + b"x" * 2_000_000 + b'"}'),
        content_type="application/json",
        environ_overrides={"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"},
    )
    assert is_problem(answer, 413)


def test_the_longest_message_is_taken(alice: Person):
    assert alice.start("🦜" * 10_000)["message"]["content"] == "🦜" * 10_000


KEYS = [("k" * 201, "Idempotency-Key"), ("a\tb", "Idempotency-Key"), ("other", "client_msg_id")]


@pytest.mark.parametrize(("key", "field"), KEYS)
def test_a_bad_key_in_the_header_is_refused(alice: Person, resources: Resources, key: str, field: str):
    before = row_counts(resources)
    answer = alice.post(START, json={"message": "hi", "client_msg_id": "k"}, headers={"Idempotency-Key": key})
    assert is_problem(answer, 422, field)
    assert row_counts(resources) == before


CURSORS = ["", "1", "1-", "-1-0", "a-b", "01-0", "1-00", "1 -0", " 1-0", "1-0 ", "1-0-0", "1–0", "9" * 30 + "-0", "5-0"]


@pytest.mark.parametrize("cursor", CURSORS)
def test_a_bad_position_is_refused_by_name(alice: Person, cursor: str):
    made = alice.start()
    path = f"{START}/{made['generation']['id']}"
    assert is_problem(alice.get(path, query_string={"after": cursor}), 400, "after")
    assert is_problem(alice.get(f"{path}/stream", query_string={"after": cursor}), 400, "after")


def test_a_bad_position_in_the_header_is_refused_by_name(alice: Person):
    made = alice.start()
    answer = alice.get(f"{START}/{made['generation']['id']}/stream", headers={"Last-Event-ID": "x"})
    assert is_problem(answer, 400, "Last-Event-ID")


def list_cursor(at: str) -> str:
    """A cursor of a list in the service's form, with the given time."""
    return base64.urlsafe_b64encode(f"{at} {UNKNOWN}".encode()).decode().rstrip("=")


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2026-01-01T00:00:00"])
@pytest.mark.parametrize("path", ["/api/v1/conversations", "/api/v1/search"])
def test_a_time_that_is_none_here_is_no_cursor(alice: Person, path: str, at: str):
    assert is_problem(alice.get(path, query_string={"q": "hello", "cursor": list_cursor(at)}), 400, "cursor")


@pytest.mark.parametrize("at", ["2026-01-01T00:00:00+23:59", "2026-01-01T00:00:00-23:59"])
@pytest.mark.parametrize("path", ["/api/v1/conversations", "/api/v1/search"])
def test_a_time_far_away_from_greenwich_is_a_time(alice: Person, path: str, at: str):
    assert alice.get(path, query_string={"q": "hello", "cursor": list_cursor(at)}).json["items"] == []


QUERIES = [
    ("/api/v1/conversations?limit=0", 422, "limit"),
    ("/api/v1/conversations?limit=101", 422, "limit"),
    ("/api/v1/conversations?limit=ten", 422, "limit"),
    ("/api/v1/conversations?limit=1&limit=2", 422, "limit"),
    ("/api/v1/conversations?archived=perhaps", 422, "archived"),
    ("/api/v1/conversations?cursor=rubbish", 400, "cursor"),
    ("/api/v1/conversations?cursor=%ff%fe", 400, "cursor"),
    ("/api/v1/conversations?model=%00", 422, "model"),
    (f"{START}/{{id}}?wait=31", 422, "wait"),
    (f"{START}/{{id}}?wait=-1", 422, "wait"),
    (f"{START}/{{id}}?wait=nan", 422, "wait"),
    (f"{START}/{{id}}?wait=soon", 422, "wait"),
    ("/api/v1/conversations/{conversation}/messages?after_seq=-1", 422, "after_seq"),
    ("/api/v1/conversations/{conversation}/messages?after_seq=99999999999", 422, "after_seq"),
    ("/api/v1/conversations/{conversation}/messages?limit=201", 422, "limit"),
]


@pytest.mark.parametrize(("path", "status", "field"), QUERIES)
def test_a_bad_query_is_refused_by_name(alice: Person, path: str, status: int, field: str):
    made = alice.start()
    ids = {"id": made["generation"]["id"], "conversation": made["conversation"]["id"]}
    assert is_problem(alice.get(path.format(**ids)), status, field)


CHANGES: list[tuple[dict[str, Any], str]] = [
    ({"title": ""}, "title"),
    ({"title": "  "}, "title"),
    ({"title": "t" * 201}, "title"),
    ({"title": "a\0"}, "title"),
    ({"title": 1}, "title"),
    ({"archived": "yes"}, "archived"),
    ({"archived": 1}, "archived"),
    ({"model": "no-such-model"}, "model"),
    ({"owner": "me"}, "owner"),
]


@pytest.mark.parametrize(("change", "field"), CHANGES)
def test_a_bad_change_is_refused_by_name(alice: Person, change: dict[str, Any], field: str):
    made = alice.start()
    path = f"/api/v1/conversations/{made['conversation']['id']}"
    assert is_problem(alice.patch(path, json=change), 422, field)
    assert alice.get(path).json["title"] is None


THINGS = [
    ("get", f"{START}/{{generation}}"),
    ("get", f"{START}/{{generation}}?after=0-0&wait=1"),
    ("get", f"{START}/{{generation}}/stream"),
    ("get", f"{START}/{{generation}}/stream?after=7-7"),
    ("post", f"{START}/{{generation}}/cancel"),
    ("get", "/api/v1/conversations/{conversation}"),
    ("patch", "/api/v1/conversations/{conversation}"),
    ("delete", "/api/v1/conversations/{conversation}"),
    ("get", "/api/v1/conversations/{conversation}/messages"),
    ("get", "/api/v1/conversations/{conversation}/status"),
    ("post", "/api/v1/messages/{message}/edit"),
    ("post", "/api/v1/messages/{answer}/regenerate"),
]


@pytest.mark.parametrize(("method", "path"), THINGS)
def test_what_belongs_to_others_is_like_what_does_not_exist(
    alice: Person, bob: Person, resources: Resources, method: str, path: str
):
    made = alice.start()
    own = {
        "generation": made["generation"]["id"],
        "conversation": made["conversation"]["id"],
        "message": made["message"]["message_id"],
        "answer": made["generation"]["message_id"],
    }
    before = row_counts(resources)
    options: dict[str, Any] = {"json": {"message": "mine?"}} if path.endswith("/edit") else {}
    if method == "patch":
        options = {"json": {"title": "mine"}}
    answers = []
    for ids in (own, dict.fromkeys(own, UNKNOWN), dict.fromkeys(own, "not-an-id"), dict.fromkeys(own, "%00")):
        answer = getattr(bob, method)(path.format(**ids), **options)
        assert is_problem(answer, 404)
        answers.append({**answer.json, "request_id": None})
    assert all(answer == answers[0] for answer in answers)
    assert row_counts(resources) == before
    assert alice.get(f"{START}/{own['generation']}").json["status"] == "queued"


def test_somebody_elses_conversation_cannot_be_written_to(alice: Person, bob: Person, resources: Resources):
    made = alice.start()
    before = row_counts(resources)
    answer = bob.post(START, json={"message": "hi", "conversation_id": made["conversation"]["id"]})
    assert is_problem(answer, 404)
    assert row_counts(resources) == before


def test_somebody_elses_message_is_no_parent(alice: Person, bob: Person):
    theirs, mine = alice.start(), bob.start()
    bob.post(f"{START}/{mine['generation']['id']}/cancel")
    body = {
        "message": "hi",
        "conversation_id": mine["conversation"]["id"],
        "parent_id": theirs["message"]["message_id"],
    }
    assert is_problem(bob.post(START, json=body), 422, "parent_id")


def test_a_list_cursor_of_somebody_else_shows_nothing_of_theirs(alice: Person, bob: Person):
    for _ in range(3):
        alice.start()
    theirs = alice.get("/api/v1/conversations?limit=1").json["next_cursor"]
    assert bob.get(f"/api/v1/conversations?cursor={theirs}").json == {"items": [], "next_cursor": None, "feed_seq": 0}


def test_a_wrong_method_says_which_ones_there_are(alice: Person):
    answer = alice.delete(START)
    assert is_problem(answer, 405)
    assert {"POST", "OPTIONS"} <= set(answer.headers["Allow"].split(", "))


@pytest.mark.parametrize("path", ["/api/v1/nothing", "/api", "/nothing", "/api/v1/generations/"])
def test_an_unknown_address_is_a_problem_for_programs(alice: Person, path: str):
    assert is_problem(alice.get(path), 404)


def test_an_unknown_address_is_a_page_for_people(anybody: FlaskClient):
    answer = anybody.get("/nothing", headers={"Accept": "text/html,application/xhtml+xml"})
    assert answer.status_code == 404
    assert answer.mimetype == "text/html"
    assert is_problem(anybody.get("/api/v1/nothing", headers={"Accept": "text/html"}), 404)


def test_options_do_not_fail(anybody: FlaskClient):
    assert anybody.options(START, headers={"Origin": "https://elsewhere.example"}).status_code == 200


def test_a_mistake_of_ours_shows_no_traces(alice: Person, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ModelList, "of", lambda found: 1 / 0)
    answer = alice.get("/api/v1/models")
    assert is_problem(answer, 500)
    assert "division" not in answer.text


@pytest.mark.parametrize(("given", "kept"), [("abc-1", True), ("a b", False), ("x" * 129, False), ("{}", False)])
def test_a_sane_request_id_is_kept(anybody: FlaskClient, given: str, kept: bool):
    answer = anybody.get("/healthz", headers={"x-request-id": given})
    assert (answer.headers["x-request-id"] == given) is kept
    assert answer.headers["x-request-id"]


def test_private_answers_are_not_kept_and_not_guessed_at(alice: Person):
    answer = alice.get("/api/v1/me")
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"


def test_a_key_may_be_used_again_after_a_refusal(alice: Person):
    key = uuid4().hex
    assert alice.post(START, json={"message": "", "client_msg_id": key}).status_code == 422
    assert alice.post(START, json={"message": "hi", "client_msg_id": key}).status_code == 202
