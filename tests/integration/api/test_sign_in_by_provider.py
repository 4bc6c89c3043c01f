"""People sign in by a fake identity provider over real HTTP, sign out, and are signed out by it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from flask_openapi3.openapi import OpenAPI
from werkzeug.test import TestResponse

from app.api.web_process import EXTENSION
from app.config import Settings
from app.domain.errors import DatabaseDown
from app.services.identities import subject_of
from app.wiring import Resources
from dev.valkey import Valkey
from tests.factories import owner
from tests.fakes.oidc_provider import OIDCProvider, visit
from tests.integration.api.conftest import make_settings, token
from tests.sign_in import HERE, Browser, make_code
from tests.stack import until


@pytest.fixture(scope="module")
def server() -> Iterator[OIDCProvider]:
    with OIDCProvider(origin=HERE) as server:
        yield server


@pytest.fixture
def provider(server: OIDCProvider) -> OIDCProvider:
    """The provider, well-behaved."""
    server.reset()
    return server


def by_provider(server: OIDCProvider) -> dict[str, Any]:
    """The settings for signing in by this provider."""
    return {
        "public_url": HERE,
        "oidc_issuer": server.issuer,
        "oidc_client_id": server.client_id,
        "oidc_client_secret": server.client_secret,
        "oidc_admin_values": ("admins",),
        "ratelimit_sign_ins": "10000/minute",
    }


@pytest.fixture(scope="module")
def settings(module_database_url: str, valkey: Valkey, server: OIDCProvider) -> Settings:
    return make_settings(module_database_url, valkey.url(), **by_provider(server))


@pytest.fixture
def browser(app: OpenAPI) -> Browser:
    return Browser(app)


def begin(browser: Browser, path: str = "/") -> str:
    """Begin a sign-in. Returns the address at the provider."""
    answer = browser.get(f"/signin/oidc?{urlencode({'next': path})}")
    assert answer.status_code == 303, answer.text
    return str(answer.headers["Location"])


def finish(browser: Browser, answer: dict[str, str]) -> TestResponse:
    return browser.get(f"/signin/callback?{urlencode(answer)}", **{"Sec-Fetch-Site": "cross-site"})


def sign_in(browser: Browser, provider: OIDCProvider, path: str = "/") -> TestResponse:
    """A whole sign-in in this browser."""
    return finish(browser, provider.browse(begin(browser, path)))


def is_signed_in(browser: Browser) -> bool:
    return browser.get("/api/v1/me").status_code == 200


def send(app: OpenAPI, token: str) -> TestResponse:
    """Send a logout token as a provider does: without a cookie and without an origin."""
    return app.test_client().post("/signin/backchannel", base_url=HERE, data={"logout_token": token})


def test_a_person_signs_in(browser: Browser, provider: OIDCProvider) -> None:
    answer = sign_in(browser, provider, "/c/1?then=2")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/c/1?then=2#signed-in")
    assert answer.headers["Cache-Control"] == "no-store"
    me = browser.get("/api/v1/me").json
    assert (me["subject"], me["email"]) == (subject_of(provider.issuer, "alice"), "alice@example.com")
    assert (me["role"], me["sign_in"]["kind"]) == (None, "session")
    [session] = browser.get("/api/v1/sessions").json["items"]
    assert session["method"] == "oidc"


def test_a_person_is_the_same_user_in_every_browser_and_under_another_address(
    app: OpenAPI, provider: OIDCProvider
) -> None:
    first, second = Browser(app), Browser(app)
    sign_in(first, provider)
    provider.switches.user |= {"email": "alice@example.org", "name": "Alice B."}
    sign_in(second, provider)
    people = [browser.get("/api/v1/me").json for browser in (first, second)]
    assert people[0]["subject"] == people[1]["subject"]
    assert people[1]["email"] == "alice@example.org"
    provider.switches.user |= {"sub": "bob"}
    sign_in(second, provider)
    assert second.get("/api/v1/me").json["subject"] == subject_of(provider.issuer, "bob")


def test_a_subject_of_one_issuer_is_nobody_of_another() -> None:
    known = [subject_of(*pair) for pair in (("a", "b c"), ("a b", "c"), ("a", "b"), ("ab", ""), ("", "ab"), ("b", "a"))]
    assert len(set(known)) == len(known)
    assert all(len(subject) == 48 for subject in known)


def test_the_role_is_read_again_at_every_sign_in(browser: Browser, provider: OIDCProvider) -> None:
    roles = []
    for given in (["users"], ["users", "admins"], "admins", []):
        provider.switches.user |= {"roles": given}
        sign_in(browser, provider)
        roles.append((browser.get("/api/v1/me").json["role"], browser.get("/api/v1/ops/generations").status_code))
    assert roles == [(None, 403), ("admin", 200), ("admin", 200), (None, 403)]


def test_a_role_that_is_taken_away_lives_on_in_no_session_and_no_key(
    app: OpenAPI, browser: Browser, provider: OIDCProvider
) -> None:
    provider.switches.user |= {"roles": ["admins"]}
    elsewhere = Browser(app)
    sign_in(browser, provider)
    sign_in(elsewhere, provider)
    keys = [
        browser.post("/api/v1/api-keys", json={"name": "k", "scopes": scopes}).json["key"]
        for scopes in (["read", "admin"], ["read"])
    ]
    provider.switches.user |= {"roles": []}
    sign_in(browser, provider)
    assert until(lambda: elsewhere.get("/api/v1/me").status_code == 401)
    assert is_signed_in(browser)
    answers = [app.test_client().get("/api/v1/me", headers={"Authorization": f"Bearer {key}"}) for key in keys]
    assert [answer.status_code for answer in answers] == [401, 200]
    actions = [row["action"] for row in browser.get("/api/v1/me/audit").json["items"]]
    assert actions.count("session.ended") >= 2
    assert "key.ended" in actions


def test_a_sign_in_with_the_same_role_ends_no_other_session(
    app: OpenAPI, browser: Browser, provider: OIDCProvider
) -> None:
    elsewhere = Browser(app)
    sign_in(elsewhere, provider)
    sign_in(browser, provider)
    assert is_signed_in(elsewhere)


def test_no_token_names_a_user_of_the_provider(app: OpenAPI, browser: Browser, provider: OIDCProvider) -> None:
    sign_in(browser, provider)
    subject = browser.get("/api/v1/me").json["subject"]
    stolen = {"Authorization": f"Bearer {token(subject)}"}
    assert app.test_client().get("/api/v1/me", headers=stolen).status_code == 401


@pytest.mark.parametrize("path", ["//evil.example", "https://evil.example", "/\\evil.example", "/%2fevil.example", ""])
def test_no_sign_in_leads_elsewhere(browser: Browser, provider: OIDCProvider, path: str) -> None:
    assert sign_in(browser, provider, path).headers["Location"] == "/#signed-in"


def test_the_page_of_the_small_window_may_follow(browser: Browser, provider: OIDCProvider) -> None:
    assert sign_in(browser, provider, "/signin?close").headers["Location"] == "/signin?close#signed-in"


@pytest.mark.parametrize(
    "wrong",
    [
        {"wrong_nonce": True},
        {"stale_key": True},
        {"clock": 3600},
        {"clock": -3600},
        {"claims": {"iss": "https://login.example.org"}},
        {"claims": {"aud": "another"}},
        {"algorithm": "none"},
        {"algorithm": "HS256"},
        {"answer": {"iss": "https://login.example.org"}},
        {"answer": {"error": "access_denied", "code": None}},
        {"answer": {"code": "guessed"}},
    ],
    ids=str,
)
def test_a_wrong_answer_signs_nobody_in(
    browser: Browser, provider: OIDCProvider, wrong: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    provider.switches = replace(provider.switches, **wrong)
    answer = provider.browse(begin(browser))
    refused = finish(browser, answer)
    assert refused.status_code == 403
    assert "Not signed in" in refused.text
    assert "form-action" in refused.headers["Content-Security-Policy"]
    assert browser.secret is None
    assert not is_signed_in(browser)
    for secret in (answer.get("code"), answer["state"], provider.client_secret):
        assert not secret or (secret not in refused.text and secret not in caplog.text)


def test_an_answer_is_good_once(app: OpenAPI, browser: Browser, provider: OIDCProvider) -> None:
    answer = provider.browse(begin(browser))
    assert finish(browser, answer).status_code == 303
    again = finish(browser, answer)
    assert again.status_code == 403
    assert "Begin again" in again.text
    assert is_signed_in(browser), "the session of the first time goes on"


def test_an_answer_in_another_browser_signs_nobody_in(app: OpenAPI, browser: Browser, provider: OIDCProvider) -> None:
    """Mallory leads a victim's browser to the end of a sign-in of Mallory's own."""
    mallory = Browser(app)
    provider.switches.user |= {"sub": "mallory"}
    answer = provider.browse(begin(mallory))
    begin(browser)
    assert finish(browser, answer).status_code == 403
    assert finish(Browser(app), answer).status_code == 403
    assert not is_signed_in(browser)
    assert finish(mallory, answer).status_code == 303, "the right browser can still finish it"


def test_two_windows_of_a_browser_sign_in_side_by_side(browser: Browser, provider: OIDCProvider) -> None:
    first, second = begin(browser, "/c/1"), begin(browser, "/c/2")
    paths = [finish(browser, provider.browse(url)).headers["Location"] for url in (second, first)]
    assert paths == ["/c/2#signed-in", "/c/1#signed-in"]


def test_a_sign_in_that_took_too_long_is_over(
    browser: Browser, provider: OIDCProvider, settings: Settings, resources: Resources
) -> None:
    answer = provider.browse(begin(browser))
    with owner(settings.database_url) as cursor:
        cursor.execute("UPDATE sign_in_requests SET expires_at = now() - interval '1 second'")
    assert "took too long" in finish(browser, answer).text
    resources.identities.prune()
    with owner(settings.database_url) as cursor:
        cursor.execute("SELECT count(*) FROM sign_in_requests")
        assert cursor.fetchone() == (0,)


def test_a_planted_session_is_not_the_one_that_signs_in(
    app: OpenAPI, provider: OIDCProvider, settings: Settings
) -> None:
    mallory, victim = Browser(app), Browser(app)
    mallory.sign_in(make_code(settings.database_url, "mallory"))
    planted = mallory.secret or ""
    victim.client.set_cookie("session", planted, domain="localhost")
    sign_in(victim, provider)
    assert victim.secret not in (None, planted)
    assert victim.get("/api/v1/me").json["subject"] == subject_of(provider.issuer, "alice")
    assert not is_signed_in(mallory)


def test_the_cookies_are_for_this_browser_and_this_service_alone(app: OpenAPI, provider: OIDCProvider) -> None:
    secure = Browser(app, "https://chat.example.com")
    answer = secure.get("/signin/oidc")
    (cookie,) = answer.headers.getlist("Set-Cookie")
    assert cookie.startswith("__Host-signin=")
    assert {"Secure", "HttpOnly", "Path=/", "SameSite=Lax", "Max-Age=600"} <= set(cookie.split("; "))
    away = Browser(app, "http://chat.example.com").get("/signin/oidc")
    assert (away.status_code, away.headers.getlist("Set-Cookie")) == (403, [])


def test_a_sign_out_goes_on_at_the_provider(browser: Browser, provider: OIDCProvider) -> None:
    sign_in(browser, provider)
    url = browser.post("/signout").json["next"]
    assert not is_signed_in(browser)
    assert visit(url).startswith(f"{HERE}/signin?state=")
    [ended] = provider.ended
    assert ended["id_token_hint"].count(".") == 2


def test_a_sign_out_whose_first_reply_was_lost_goes_on_at_the_provider(
    browser: Browser, provider: OIDCProvider, settings: Settings
) -> None:
    sign_in(browser, provider)
    with owner(settings.database_url) as cursor:
        cursor.execute("DELETE FROM sessions")
    url = browser.post("/signout").json["next"]
    assert browser.secret is None
    assert visit(url).startswith(f"{HERE}/signin?state=")
    [ended] = provider.ended
    assert "id_token_hint" not in ended
    assert browser.post("/signout").json == {"next": "/"}


def test_a_page_of_another_origin_signs_nobody_out(browser: Browser, provider: OIDCProvider) -> None:
    sign_in(browser, provider)
    for headers in ({"Origin": "https://evil.example"}, {"Origin": "", "Sec-Fetch-Site": "cross-site"}):
        assert browser.post("/signout", headers=headers).status_code == 403
    assert is_signed_in(browser)
    assert provider.ended == []


def test_who_came_by_a_link_is_not_sent_to_the_provider(
    browser: Browser, provider: OIDCProvider, settings: Settings
) -> None:
    browser.sign_in(make_code(settings.database_url, "ann"))
    assert browser.post("/signout").json == {"next": "/"}


@pytest.mark.parametrize("names", ["session", "person", "both"])
def test_the_provider_ends_sessions(app: OpenAPI, provider: OIDCProvider, names: str) -> None:
    browsers = [Browser(app) for _ in range(3)]
    for number, browser in enumerate(browsers):
        provider.switches.sid = f"{names}-{number}"
        sign_in(browser, provider)
    changes = {"session": {"sub": None}, "person": {"sid": None}, "both": {}}[names]
    answer = send(app, provider.logout_token(**changes))
    assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "no-store")
    open_ones = [is_signed_in(browser) for browser in browsers]
    assert open_ones == ([False] * 3 if names == "person" else [True, True, False])


def test_a_logout_of_the_provider_ends_no_other_sessions(
    app: OpenAPI, provider: OIDCProvider, settings: Settings
) -> None:
    bob, linked = Browser(app), Browser(app)
    provider.switches.user |= {"sub": "bob"}
    sign_in(bob, provider)
    linked.sign_in(make_code(settings.database_url, subject_of(provider.issuer, "carol")))
    provider.switches.user |= {"sub": "carol"}
    for changes in ({"sid": None}, {"sub": None, "sid": "unknown"}, {"sub": "nobody", "sid": None}):
        assert send(app, provider.logout_token(**changes)).status_code == 200
    assert is_signed_in(bob)
    assert is_signed_in(linked)


def test_a_logout_token_works_once(app: OpenAPI, browser: Browser, provider: OIDCProvider) -> None:
    token = provider.logout_token(sid=None)
    assert send(app, token).status_code == 200
    sign_in(browser, provider)
    answer = send(app, token)
    assert (answer.status_code, answer.json) == (400, {"error": "invalid_request"})
    assert answer.headers["Cache-Control"] == "no-store"
    assert is_signed_in(browser)


def test_a_logout_that_fails_here_may_be_sent_again(
    app: OpenAPI, browser: Browser, provider: OIDCProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign_in(browser, provider)
    token = provider.logout_token(sid=None)
    identities = app.extensions[EXTENSION].resources.identities
    with monkeypatch.context() as patched:
        patched.setattr(type(identities), "owner", lambda *_: (_ for _ in ()).throw(DatabaseDown()))
        assert send(app, token).status_code == 503
    assert is_signed_in(browser)
    assert send(app, token).status_code == 200
    assert not is_signed_in(browser)


@pytest.mark.parametrize("changes", [{"nonce": "n"}, {"events": {}}, {"iss": "https://login.example.org"}], ids=str)
def test_a_wrong_logout_token_ends_nothing(
    app: OpenAPI, browser: Browser, provider: OIDCProvider, changes: dict[str, Any]
) -> None:
    sign_in(browser, provider)
    assert send(app, provider.logout_token(**changes)).status_code == 400
    assert is_signed_in(browser)


@pytest.mark.parametrize("body", [b"", b"logout_token=", b"logout_token=a&logout_token=b", b"\xff\xfe", b"&" * 5000])
def test_a_body_without_one_token_is_refused(app: OpenAPI, provider: OIDCProvider, body: bytes) -> None:
    kind = "application/x-www-form-urlencoded"
    answer = app.test_client().post("/signin/backchannel", base_url=HERE, data=body, content_type=kind)
    assert answer.status_code == 400


def test_a_provider_that_is_down_is_named(make_app: Any, provider: OIDCProvider) -> None:
    app = make_app(**by_provider(provider))
    provider.switches.statuses = {"openid-configuration": 503}
    answer = Browser(app).get("/signin/oidc")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert "The identity provider does not answer" in answer.text
    assert send(app, "a.b.c").status_code == 503


def test_a_provider_that_is_down_keeps_nobody_signed_in(make_app: Any, provider: OIDCProvider) -> None:
    app = make_app(**by_provider(provider))
    browser = Browser(app)
    sign_in(browser, provider)
    provider.switches.statuses = {"openid-configuration": 503}
    app.extensions[EXTENSION].resources.identity_provider._discovery._fetched_at = float("-inf")
    assert browser.post("/signout").json == {"next": "/"}
    assert not is_signed_in(browser)


def test_sign_ins_are_limited_by_address(make_app: Any, provider: OIDCProvider) -> None:
    app = make_app(**{**by_provider(provider), "ratelimit_sign_ins": "2/minute"})
    assert [Browser(app).get("/signin/oidc").status_code for _ in range(3)] == [303, 303, 429]
    assert finish(Browser(app), {"state": "s", "code": "c"}).status_code == 429
    assert send(app, "a.b.c").status_code == 429
    assert send(app, provider.logout_token()).status_code == 200, "a good one is not limited"


def test_without_a_provider_the_addresses_do_not_exist(make_app: Any) -> None:
    app = make_app()
    for method, path in (("GET", "/signin/oidc"), ("GET", "/signin/callback"), ("POST", "/signin/backchannel")):
        assert app.test_client().open(path, method=method, base_url=HERE).status_code == 404


def test_another_domain_may_not_sign_in(make_app: Any, provider: OIDCProvider) -> None:
    app = make_app(**by_provider(provider), oidc_allowed_domains=("example.org",))
    browser = Browser(app)
    answer = sign_in(browser, provider)
    assert answer.status_code == 403
    assert "This account may not sign in here." in answer.text
    assert not is_signed_in(browser)


def test_the_request_at_the_provider_has_what_the_protocol_needs(browser: Browser, provider: OIDCProvider) -> None:
    asked = parse_qs(urlsplit(begin(browser)).query)
    assert asked["redirect_uri"] == [f"{HERE}/signin/callback"]
    assert {"state", "nonce", "code_challenge"} <= set(asked)


@pytest.mark.parametrize(
    "query",
    ["", "state=", "state=%00&code=%00", "state=a&state=b&code=c", "code=%ff&state=%ff", "error=%0d%0aSet-Cookie:x=1",
     "state=" + "a" * 5000, "state=%ed%a0%80", "=&&=", "iss=https://login.example.org&state=x&code=y"],
    ids=len,
)  # fmt: skip
def test_an_invented_answer_is_refused_in_the_same_words(browser: Browser, provider: OIDCProvider, query: str) -> None:
    begin(browser)
    for sender in (browser, Browser(browser.client.application)):
        answer = sender.get(f"/signin/callback?{query}", Cookie="" if sender is browser else "signin=x; session=y")
        assert answer.status_code == 403
        assert "Begin again" in answer.text
        assert "Set-Cookie" not in answer.headers
    assert provider.requests["token"] == 0
