"""An identity provider that is down, slow, huge or misconfigured costs a person one sentence and no thread."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from app.domain.errors import ProviderDown, SignInFailed, StoreDown
from app.openid.cached import FAILED_SECONDS, MOST_WAITING, Cached
from app.openid.transport import MOST_AT_ONCE
from tests.fakes.oidc_provider import OIDCProvider
from tests.unit.openid.conftest import PATIENCE, Connect, refusal, sign_in

DISCOVERY = "openid-configuration"
# Seconds that a busy machine may need for the rest of a sign-in. A dripping provider drips for ever.
SLACK = 10
# Seconds of a request, in which all threads of a test have begun theirs.
TOGETHER = 3.0


@pytest.mark.parametrize("path", [DISCOVERY, "token", "jwks", "userinfo"])
@pytest.mark.parametrize("trouble", ["dripping", "statuses"])
def test_an_outage_is_named_within_the_bound(provider: OIDCProvider, connect: Connect, path: str, trouble: str) -> None:
    provider.switches.in_userinfo = path == "userinfo"
    if trouble == "dripping":
        provider.switches.dripping = {path}
    else:
        provider.switches.statuses = {path: 503}
    began = time.monotonic()
    with pytest.raises(ProviderDown) as caught:
        sign_in(connect(PATIENCE), provider)
    assert time.monotonic() - began < PATIENCE + SLACK
    assert isinstance(caught.value, StoreDown)
    assert caught.value.detail.startswith("The identity provider does not answer")


def test_a_provider_that_is_not_there_is_down(connect: Connect) -> None:
    with pytest.raises(ProviderDown):
        connect(issuer="http://127.0.0.1:9").begin()


@pytest.mark.parametrize("path", [DISCOVERY, "token", "jwks", "userinfo"])
@pytest.mark.parametrize(("trouble", "reason"), [("huge", "more than 262144 bytes"), ("redirecting", "redirects")])
def test_a_huge_document_and_a_redirect_are_refused(
    provider: OIDCProvider, connect: Connect, path: str, trouble: str, reason: str
) -> None:
    provider.switches.in_userinfo = path == "userinfo"
    setattr(provider.switches, trouble, {path})
    assert reason in refusal(connect(), provider)


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ({"issuer": "https://login.example.org"}, "another issuer, 'https://login.example.org'"),
        ({"issuer": None}, "no usable issuer"),
        ({"token_endpoint": None, "jwks_uri": 7}, "no usable jwks_uri, token_endpoint"),
        ({"token_endpoint": "file:///etc/passwd"}, "not https"),
        ({"jwks_uri": "https://me@keys.example.com"}, "not https"),
        ({"authorization_endpoint": "javascript:alert(1)"}, "not https"),
        ({"end_session_endpoint": "//evil.example"}, "not https"),
        ({"id_token_signing_alg_values_supported": ["HS256", "none"]}, "no asymmetric"),
    ],
    ids=str,
)
def test_a_discovery_document_that_cannot_be_used_is_refused(
    provider: OIDCProvider, connect: Connect, document: dict[str, Any], reason: str
) -> None:
    provider.switches.discovery = document
    assert reason in refusal(connect(), provider)


def test_a_provider_that_announces_no_algorithm_signs_with_rs256(provider: OIDCProvider, connect: Connect) -> None:
    provider.switches.discovery = {"id_token_signing_alg_values_supported": None}
    assert sign_in(connect(), provider).subject == "alice"


def test_documents_are_fetched_once_for_many(provider: OIDCProvider, connect: Connect) -> None:
    client = connect()
    threads = [threading.Thread(target=client.begin) for _ in range(MOST_WAITING)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for _ in range(3):
        sign_in(client, provider)
    assert (provider.requests[DISCOVERY], provider.requests["jwks"]) == (1, 1)


def test_a_failure_holds_for_those_who_waited_for_it(provider: OIDCProvider, connect: Connect) -> None:
    """Threads at a silent provider are free again after the time of one request; those past a number are at once."""
    provider.switches.dripping = {DISCOVERY}
    client, refused = connect(TOGETHER), []

    def begin() -> None:
        with pytest.raises(ProviderDown) as caught:
            client.begin()
        refused.append((time.monotonic() - began, caught.value.reason))

    began = time.monotonic()
    threads = [threading.Thread(target=begin) for _ in range(MOST_WAITING + 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == MOST_WAITING + 5
    assert sum("wait for it" in reason for _, reason in refused) == 5
    # One after the other they would wait MOST_WAITING times as long.
    assert max(seconds for seconds, _ in refused) < MOST_WAITING * TOGETHER / 4
    assert provider.requests[DISCOVERY] == 1


def test_a_slow_provider_holds_a_few_threads_only(provider: OIDCProvider, connect: Connect) -> None:
    client = connect(TOGETHER)
    answers = [(begun := client.begin(), provider.browse(begun.url)) for _ in range(MOST_AT_ONCE + 3)]
    provider.switches.dripping = {"token"}
    reasons = []

    def finish(number: int) -> None:
        with pytest.raises(ProviderDown) as caught:
            client.finish(answers[number][1], answers[number][0])
        reasons.append(caught.value.reason)

    threads = [threading.Thread(target=finish, args=(number,)) for number in range(len(answers))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum("at once" in reason for reason in reasons) == 3
    assert provider.requests["token"] == MOST_AT_ONCE


def test_an_old_document_stands_in_during_an_outage_and_not_for_ever() -> None:
    now, outcomes = [0.0], [1, ProviderDown("silent"), ProviderDown("silent"), 2, SignInFailed("another issuer")]

    def fetch() -> int:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    cached = Cached(fetch, fresh=10, stale=100, clock=lambda: now[0])
    assert cached.get() == 1
    now[0] = 11
    assert cached.get() == 1
    now[0] = 11 + FAILED_SECONDS / 2
    assert cached.get() == 1
    assert len(outcomes) == 3, "a fetch follows a failure at once"
    now[0] = 101
    with pytest.raises(ProviderDown):
        cached.get()
    now[0] = 104
    assert cached.get() == 2
    now[0] = 115
    with pytest.raises(SignInFailed):
        cached.get()


def test_a_fetch_out_of_turn_happens_once_a_minute() -> None:
    now, count = [0.0], [0]

    def fetch() -> tuple[int]:
        count[0] += 1
        return (count[0],)

    cached = Cached(fetch, fresh=1000, clock=lambda: now[0])
    first = cached.get()
    assert cached.again(first) == (2,)
    assert cached.again(first) == (2,), "a newer value is known already"
    second = cached.get()
    assert cached.again(second) == (2,)
    now[0] = 61
    assert cached.again(second) == (3,)
