"""Signed requests are accepted once, and refused like bad tokens when anything about them was changed."""

from __future__ import annotations

import json
import time
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from flask.testing import FlaskClient
from flask_openapi3.openapi import OpenAPI
from http_message_signatures import HTTPMessageSigner, MappingKeyResolver, algorithms
from hypothesis import given, settings
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from app.config import Settings
from dev.valkey import Valkey
from tests.signing import digest_of, sign

from .conftest import Person, make_settings, token

URL = "https://chat.example.com"
SECRET = b"k" * 40
OF_A_USER = b"u" * 32
KEYS = f"billing:{b64encode(SECRET).decode()},alices:{b64encode(OF_A_USER).decode()}@alice@example.com"
START = "/api/v1/generations"
CHECK = "/api/v1/auth/check"
REFUSAL = {"type", "title", "status", "detail", "errors"}


@pytest.fixture(scope="module", name="settings")
def settings_with_keys(module_database_url: str, valkey: Valkey) -> Settings:
    return make_settings(module_database_url, valkey.url(), hmac_keys=KEYS, public_url=URL)


@dataclass
class Program:
    """A client that signs its requests for one user."""

    client: FlaskClient
    subject: str | None = field(default_factory=lambda: f"user-{uuid4().hex[:8]}")
    secret: bytes = SECRET

    def signed(self, method: str, path: str, body: bytes = b"", sent: Any = None, **parameters: Any) -> dict[str, str]:
        """The headers of a request."""
        own = {"X-On-Behalf-Of": self.subject} if self.subject is not None else {}
        own |= {"Content-Type": "application/json"} if body else {}
        return sign(self.secret, method, URL + path, {**own, **(sent or {})}, body, **parameters)

    def send(
        self, method: str, path: str, body: bytes = b"", sent: dict[str, str] | None = None, **parameters: Any
    ) -> TestResponse:
        return self.repeat(method, path, body, self.signed(method, path, body, sent, **parameters))

    def repeat(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> TestResponse:
        return self.client.open(path, method=method, headers=headers, data=body)


@pytest.fixture
def program(app: OpenAPI) -> Program:
    return Program(app.test_client())


def message(text: str = "Tell me about tides", **fields: Any) -> bytes:
    return json.dumps({"message": text, "model": "offline", **fields}).encode()


def refusal(answer: TestResponse) -> dict[str, Any]:
    assert answer.status_code == 401, answer.text
    return {name: value for name, value in answer.json.items() if name in REFUSAL}


def as_of_a_bad_token(client: FlaskClient) -> dict[str, Any]:
    return refusal(client.post(CHECK, headers={"Authorization": f"Bearer {token(secret='x' * 40)}"}))


def test_a_signed_request_acts_for_the_user_that_it_names(program: Program):
    made = program.send("POST", START, message())
    assert made.status_code == 202, made.text
    path = f"{START}/{made.json['generation']['id']}"
    assert program.send("GET", f"{path}?after=0-0").json["status"] == "queued"
    assert Person(program.client, str(program.subject)).get(path).status_code == 200
    assert Person(program.client, "somebody").get(path).status_code == 404
    assert program.send("POST", f"{path}/cancel").status_code in (200, 202)


def test_a_key_of_a_user_acts_for_that_user(app: OpenAPI):
    program = Program(app.test_client(), None, OF_A_USER)
    made = program.send("POST", START, message(), keyid="alices")
    assert made.status_code == 202, made.text
    owner = Person(program.client, "alice@example.com")
    assert owner.get(f"{START}/{made.json['generation']['id']}").status_code == 200


def test_a_request_that_the_library_signed_is_accepted(program: Program):
    @dataclass
    class Outgoing:
        method: str
        url: str
        headers: dict[str, str]

    body = message()
    sent = Outgoing("POST", URL + START, {"Content-Type": "application/json", "X-On-Behalf-Of": "carol"})
    now = datetime.now(UTC)
    signer = HTTPMessageSigner(
        signature_algorithm=algorithms.HMAC_SHA256,
        key_resolver=MappingKeyResolver(public_keys={}, private_keys={"billing": SECRET}),
    )
    signer.sign(
        sent,
        key_id="billing",
        created=now,
        expires=now + timedelta(minutes=1),
        nonce=uuid4().hex,
        tag="unbroken",
        body=body,
        use_existing_digest=False,
        covered_component_ids=("@method", "@target-uri", "content-digest", "content-type", "x-on-behalf-of"),
    )
    answer = program.repeat("POST", START, body, sent.headers)
    assert answer.status_code == 202, answer.text


def test_a_signature_counts_once(program: Program):
    headers = program.signed("POST", START, message(), {"Idempotency-Key": "order-17"})
    first = program.repeat("POST", START, message(), headers)
    assert first.status_code == 202
    assert refusal(program.repeat("POST", START, message(), headers)) == as_of_a_bad_token(program.client)
    again = program.send("POST", START, message(), {"Idempotency-Key": "order-17"})
    assert (again.status_code, again.json["generation"]["id"]) == (200, first.json["generation"]["id"])


NOW = int(time.time())
WRONG: dict[str, dict[str, Any]] = {
    "an unknown key": {"keyid": "nobody"},
    "a key of another secret": {"keyid": "alices"},
    "another algorithm": {"alg": "ed25519"},
    "another tag": {"tag": "other"},
    "no nonce": {"nonce": None},
    "too old": {"created": NOW - 10_000, "expires": NOW - 9_900},
    "from the future": {"created": NOW + 10_000, "expires": NOW + 10_100},
    "expired": {"created": NOW - 100, "expires": NOW - 50},
    "too long": {"expires": NOW + 100_000},
    "no digest in it": {"covered": ("@method", "@target-uri", "content-type", "x-on-behalf-of")},
    "a wrong digest": {"sent": {"Content-Digest": digest_of(b"another body")}},
    "two signatures": {"label": "a=(), b"},
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG.keys())
def test_every_refusal_is_that_of_a_bad_token(program: Program, wrong: dict[str, Any]):
    answer = program.send("POST", START, message(), **wrong)
    assert refusal(answer) == as_of_a_bad_token(program.client)
    why = "" if wrong.get("tag") else ', error="invalid_token"'
    assert answer.headers["WWW-Authenticate"] == f'Bearer realm="unbroken"{why}'


def test_a_signature_for_another_service_is_no_credential(program: Program):
    foreign = program.signed("POST", CHECK, tag="web-bot-auth")
    refusal(program.repeat("POST", CHECK, b"", foreign))
    assert program.repeat("POST", CHECK, b"", {**foreign, "Authorization": f"Bearer {token()}"}).status_code == 204


def test_half_a_signature_is_refused(program: Program):
    for missing in ("signature", "signature-input"):
        headers = {name: value for name, value in program.signed("POST", CHECK).items() if name != missing}
        assert refusal(program.repeat("POST", CHECK, b"", headers)) == as_of_a_bad_token(program.client)


@settings(max_examples=150)
@given(st.data())
def test_any_change_of_one_byte_is_refused(app: OpenAPI, data: st.DataObject):
    program = Program(app.test_client())
    body, path = message(), f"{START}?trace=%7Eone"
    sent = program.signed("POST", path, body, {"Idempotency-Key": "order-17"})
    parts = {"method": "POST", "path": path, "body": body.decode(), **sent}
    name = data.draw(st.sampled_from(sorted(parts)), "part")
    at = data.draw(st.integers(0, len(parts[name]) - 1), "place")
    character = chr(data.draw(st.integers(33, 126), "character"))
    before = parts[name]
    parts[name] = f"{before[:at]}{character}{before[at + 1 :]}"
    if parts[name] == before or (name == "path" and (at <= len(START) or character in "?#")):
        # Another route, or nothing changed.
        return
    if parts["method"].upper() == "POST" and name == "method":
        # The client of the tests sends every method in upper case.
        return
    method, path, body = parts.pop("method"), parts.pop("path"), parts.pop("body").encode()
    answer = program.client.open(path, method=method, headers=parts, data=body)
    # A method that the route does not have is refused before anybody is asked who they are.
    assert answer.status_code == (401 if method == "POST" else 405), answer.text


@pytest.mark.parametrize("header", ["content-type", "content-digest", "x-on-behalf-of", "idempotency-key"])
def test_a_header_cannot_be_removed_or_added(program: Program, header: str):
    sent = program.signed("POST", START, message(), {"Idempotency-Key": "one"})
    without = {name: value for name, value in sent.items() if name != header}
    refusal(program.repeat("POST", START, message(), without))
    bare = Program(program.client, None).signed("GET", "/api/v1/me")
    refusal(program.repeat("GET", "/api/v1/me", b"", {**bare, header: "text/plain"}))


def test_a_body_is_checked_where_no_route_reads_one(program: Program):
    assert program.send("POST", CHECK).status_code == 204
    assert program.send("POST", CHECK, b"anything").status_code == 204
    unsigned = program.signed("POST", CHECK)
    refusal(program.repeat("POST", CHECK, b"anything", unsigned))
    refusal(program.send("POST", CHECK, b"x", {"Content-Digest": digest_of(b"y")}))
    refusal(program.send("POST", CHECK, b"", {"Content-Digest": digest_of(b"y")}))
    assert program.send("POST", CHECK, b"", {"Content-Digest": digest_of(b"")}).status_code == 204


def test_a_large_body_is_checked_whole(program: Program):
    large = json.dumps({"items": [], "padding": "x" * 2_000_000}).encode()
    headers = program.signed("POST", "/api/v1/conversations/import", large)
    changed = large[:-3] + b'y"}'
    refusal(program.repeat("POST", "/api/v1/conversations/import", changed, headers))
    answer = program.send("POST", "/api/v1/conversations/import", large)
    assert (answer.status_code, answer.json["errors"][0]["field"]) == (413, "MAX_BODY_BYTES")


def test_a_body_above_its_limit_is_refused_by_the_limit(program: Program):
    answer = program.send("POST", START, message("x" * 1_100_000))
    assert answer.status_code == 413, answer.text
    refusal(program.send("POST", CHECK, b"x" * 1_100_000))


def test_a_user_has_to_be_named_once(app: OpenAPI):
    nobody, twice = Program(app.test_client(), None), Program(app.test_client(), "bob", OF_A_USER)
    missing = nobody.send("POST", CHECK)
    assert (missing.status_code, "X-On-Behalf-Of" in missing.json["detail"]) == (400, True)
    both = twice.send("POST", CHECK, keyid="alices")
    assert (both.status_code, "X-On-Behalf-Of" in both.json["detail"]) == (400, True)
    assert Program(app.test_client(), "").send("POST", CHECK).status_code == 400
    assert Program(app.test_client(), "x" * 256).send("POST", CHECK).status_code == 400
    # Only who has the key learns that.
    refusal(nobody.send("POST", CHECK, keyid="nobody"))


def test_no_key_acts_for_a_service_account(app: OpenAPI):
    admin = {"Authorization": f"Bearer {token('root', role='admin')}"}
    made = app.test_client().post("/api/v1/service-accounts", json={"name": "robot"}, headers=admin).json
    refusal(Program(app.test_client(), made["subject"]).send("POST", CHECK))


def test_no_key_is_an_administrator(program: Program):
    assert program.send("GET", "/api/v1/ops/generations").status_code == 403


def test_other_surfaces_accept_signatures_too(program: Program):
    answer = program.send("GET", "/v1/models")
    assert answer.status_code == 200, answer.text
    refused = program.send("GET", "/v1/models", keyid="nobody")
    assert (refused.status_code, refused.json["error"]["code"]) == (401, "invalid_api_key")


def test_the_log_has_the_reason_and_nothing_of_the_request(program: Program, logged: Callable[[], str]):
    headers = program.signed("POST", CHECK, keyid="some-unknown-key", nonce="a-hostile-nonce")
    refusal(program.repeat("POST", CHECK, b"", headers))
    lines = logged()
    [line] = [line for line in lines.splitlines() if "request answered" in line]
    assert "The signature is not valid: signature." in line
    for part in ("some-unknown-key", "a-hostile-nonce", headers["signature"][6:-1], str(program.subject)):
        assert part not in lines


def test_without_redis_no_signature_is_accepted(make_app: Any):
    app = make_app(redis_url="redis://127.0.0.1:1/0", hmac_keys=KEYS, public_url=URL)
    answer = Program(app.test_client()).send("POST", CHECK)
    assert (answer.status_code, "Retry-After" in answer.headers) == (503, True)
    refusal(Program(app.test_client()).send("POST", CHECK, keyid="nobody"))


def test_without_keys_every_signature_is_refused(make_app: Any):
    refusal(Program(make_app(public_url=URL).test_client()).send("POST", CHECK))
