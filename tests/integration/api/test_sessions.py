"""Sessions by cookie: sign-in with a link, requests, their origins, the list, the end."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any
from uuid import uuid4

import pytest
from flask_openapi3.openapi import OpenAPI

from app.api.application import create_app
from app.api.web_process import EXTENSION, WebProcess
from app.config import Settings
from app.logs import without_secrets
from app.services.sign_in_links import PATH
from app.store import access
from app.store.database import Database
from dev.postgres import WEB
from tests.factories import owner
from tests.logins import as_login
from tests.sign_in import Browser, make_code
from tests.stack import until

from .conftest import Person, make_settings, token


@pytest.fixture
def subject() -> str:
    return f"ann-{uuid4().hex[:8]}"


@pytest.fixture
def browser(app: OpenAPI, settings: Settings, subject: str) -> Browser:
    """A browser in which somebody has signed in."""
    return signed_in(app, settings, subject)


def signed_in(app: OpenAPI, settings: Settings, subject: str, base: str = "http://localhost") -> Browser:
    browser = Browser(app, base)
    answer = browser.sign_in(make_code(settings.database_url, subject))
    assert (answer.status_code, answer.headers["Location"]) == (303, "/#signed-in")
    return browser


def test_a_link_signs_a_browser_in(app: OpenAPI, settings: Settings, subject: str):
    browser = Browser(app)
    code = make_code(settings.database_url, subject, "admin")
    page = browser.get(PATH + code)
    assert page.status_code == 200
    assert f"<strong>{subject}</strong>" in page.text
    assert "form-action 'self'" in page.headers["Content-Security-Policy"]
    assert page.headers["Referrer-Policy"] == "strict-origin"
    assert browser.get("/api/v1/me").status_code == 401
    answer = browser.sign_in(code)
    (cookie,) = answer.headers.getlist("Set-Cookie")
    assert {"HttpOnly", "Path=/", "SameSite=Lax"} <= set(cookie.split("; "))
    me = browser.get("/api/v1/me").json
    assert (me["subject"], me["role"], me["email"]) == (subject, "admin", None)
    assert me["sign_in"]["kind"] == "session"
    assert datetime.fromisoformat(me["sign_in"]["expires_at"]) > datetime.now().astimezone()


def test_a_link_signs_in_once(app: OpenAPI, settings: Settings, subject: str):
    code = make_code(settings.database_url, subject)
    for _ in range(3):
        assert Browser(app).get(PATH + code).status_code == 200, "a preview uses nothing up"
    assert Browser(app).sign_in(code).status_code == 303
    for answer in (Browser(app).sign_in(code), Browser(app).get(PATH + code)):
        assert answer.status_code == 410
        assert "was used before" in answer.text
        assert "Set-Cookie" not in answer.headers


def test_the_page_of_a_link_has_the_language_of_the_browser(app: OpenAPI, settings: Settings, subject: str):
    code = make_code(settings.database_url, subject)
    german = Browser(app).get(PATH + code, **{"Accept-Language": "de-AT"})
    assert '<html lang="de" dir="ltr">' in german.text
    assert f"meldet diesen Browser als <strong>{subject}</strong> an" in german.text
    refused = Browser(app).get(PATH + "x", **{"Accept-Language": "ar"})
    assert '<html lang="ar" dir="rtl">' in refused.text
    assert "هذا الرابط غير معروف هنا" in refused.text
    assert "Cookie" in refused.headers["Vary"]


def test_an_expired_link_and_an_invented_one_sign_nobody_in(app: OpenAPI, settings: Settings, subject: str):
    old = make_code(settings.database_url, subject, seconds=-1)
    assert "has expired" in Browser(app).sign_in(old).text
    assert Browser(app).get(PATH + old).status_code == 410
    for code in ("x", "A" * 43, "x" * 5000, "%00", "é", "'--"):
        for answer in (Browser(app).get(PATH + code), Browser(app).sign_in(code)):
            assert (answer.status_code, "not known here" in answer.text) == (404, True), code


def test_another_origin_cannot_sign_a_browser_in(app: OpenAPI, settings: Settings, subject: str):
    code = make_code(settings.database_url, subject)
    for origin, site in (("https://evil.example", ""), ("null", ""), ("", "cross-site")):
        answer = Browser(app).open("POST", PATH + code, {"Origin": origin, "Sec-Fetch-Site": site})
        assert answer.status_code == 403
        assert answer.json["type"] == "/problems/foreign-origin"
    program = Browser(app).open("POST", PATH + code, {"Origin": ""})
    assert program.status_code == 303, "curl sends no origin, and the code was not used up"


def test_over_tls_the_cookie_has_the_name_that_no_other_host_can_set(app: OpenAPI, settings: Settings, subject: str):
    browser = Browser(app, "https://chat.example.com")
    cookie = browser.sign_in(make_code(settings.database_url, subject)).headers["Set-Cookie"]
    assert cookie.startswith("__Host-session=")
    assert {"Secure", "HttpOnly", "Path=/", "SameSite=Lax"} <= set(cookie.split("; "))
    assert "Domain" not in cookie
    assert browser.get("/api/v1/me").status_code == 200


def test_on_plain_http_elsewhere_nobody_signs_in(app: OpenAPI, browser: Browser, settings: Settings):
    code = make_code(settings.database_url, "ann")
    away = Browser(app, "http://chat.example.com")
    assert away.get(PATH + code).status_code == 403
    answer = away.sign_in(code)
    assert answer.json["type"] == "/problems/insecure-site"
    assert "PUBLIC_URL" in answer.json["detail"]
    assert "TLS" in answer.json["detail"]
    for name in ("session", "__Host-session"):
        stolen = away.get("/api/v1/me", Cookie=f"{name}={browser.secret}")
        assert stolen.status_code == 401, name


def test_where_plain_http_is_accepted_people_sign_in_at_any_address(make_app: Any, database_url: str):
    browser = Browser(make_app(sign_in_over_http=True), "http://192.168.1.20:8000")
    cookie = browser.sign_in(make_code(database_url, "ann")).headers["Set-Cookie"]
    assert cookie.startswith("session=")
    assert "HttpOnly" in cookie
    assert "Secure" not in cookie
    assert browser.get("/api/v1/me").status_code == 200
    foreign = browser.open("POST", "/api/v1/auth/check", {"Cookie": cookie, "Origin": "http://192.168.1.21:8000"})
    assert foreign.json["type"] == "/problems/foreign-origin"


def test_behind_a_proxy_that_ends_tls_the_public_url_decides(make_app: Any, database_url: str):
    app = make_app(public_url="https://chat.example.com")
    browser = Browser(app, "http://chat.example.com")
    code = make_code(database_url, "ann")
    own = {"Origin": "https://chat.example.com"}
    cookie = browser.open("POST", PATH + code, own).headers["Set-Cookie"]
    assert cookie.startswith("__Host-session=")
    headers = {"Cookie": cookie.partition(";")[0]}
    assert browser.get("/api/v1/me", **headers).status_code == 200
    assert browser.open("POST", "/api/v1/auth/check", {**headers, **own}).status_code == 204
    assert browser.open("POST", "/api/v1/auth/check", {**headers, "Origin": "https://evil.example"}).status_code == 403


CHECK = "/api/v1/auth/check"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 204),
        ({"Origin": "", "Sec-Fetch-Site": "same-origin"}, 204),
        ({"Origin": "null", "Sec-Fetch-Site": "same-origin"}, 204),
        ({"Origin": ""}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "https://localhost"}, 403),
        ({"Origin": "http://localhost:81"}, 403),
        ({"Origin": "http://localhost.evil.example"}, 403),
        ({"Origin": "", "Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "", "Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": "", "Sec-Fetch-Site": "none"}, 403),
    ],
)
def test_a_change_by_cookie_comes_from_a_page_of_this_origin(browser: Browser, headers: dict[str, str], status: int):
    answer = browser.open("POST", CHECK, headers)
    assert answer.status_code == status
    if status == 403:
        assert answer.json["type"] == "/problems/foreign-origin"
        assert browser.delete("/api/v1/sessions", headers=headers).status_code == 403


def test_a_token_needs_no_origin_and_wins_over_the_cookie(browser: Browser):
    headers = {"Authorization": f"Bearer {token('bob')}", "Origin": "https://evil.example"}
    assert browser.open("POST", CHECK, headers).status_code == 204
    assert browser.get("/api/v1/me", **headers).json["subject"] == "bob"
    assert browser.get("/api/v1/me", Authorization="Bearer wrong").status_code == 401, "the cookie is not tried"


def test_a_page_of_another_origin_is_allowed_no_cookie(make_app: Any, database_url: str):
    app = make_app(cors_origins=("https://other.example",))
    browser = Browser(app)
    browser.sign_in(make_code(database_url, "ann"))
    answer = browser.get("/api/v1/me", Origin="https://other.example")
    assert "Access-Control-Allow-Credentials" not in answer.headers


def hostile(good: str) -> list[str]:
    """Values of a session cookie that are none."""
    return [
        "", "x", "A" * 43, good[:-1], good + "A", good.swapcase(), f'"{good}', "%00" * 14, "é" * 20, "x" * 8000,
        "' OR 1=1 --", "../../etc/passwd", "null", "0", "eyJhbGciOiJub25lIn0.e30.", good.encode().hex(),
    ]  # fmt: skip


def test_every_wrong_cookie_is_refused_in_the_same_words(app: OpenAPI, browser: Browser):
    assert browser.secret is not None
    bodies = set()
    for value in hostile(browser.secret):
        answer = Browser(app).get("/api/v1/me", Cookie=f"session={value}")
        assert answer.status_code == 401, value
        body = answer.json
        assert body.pop("request_id")
        bodies.add(str(body))
    assert len(bodies) == 1


def test_of_two_cookies_none_counts(app: OpenAPI, settings: Settings, browser: Browser):
    """A program at another port of this machine can add a cookie of this name, for a longer path."""
    mallory = signed_in(app, settings, "mallory")
    for first, second in ((browser, mallory), (mallory, browser)):
        both = f"session={first.secret}; session={second.secret}"
        assert Browser(app).get("/api/v1/me", Cookie=both).status_code == 401


def test_the_cookie_counts_at_its_own_place_only(app: OpenAPI, browser: Browser):
    secret = browser.secret
    for query in (f"session={secret}", f"__Host-session={secret}", f"token={secret}", f"ticket={secret}"):
        assert Browser(app).get(f"/api/v1/me?{query}").status_code == 401, query
    assert Browser(app).get("/api/v1/me", Authorization=f"Bearer {secret}").status_code == 401
    assert Browser(app).get("/api/v1/me", Cookie=f"__Host-session={secret}").status_code == 401
    secure = Browser(app, "https://localhost")
    assert secure.get("/api/v1/me", Cookie=f"session={secret}").status_code == 401


def test_a_planted_session_is_not_the_one_that_signs_in(app: OpenAPI, settings: Settings, subject: str):
    """The sign-in replaces a session that the browser had before: an attacker's, or an invented one."""
    mallory = signed_in(app, settings, "mallory")
    planted = mallory.secret
    victim = Browser(app)
    victim.client.set_cookie("session", planted or "", domain="localhost")
    victim.sign_in(make_code(settings.database_url, subject))
    assert victim.secret not in (None, planted)
    assert victim.get("/api/v1/me").json["subject"] == subject
    assert mallory.get("/api/v1/me").status_code == 401, "the planted session has ended"


def test_sessions_are_listed_and_the_current_one_is_marked(app: OpenAPI, settings: Settings, subject: str):
    first, second = (signed_in(app, settings, subject) for _ in range(2))
    items = second.get("/api/v1/sessions").json["items"]
    assert [item["current"] for item in items] == [True, False]
    assert items[0]["id"] == second.get("/api/v1/me").json["sign_in"]["session_id"]
    assert (items[0]["user_agent"], items[0]["address"], items[0]["method"]) == ("Test/1.0", "127.0.0.1", "link")
    assert [item["current"] for item in first.get("/api/v1/sessions").json["items"]] == [False, True]
    by_token = Person(app.test_client(), subject).get("/api/v1/sessions").json["items"]
    assert [item["current"] for item in by_token] == [False, False]


def test_a_session_ends_on_purpose(app: OpenAPI, settings: Settings, subject: str):
    first, second, third = (signed_in(app, settings, subject) for _ in range(3))
    other = first.get("/api/v1/me").json["sign_in"]["session_id"]
    assert second.delete(f"/api/v1/sessions/{other}").status_code == 204
    assert second.delete(f"/api/v1/sessions/{other}").status_code == 404
    assert first.get("/api/v1/me").status_code == 401
    own = second.get("/api/v1/me").json["sign_in"]["session_id"]
    assert second.delete(f"/api/v1/sessions/{own}").status_code == 204
    assert second.secret is None, "the cookie is removed, too"
    assert third.get("/api/v1/me").status_code == 200


def test_the_session_of_another_user_is_not_found(app: OpenAPI, settings: Settings, browser: Browser):
    mallory = signed_in(app, settings, "mallory")
    session_id = browser.get("/api/v1/me").json["sign_in"]["session_id"]
    assert mallory.delete(f"/api/v1/sessions/{session_id}").status_code == 404
    assert browser.get("/api/v1/me").status_code == 200


def test_signing_out_everywhere_ends_all_of_ones_own(app: OpenAPI, settings: Settings, browser: Browser, subject: str):
    second, bob = signed_in(app, settings, subject), signed_in(app, settings, "bob")
    assert browser.delete("/api/v1/sessions").status_code == 204
    assert [found.get("/api/v1/me").status_code for found in (browser, second, bob)] == [401, 401, 200]


def test_signing_out_everywhere_ends_the_tokens_issued_before(app: OpenAPI, browser: Browser, subject: str):
    old = Person(app.test_client(), subject)
    bob = Person(app.test_client(), f"bob-{subject}")
    assert [old.get("/api/v1/me").status_code, bob.get("/api/v1/me").status_code] == [200, 200]
    assert browser.delete("/api/v1/sessions").status_code == 204
    assert until(lambda: old.get("/api/v1/me").status_code == 401)
    assert bob.get("/api/v1/me").status_code == 200
    later = {"Authorization": f"Bearer {token(subject, iat=int(time.time()) + 2)}"}
    assert app.test_client().get("/api/v1/me", headers=later).status_code == 200


def test_sign_out_with_a_token_ends_that_token(app: OpenAPI, subject: str):
    first, second = ({"Authorization": f"Bearer {token(subject, jti=name)}"} for name in ("a", "b"))
    client = app.test_client()
    assert client.post("/signout", headers=first).json == {"next": "/"}
    assert until(lambda: client.get("/api/v1/me", headers=first).status_code == 401)
    assert client.get("/api/v1/me", headers=second).status_code == 200


def test_an_open_stream_is_a_use_of_its_session(process: WebProcess, settings: Settings, browser: Browser):
    made = browser.post("/api/v1/generations", json={"message": "hello"}).json
    session_id = browser.get("/api/v1/me").json["sign_in"]["session_id"]
    path = f"/api/v1/generations/{made['generation']['id']}/stream"
    response = browser.client.get(path, base_url=browser.base, buffered=False)
    assert response.status_code == 200

    with owner(settings.database_url) as cursor:
        cursor.execute("UPDATE sessions SET seen_at = now() - interval '2 minutes' WHERE id = %s", (session_id,))
    process.live.session_keeper.keep()
    with owner(settings.database_url) as cursor:
        cursor.execute("SELECT seen_at > now() - interval '1 minute' FROM sessions WHERE id = %s", (session_id,))
        assert cursor.fetchone() == (True,)
    response.close()


def test_a_blocked_user_is_refused_and_not_signed_out(app: OpenAPI, settings: Settings, browser: Browser):
    me = browser.get("/api/v1/me").json
    other = signed_in(app, settings, me["subject"])
    user_id = me["id"]
    database = Database(as_login(settings.database_url, WEB), 1)
    with database.operator() as tx:
        access.block(tx, user_id)
    assert until(lambda: browser.get("/api/v1/me").status_code == 403)
    assert browser.get("/api/v1/me").json["type"] == "/problems/blocked"
    assert browser.secret is not None
    assert other.post("/signout").json == {"next": "/"}
    assert other.secret is None
    with database.operator() as tx:
        access.unblock(tx, user_id)
    database.close()
    assert until(lambda: browser.get("/api/v1/me").status_code == 200)
    assert len(browser.get("/api/v1/sessions").json["items"]) == 1


def test_sign_out_ends_the_session_and_removes_the_cookie(browser: Browser, app: OpenAPI):
    secret = browser.secret
    answer = browser.post("/signout")
    assert (answer.status_code, answer.json) == (200, {"next": "/"})
    assert answer.headers["Clear-Site-Data"] == '"storage"'
    deleted = [cookie for cookie in answer.headers.getlist("Set-Cookie") if "Max-Age=0" in cookie]
    assert "unbroken-language" in {cookie.partition("=")[0] for cookie in deleted}
    assert browser.secret is None
    assert Browser(app).get("/api/v1/me", Cookie=f"session={secret}").status_code == 401
    again = browser.post("/signout", headers={"Accept": "text/html"})
    assert (again.status_code, again.headers["Location"]) == (303, "/")


def test_a_browser_loses_its_secret_though_the_database_is_away(browser: Browser):
    secret = browser.secret
    away = create_app(make_settings("postgresql://nobody@127.0.0.1:1/none", "redis://127.0.0.1:1/0"))
    other = Browser(away)
    other.client.set_cookie("session", secret or "", domain="localhost")
    answer = other.post("/signout")
    away.extensions[EXTENSION].close()
    assert (answer.status_code, answer.json) == (200, {"next": "/"})
    assert other.secret is None


def test_another_origin_signs_nobody_out(browser: Browser):
    for headers in ({"Origin": "https://evil.example"}, {"Origin": "", "Sec-Fetch-Site": "cross-site"}):
        assert browser.post("/signout", headers=headers).status_code == 403
    assert browser.get("/api/v1/me").status_code == 200


def test_a_sign_in_too_many_ends_the_oldest(make_app: Any, database_url: str):
    app = make_app(max_sessions_per_user=2)
    browsers = [Browser(app) for _ in range(3)]
    for browser in browsers:
        browser.sign_in(make_code(database_url, "ann"))
    assert [browser.get("/api/v1/me").status_code for browser in browsers] == [401, 200, 200]


def test_sign_ins_are_limited_by_address(make_app: Any):
    app = make_app(ratelimit_sign_ins="2/minute")
    statuses = [Browser(app).get(f"{PATH}x").status_code for _ in range(3)]
    assert statuses == [404, 404, 429]
    answer = Browser(app).sign_in("x")
    assert "RATELIMIT_SIGN_INS" in answer.json["detail"]
    assert "for each address" in answer.json["detail"]


def test_no_log_has_the_code_of_a_link():
    for text in ("GET /signin/once/SECRET HTTP/1.1", "https://x/signin/once/SECRET?a=b", "/SIGNIN/ONCE/SECRET"):
        assert "SECRET" not in without_secrets(text)
    assert without_secrets("GET https://x/s/SECRET?a=b, /s//SECRET") == "GET https://x/s/[redacted]?a=b, /s//[redacted]"
    assert without_secrets("/signin//once//SECRET") == "/signin//once//[redacted]"
    assert without_secrets("/signin/once/x/y") == "/signin/once/[redacted]/y"


def test_a_name_is_shown_as_text(app: OpenAPI, settings: Settings):
    code = make_code(settings.database_url, "<script>alert(1)</script>")
    assert "<script>alert" not in Browser(app).get(PATH + code).text


def test_sign_in_and_end_are_audited(browser: Browser, settings: Settings):
    session_id = browser.get("/api/v1/me").json["sign_in"]["session_id"]
    browser.post("/signout")
    with owner(settings.database_url) as cursor:
        cursor.execute(
            "SELECT action, credential_kind, credential_id, address FROM audit WHERE object_id = %s ORDER BY id",
            (session_id,),
        )
        rows = cursor.fetchall()
    assert rows == [
        ("session.begun", "session", session_id, "127.0.0.1"),
        ("session.ended", "session", session_id, "127.0.0.1"),
    ]
