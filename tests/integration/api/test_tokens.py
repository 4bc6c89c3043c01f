"""Valid tokens are accepted and all others refused."""

from __future__ import annotations

import json
import time
from base64 import urlsafe_b64encode
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from flask.testing import FlaskClient

from app.api.auth import tokens as identity
from app.api.auth.tokens import LEEWAY_SECONDS
from tests.stack import until

from .conftest import PREVIOUS, SECRET, token

CHECK = "/api/v1/auth/check"


def check(client: FlaskClient, authorization: str | None) -> Any:
    headers = {} if authorization is None else {"Authorization": authorization}
    return client.post(CHECK, headers=headers)


def unsigned(**claims: Any) -> str:
    def part(value: dict[str, Any]) -> str:
        return urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    now = int(time.time())
    body = {"sub": "alice", "iat": now, "exp": now + 600, "aud": "unbroken", "iss": "unbroken", **claims}
    return f"{part({'alg': 'none', 'typ': 'JWT'})}.{part(body)}."


@pytest.mark.parametrize("secret", [SECRET, PREVIOUS])
def test_a_good_token_gets_in_also_with_the_previous_secret(anybody: FlaskClient, secret: str):
    answer = check(anybody, f"Bearer {token(secret=secret)}")
    assert (answer.status_code, answer.data) == (204, b"")


# Times are a day away: all earlier tests of the process run between this line and the tests of these tokens.
DAY = 86_400
NOW = int(time.time())
BAD = {
    "nothing": None,
    "another scheme": f"Basic {token()}",
    "no token": "Bearer",
    "an empty token": "Bearer ",
    "rubbish": "Bearer rubbish",
    "two dots": "Bearer ..",
    "expired": f"Bearer {token(exp=NOW - 60)}",
    "not yet valid": f"Bearer {token(nbf=NOW + DAY, exp=NOW + 2 * DAY)}",
    "issued in the future": f"Bearer {token(iat=NOW + DAY, exp=NOW + 2 * DAY)}",
    "wrong audience": f"Bearer {token(aud='somebody else', exp=NOW + DAY)}",
    "wrong issuer": f"Bearer {token(iss='somebody else', exp=NOW + DAY)}",
    "wrong secret": f"Bearer {token(secret='x' * 40, exp=NOW + DAY)}",
    "no exp": f"Bearer {token(drop=('exp',))}",
    "no iat": f"Bearer {token(drop=('iat',), exp=NOW + DAY)}",
    "no aud": f"Bearer {token(drop=('aud',), exp=NOW + DAY)}",
    "no iss": f"Bearer {token(drop=('iss',), exp=NOW + DAY)}",
    "no sub": f"Bearer {token(drop=('sub',), exp=NOW + DAY)}",
    "an empty sub": f"Bearer {token(sub='', exp=NOW + DAY)}",
    "a long sub": f"Bearer {token(sub='s' * 256, exp=NOW + DAY)}",
    "a sub with NUL": f"Bearer {token(sub=chr(0), exp=NOW + DAY)}",
    "half a pair as sub": f"Bearer {token(sub=chr(0xD800), exp=NOW + DAY)}",
    "alg none": f"Bearer {unsigned(exp=NOW + DAY)}",
    "another algorithm": "Bearer " + jwt.encode({"sub": "a"}, "x" * 64, algorithm="HS512"),
    "exp as text": f"Bearer {token(exp='soon')}",
    "a huge one": "Bearer " + "x" * 20_000,
    "a refresh token": f"Bearer {token(type='refresh', exp=NOW + DAY)}",
}


@pytest.mark.parametrize("authorization", BAD.values(), ids=BAD.keys())
def test_a_bad_token_is_refused_with_a_challenge(anybody: FlaskClient, authorization: str | None):
    answer = check(anybody, authorization)
    assert answer.status_code == 401, answer.text
    assert answer.content_type == "application/problem+json"
    assert answer.json["type"] == "/problems/unauthenticated"
    assert answer.headers["WWW-Authenticate"].startswith('Bearer realm="unbroken"')
    if authorization and len(authorization) > 20:
        assert authorization.partition(" ")[2] not in answer.text


def test_a_token_that_was_good_is_refused_once_it_has_expired(anybody: FlaskClient):
    ends = time.time() + 5
    bearer = f"Bearer {token(exp=int(ends) - LEEWAY_SECONDS + 1)}"
    assert [check(anybody, bearer).status_code for _ in range(3)] == [204] * 3
    until(lambda: check(anybody, bearer).status_code == 401, what="the end of the token")


# The cases have names: test processes with different clocks have to collect equal tests.
@pytest.mark.parametrize("exp", [NOW * 1000, 10**400], ids=["milliseconds", "a number without end"])
def test_a_token_for_ever_gets_in_and_gets_tickets(anybody: FlaskClient, exp: int):
    bearer = {"Authorization": f"Bearer {token(exp=exp)}"}
    ticket = anybody.post("/api/v1/stream-tickets", json={"feed": True}, headers=bearer)
    assert ticket.status_code == 200, ticket.text
    feed = anybody.get(f"/api/v1/feed?ticket={ticket.json['ticket']}")
    assert feed.status_code == 200
    feed.close()


def test_a_good_token_vouches_for_no_other(anybody: FlaskClient):
    good = token()
    assert [check(anybody, f"Bearer {good}").status_code for _ in range(2)] == [204, 204]
    signed, _, signature = good.rpartition(".")
    others = [f"{signed}.{signature[::-1]}", f"{signed}.", signed, token("alice", secret="x" * 40), good.lower()]
    assert [check(anybody, f"Bearer {other}").status_code for other in others] == [401] * len(others)
    assert check(anybody, f"Bearer {good}").status_code == 204


def test_a_role_is_the_tokens_own_however_often_it_comes(anybody: FlaskClient):
    for role in ("admin", None, "admin", None):
        headers = {"Authorization": f"Bearer {token('frida', **({'role': role} if role else {}))}"}
        assert anybody.get("/api/v1/me", headers=headers).json["role"] == role


def test_a_token_in_the_address_is_worth_nothing(anybody: FlaskClient):
    assert anybody.get(f"/api/v1/me?access_token={token()}&jwt={token()}&token={token()}").status_code == 401


def test_who_one_is_and_may(anybody: FlaskClient):
    headers = {"Authorization": f"Bearer {token('carol', role='admin')}"}
    me = anybody.get("/api/v1/me", headers=headers).json
    assert (me["subject"], me["role"]) == ("carol", "admin")
    assert me["limits"]["streams"] == 10


def test_a_role_that_is_no_text_is_none(anybody: FlaskClient):
    headers = {"Authorization": f"Bearer {token('dave', role=['admin'])}"}
    assert anybody.get("/api/v1/me", headers=headers).json["role"] is None


class Publisher(BaseHTTPRequestHandler):
    keys: dict[str, Any] = {"keys": []}  # noqa: RUF012

    def do_GET(self) -> None:
        body = json.dumps(self.keys).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def published() -> Any:
    """The keys of a foreign identity provider: their JWKS address, the RSA key and the EC key."""
    rsa_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    ec_key = ec.generate_private_key(ec.SECP256R1())
    Publisher.keys = {
        "keys": [
            {**json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(rsa_key.public_key())), "kid": "r", "alg": "RS256"},
            {**json.loads(jwt.algorithms.ECAlgorithm.to_jwk(ec_key.public_key())), "kid": "e", "alg": "ES256"},
        ]
    }
    server = HTTPServer(("127.0.0.1", 0), Publisher)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/keys", rsa_key, ec_key
    server.shutdown()


def claims() -> dict[str, Any]:
    now = int(time.time())
    return {"sub": "erin", "iat": now, "exp": now + 600, "aud": "unbroken", "iss": "unbroken"}


def test_published_keys_verify_and_nothing_else_does(make_app: Any, published: Any):
    url, rsa_key, ec_key = published
    client = make_app(jwt_jwks_url=url, jwt_secret=None, jwt_secret_previous=None).test_client()
    assert check(client, "Bearer " + jwt.encode(claims(), rsa_key, "RS256", {"kid": "r"})).status_code == 204
    assert check(client, "Bearer " + jwt.encode(claims(), ec_key, "ES256", {"kid": "e"})).status_code == 204
    assert check(client, "Bearer " + jwt.encode(claims(), rsa_key, "RS256", {"kid": "x"})).status_code == 401
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    assert check(client, "Bearer " + jwt.encode(claims(), other, "RS256", {"kid": "r"})).status_code == 401
    assert check(client, f"Bearer {token()}").status_code == 401


def test_a_key_that_is_published_no_more_ends_its_tokens_as_soon_as_that_is_seen(
    make_app: Any, published: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(identity, "_JWKS_FRESH_SECONDS", 1.0)
    url, rsa_key, ec_key = published
    client = make_app(jwt_jwks_url=url, jwt_secret=None, jwt_secret_previous=None).test_client()
    gone = "Bearer " + jwt.encode(claims(), rsa_key, "RS256", {"kid": "r"})
    stays = "Bearer " + jwt.encode(claims(), ec_key, "ES256", {"kid": "e"})
    assert [check(client, bearer).status_code for bearer in (gone, stays, gone, stays)] == [204] * 4
    Publisher.keys = {"keys": [key for key in Publisher.keys["keys"] if key["kid"] != "r"]}
    until(lambda: check(client, gone).status_code == 401, what="the end of the key")
    assert [check(client, stays).status_code for _ in range(2)] == [204] * 2


def test_a_public_key_is_no_secret(make_app: Any, published: Any):
    url, rsa_key, _ = published
    client = make_app(jwt_jwks_url=url).test_client()
    public = rsa_key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    # The token is made by hand, because the library refuses to make it.
    import hmac

    def part(data: bytes) -> bytes:
        return urlsafe_b64encode(data).rstrip(b"=")

    signed = part(b'{"alg":"HS256","typ":"JWT","kid":"r"}') + b"." + part(json.dumps(claims()).encode())
    forged = signed + b"." + part(hmac.digest(public, signed, "sha256"))
    assert check(client, f"Bearer {forged.decode()}").status_code == 401
    assert check(client, f"Bearer {token()}").status_code == 204


def test_keys_that_cannot_be_fetched_are_no_fault_of_the_client(make_app: Any, published: Any):
    _, rsa_key, _ = published
    client = make_app(jwt_jwks_url="http://127.0.0.1:1/keys", jwt_secret=None).test_client()
    answer = check(client, "Bearer " + jwt.encode(claims(), rsa_key, "RS256", {"kid": "r"}))
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) >= 1
