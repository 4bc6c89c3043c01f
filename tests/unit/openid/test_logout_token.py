"""A logout token ends the sessions that it names, and no other token of the provider does."""

from __future__ import annotations

import time
from typing import Any

import pytest

from app.domain.errors import SignInFailed
from app.openid.client import Ended
from tests.fakes.oidc_provider import LOGOUT_EVENT, OIDCProvider
from tests.unit.openid.conftest import Connect, sign_in


@pytest.mark.parametrize(
    ("changes", "subject", "sid"),
    [({}, "alice", "session-1"), ({"sid": None}, "alice", None), ({"sub": None}, None, "session-1")],
    ids=str,
)
def test_a_logout_token_names_a_person_or_a_session(
    provider: OIDCProvider, connect: Connect, changes: dict[str, Any], subject: str | None, sid: str | None
) -> None:
    ended = connect().ended(provider.logout_token(**changes))
    assert ended == Ended(provider.issuer, subject, sid, ended.token_id)


@pytest.mark.parametrize("kind", [None, "logout+jwt", "LOGOUT+JWT", "application/logout+jwt", "JWT"])
def test_the_type_of_a_logout_token_may_be_left_out(provider: OIDCProvider, connect: Connect, kind: str | None) -> None:
    provider.switches.header = {"typ": kind}
    assert connect().ended(provider.logout_token()).subject == "alice"


def test_each_logout_token_has_an_id_of_its_own(provider: OIDCProvider, connect: Connect) -> None:
    client = connect()
    ids = [client.ended(provider.logout_token()).token_id for _ in range(3)]
    assert len(set(ids)) == 3


@pytest.mark.parametrize(
    "changes",
    [
        {"nonce": "a nonce"},
        {"nonce": ""},
        {"events": None},
        {"events": {}},
        {"events": [LOGOUT_EVENT]},
        {"events": {LOGOUT_EVENT: None}},
        {"events": {"https://login.example.org/another": {}}},
        {"sub": None, "sid": None},
        {"sub": 7},
        {"sub": "a" * 256},
        {"sid": ["session-1"]},
        {"sid": ""},
        {"jti": None},
        {"jti": "a" * 256},
        {"iss": "https://login.example.org"},
        {"iss": None},
        {"aud": "another"},
        {"aud": None},
        {"iat": None},
        {"iat": "now"},
        {"iat": True},
        {"exp": None},
    ],
    ids=str,
)
def test_a_wrong_logout_token_is_refused(provider: OIDCProvider, connect: Connect, changes: dict[str, Any]) -> None:
    with pytest.raises(SignInFailed):
        connect().ended(provider.logout_token(**changes))


@pytest.mark.parametrize(("name", "off"), [("iat", 3600), ("iat", -3600), ("exp", -300)])
def test_a_logout_token_of_another_time_is_refused(
    provider: OIDCProvider, connect: Connect, name: str, off: int
) -> None:
    with pytest.raises(SignInFailed):
        connect().ended(provider.logout_token(**{name: int(time.time()) + off}))


@pytest.mark.parametrize(
    "switches",
    [
        {"algorithm": "none"}, {"algorithm": "HS256"}, {"stale_key": True}, {"wrong_signature": True},
        {"header": {"typ": "at+jwt"}}, {"header": {"kid": "of yesterday"}},
    ],
    ids=str,
)  # fmt: skip
def test_a_logout_token_that_the_provider_did_not_sign_is_refused(
    provider: OIDCProvider, connect: Connect, switches: dict[str, Any]
) -> None:
    for name, value in switches.items():
        setattr(provider.switches, name, value)
    with pytest.raises(SignInFailed):
        connect().ended(provider.logout_token())


def test_an_id_token_ends_nothing(provider: OIDCProvider, connect: Connect) -> None:
    client = connect()
    token = sign_in(client, provider).id_token
    with pytest.raises(SignInFailed):
        client.ended(token)


@pytest.mark.parametrize(
    "token", ["", ".", "..", "a.b.c", "e30.e30.e30", "ü", "a" * 200_000, "eyJhbGciOiJSUzI1NiJ9.e30."]
)
def test_what_is_no_token_is_refused(connect: Connect, token: str) -> None:
    with pytest.raises(SignInFailed):
        connect().ended(token)
