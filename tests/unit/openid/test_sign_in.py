"""A sign-in gives the person whom the identity provider names; everything that is wrong with its answer is refused."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from app.domain.errors import SignInFailed
from tests.fakes.oidc_provider import OIDCProvider, visit
from tests.unit.openid.conftest import Connect, refusal, sign_in


def test_a_sign_in_gives_the_person(provider: OIDCProvider, connect: Connect) -> None:
    person = sign_in(connect(), provider)
    assert (person.issuer, person.subject, person.sid) == (provider.issuer, "alice", "session-1")
    assert (person.email, person.name, person.role) == ("alice@example.com", "Alice", None)
    assert person.id_token.count(".") == 2
    assert person.id_token not in repr(person)
    assert provider.requests["userinfo"] == 0


def test_each_sign_in_has_values_of_its_own_and_keeps_its_secrets(provider: OIDCProvider, connect: Connect) -> None:
    client = connect()
    first, second = client.begin(), client.begin()
    assert not {first.state, first.nonce, first.verifier} & {second.state, second.nonce, second.verifier}
    asked = parse_qs(urlsplit(first.url).query)
    assert asked["code_challenge_method"] == ["S256"]
    assert asked["scope"] == ["openid profile email"]
    assert first.verifier not in first.url
    assert first.verifier not in repr(first)


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_the_client_proves_itself_as_the_provider_accepts_it(
    provider: OIDCProvider, connect: Connect, method: str
) -> None:
    provider.switches.client_authentication = (method,)
    assert sign_in(connect(), provider).subject == "alice"


@pytest.mark.parametrize(("algorithm", "key"), [("ES256", "elliptic"), ("RS256", None)])
def test_any_announced_asymmetric_signature_is_good(
    provider: OIDCProvider, connect: Connect, algorithm: str, key: str | None
) -> None:
    """A token without the id of a key is tried with every key that fits."""
    provider.switches.algorithm, provider.switches.header = algorithm, {"kid": key}
    assert sign_in(connect(), provider).subject == "alice"


def test_claims_of_the_userinfo_endpoint_count_where_the_token_lacks_them(
    provider: OIDCProvider, connect: Connect
) -> None:
    provider.switches.in_userinfo = True
    provider.switches.user |= {"roles": ["admins"]}
    person = sign_in(connect(allowed_domains=frozenset({"example.com"})), provider)
    assert (person.email, person.role) == ("alice@example.com", "admin")


def test_a_token_for_several_audiences_names_us_as_its_party(provider: OIDCProvider, connect: Connect) -> None:
    provider.switches.claims = {"aud": [provider.client_id, "another"], "azp": provider.client_id}
    assert sign_in(connect(), provider).subject == "alice"


@pytest.mark.parametrize("off", [-100, 100])
def test_clocks_may_differ_a_little(provider: OIDCProvider, connect: Connect, off: float) -> None:
    provider.switches.clock = off
    assert sign_in(connect(), provider).subject == "alice"


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"wrong_nonce": True}, "InvalidClaimError"),
        ({"claims": {"nonce": None}}, "MissingClaimError nonce"),
        ({"claims": {"iss": "https://login.example.org"}}, "InvalidClaimError"),
        ({"claims": {"iss": None}}, "MissingClaimError"),
        ({"claims": {"aud": "another"}}, "InvalidClaimError"),
        ({"claims": {"aud": ["another"]}}, "InvalidClaimError"),
        ({"claims": {"aud": ["unbroken", "another"]}}, "MissingClaimError"),
        ({"claims": {"azp": "another"}}, "InvalidClaimError"),
        ({"claims": {"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}}, "InvalidClaimError"),
        ({"claims": {"exp": 1_000_000_000}}, "ExpiredTokenError"),
        ({"claims": {"exp": None}}, "MissingClaimError"),
        ({"claims": {"exp": float("nan")}}, "InvalidClaimError"),
        ({"claims": {"sub": None}}, "MissingClaimError"),
        ({"claims": {"sub": ""}}, "subject"),
        ({"claims": {"sub": "a" * 256}}, "subject"),
        ({"claims": {"sub": ["alice"]}}, "InvalidClaimError"),
        ({"claims": {"iat": None}}, "MissingClaimError"),
        ({"clock": 3600}, "InvalidClaimError"),
        ({"clock": -3600}, "ExpiredTokenError"),
        ({"algorithm": "none"}, "'none', which is not accepted"),
        ({"algorithm": "HS256"}, "'HS256', which is not accepted"),
        ({"algorithm": "HS256", "header": {"alg": "RS256"}}, "signature"),
        ({"algorithm": "none", "header": {"alg": "RS256"}}, "signature"),
        ({"stale_key": True}, "signature"),
        ({"wrong_signature": True}, "signature"),
        ({"header": {"kid": "of yesterday"}}, "does not publish"),
        ({"header": {"kid": "shared"}}, "does not publish"),
        ({"header": {"kid": "small"}}, "does not publish"),
        ({"header": {"kid": "for-encryption"}}, "does not publish"),
        ({"header": {"kid": 7}}, "no text"),
        ({"header": {"typ": "logout+jwt"}}, "another type"),
        ({"header": {"crit": ["exp"], "exp": 1}}, "cannot be read"),
        ({"in_userinfo": True, "userinfo_subject": "mallory"}, "another subject"),
        ({"client_authentication": ("private_key_jwt",)}, "neither"),
    ],
    ids=str,
)  # fmt: skip
def test_a_wrong_token_is_refused(provider: OIDCProvider, connect: Connect, wrong: dict[str, Any], reason: str) -> None:
    provider.switches = replace(provider.switches, **wrong)
    assert reason in refusal(connect(), provider)


def test_a_code_is_good_once(provider: OIDCProvider, connect: Connect) -> None:
    client = connect()
    begun = client.begin()
    answer = provider.browse(begun.url)
    client.finish(answer, begun)
    with pytest.raises(SignInFailed) as caught:
        client.finish(answer, begun)
    assert caught.value.detail == "The sign-in did not work. Please try again."
    assert caught.value.reason == "the identity provider refuses the code: invalid_grant"


def test_a_code_of_another_sign_in_is_refused(provider: OIDCProvider, connect: Connect) -> None:
    """A stolen code does not sign in: PKCE and the nonce tie a code to the sign-in that got it."""
    client = connect()
    mine, theirs = client.begin(), client.begin()
    answer = provider.browse(mine.url) | {"code": provider.browse(theirs.url)["code"]}
    with pytest.raises(SignInFailed):
        client.finish(answer, mine)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"state": "another"}, "another state"),
        ({"state": None}, "another state"),
        ({"iss": "https://login.example.org"}, "does not come from"),
        ({"iss": None}, "does not come from"),
        ({"iss": ""}, "does not come from"),
        ({"code": None}, "no code"),
        ({"code": "a" * 5000}, "no code"),
        ({"code": "ü"}, "no code"),
        ({"code": "guessed"}, "invalid_grant"),
        ({"code": None, "error": "login_required"}, "login_required"),
        ({"error": "<script>alert(1)</script>"}, "without a usable name"),
    ],
    ids=str,
)
def test_a_wrong_answer_is_refused(
    provider: OIDCProvider, connect: Connect, change: dict[str, str | None], reason: str
) -> None:
    provider.switches.answer = change
    assert reason in refusal(connect(), provider)


def test_an_answer_of_another_provider_is_refused_where_none_names_itself(
    provider: OIDCProvider, connect: Connect
) -> None:
    provider.switches.names_itself = False
    client = connect()
    assert sign_in(client, provider).subject == "alice"
    provider.switches.answer = {"iss": "https://login.example.org"}
    assert "does not come from" in refusal(client, provider)


def test_a_cancelled_sign_in_has_a_sentence_of_its_own(provider: OIDCProvider, connect: Connect) -> None:
    provider.switches.answer = {"error": "access_denied", "code": None}
    client = connect()
    begun = client.begin()
    with pytest.raises(SignInFailed, match="was cancelled"):
        client.finish(provider.browse(begun.url), begun)


def test_the_secret_of_the_client_is_never_told(provider: OIDCProvider, connect: Connect) -> None:
    said = refusal(connect(client_secret="hunter2"), provider)
    assert said == "the identity provider refuses the code: invalid_client"


def test_a_new_key_is_fetched_when_it_signs_and_an_old_one_is_refused(provider: OIDCProvider, connect: Connect) -> None:
    client = connect()
    sign_in(client, provider)
    old = provider.key_id
    provider.rotate()
    assert sign_in(client, provider).subject == "alice"
    assert provider.requests["jwks"] == 2
    provider.switches.header = {"kid": old}
    assert "does not publish" in refusal(client, provider)
    for number in range(5):
        provider.switches.header = {"kid": f"guessed-{number}"}
        assert "does not publish" in refusal(client, provider)
    assert provider.requests["jwks"] == 2


def test_a_sign_out_ends_the_session_at_the_provider_too(provider: OIDCProvider, connect: Connect) -> None:
    client = connect()
    person = sign_in(client, provider)
    url = client.end_session_url(person.id_token, "state of the sign-out")
    assert url is not None
    assert visit(url) == f"{provider.origin}/signin?state=state+of+the+sign-out"
    assert provider.ended[0]["id_token_hint"] == person.id_token


def test_a_provider_without_sign_out_has_no_address_for_it(provider: OIDCProvider, connect: Connect) -> None:
    provider.switches.discovery = {"end_session_endpoint": None}
    assert connect().end_session_url(None, "state") is None


def test_a_long_token_is_left_out_of_the_address(provider: OIDCProvider, connect: Connect) -> None:
    url = connect().end_session_url("a" * 5000, "state")
    assert url is not None
    assert "id_token_hint" not in url
    assert "client_id=unbroken" in url


def test_the_time_is_that_of_this_machine(provider: OIDCProvider, connect: Connect) -> None:
    """A token that has expired by more than the leeway is refused, by less it is not."""
    provider.switches.claims = {"exp": int(time.time()) - 100, "iat": int(time.time()) - 400}
    assert sign_in(connect(), provider).subject == "alice"
    provider.switches.claims["exp"] = int(time.time()) - 130
    assert "ExpiredTokenError" in refusal(connect(), provider)
