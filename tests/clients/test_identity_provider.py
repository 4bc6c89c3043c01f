"""Sign-in, sign-out and back-channel logout with an identity provider that nobody here wrote: npm's oidc-provider."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.cookiejar import CookieJar
from queue import Queue
from socket import socket
from typing import Any
from urllib.error import HTTPError
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit
from urllib.request import HTTPCookieProcessor, HTTPRedirectHandler, ProxyHandler, build_opener

import pytest

from app.openid.client import Client
from app.openid.identity_provider import IdentityProvider
from app.openid.transport import Transport
from dev.server import free_port
from dev.valkey import Valkey
from tests.clients import node as packages
from tests.fakes.raw_server import RawServer
from tests.stack import Stack, Web, until

ORIGIN = "http://127.0.0.1:8000"
SECRET = "a secret: with + and %"


class Browser:
    """A browser that keeps cookies, follows redirects within the provider, and fills in its forms."""

    def __init__(self) -> None:
        self._opener = build_opener(ProxyHandler({}), HTTPCookieProcessor(CookieJar()), _Stay())

    def open(self, url: str, form: dict[str, str] | None = None, stop: str = ORIGIN) -> tuple[str, str]:
        """The address and the text of the page at which the redirects end, or the first address that is ours."""
        data = urlencode(form).encode() if form is not None else None
        for _ in range(20):
            try:
                with self._opener.open(url, data, timeout=5) as response:
                    return url, response.read().decode()
            except HTTPError as error:
                if error.code not in (302, 303):
                    raise AssertionError(f"{error.code}: {error.read()[:500]!r}") from None
                url, data = urljoin(url, error.headers["Location"]), None
            if url.startswith(stop):
                return url, ""
        raise AssertionError("redirects without an end")

    def submit(self, url: str, page: str, stop: str = ORIGIN, **fields: str) -> tuple[str, str]:
        """Send the page's form: its hidden fields and these."""
        action = re.search(r'<form[^>]* action="([^"]+)"', page)
        assert action, page[:500]
        hidden = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', page))
        return self.open(urljoin(url, html.unescape(action[1])), {**hidden, **fields}, stop)

    def status(self, url: str) -> int:
        """The status of an address."""
        try:
            with self._opener.open(url, timeout=20) as response:
                return int(response.status)
        except HTTPError as error:
            return error.code


class _Stay(HTTPRedirectHandler):
    """Leaves redirects to the browser."""

    def redirect_request(self, *arguments: Any) -> None:
        return None


@pytest.fixture(scope="module")
def logouts() -> Iterator[tuple[str, Queue[str]]]:
    """The address of a back channel, and the tokens that arrive there."""
    tokens: Queue[str] = Queue()

    def answer(connection: socket, request: bytes) -> None:
        tokens.put(dict(parse_qsl(request.partition(b"\r\n\r\n")[2].decode()))["logout_token"])
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    with RawServer(answer) as server:
        yield f"{server.origin}/signin/backchannel", tokens


@pytest.fixture(scope="module")
def provider(logouts: tuple[str, Queue[str]]) -> Iterator[IdentityProvider]:
    """This service's client of a running oidc-provider."""
    packages.installed()
    with running(ORIGIN, logouts[0]) as issuer:
        client = Client(issuer, "unbroken", SECRET, ORIGIN, admin_values=frozenset({"admins"}))
        provider = IdentityProvider(client, Transport())
        yield provider
        provider.close()


@contextmanager
def running(origin: str, backchannel: str) -> Iterator[str]:
    """A provider for the client at ``origin``; its issuer."""
    process = packages.node(packages.HERE / "identity_provider.mjs", origin, backchannel)
    assert process.stdout is not None
    try:
        issuer = process.stdout.readline().strip()
        assert issuer, process.stderr and process.stderr.read()
        yield issuer
    finally:
        process.kill()
        process.communicate()


def answer(browser: Browser, url: str, name: str) -> dict[str, str]:
    """Sign in by the provider's forms and consent; the parameters of the way back."""
    place, page = browser.open(url)
    place, page = browser.submit(place, page, login=name, password="any")
    if not place.startswith(ORIGIN):
        place, page = browser.submit(place, page)
    return dict(parse_qsl(urlsplit(place).query))


@pytest.mark.parametrize(("name", "role"), [("alice", None), ("root", "admin")])
def test_a_person_signs_in_and_out(
    provider: IdentityProvider, logouts: tuple[str, Queue[str]], name: str, role: str | None
) -> None:
    browser, begun = Browser(), provider.begin()
    person = provider.finish(answer(browser, begun.url, name), begun)
    assert (person.subject, person.email, person.name, person.role) == (name, f"{name}@example.com", name.upper(), role)
    assert person.sid

    url = provider.end_session_url(person.id_token, "a state")
    assert url is not None
    place, page = browser.open(url)
    place, _ = browser.submit(place, page, logout="yes")
    assert dict(parse_qsl(place.partition("?")[2])) == {"state": "a state"}

    ended = provider.ended(logouts[1].get(timeout=20))
    assert (ended.issuer, ended.sid) == (provider.issuer, person.sid)
    assert ended.subject in (name, None)


@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory, module_database_url: str, valkey: Valkey
) -> Iterator[tuple[Web, IdentityProvider]]:
    """A real instance that knows a running oidc-provider."""
    packages.installed()
    origin = f"http://127.0.0.1:{(port := free_port())}"
    with running(origin, f"{origin}/signin/backchannel") as issuer:
        values = {
            "PUBLIC_URL": origin,
            "OIDC_ISSUER": issuer,
            "OIDC_CLIENT_ID": "unbroken",
            "OIDC_CLIENT_SECRET": SECRET,
        }
        stack = Stack(
            tmp_path_factory.mktemp("site"), module_database_url, valkey.url(), **values, OIDC_ADMIN_VALUES="admins"
        )
        provider = IdentityProvider(Client(issuer, "unbroken", SECRET, origin), Transport())
        yield stack.web(port=port), provider
        provider.close()
        stack.stop()


def signed_in(web: Web, name: str) -> Browser:
    """A browser in which a person has signed in."""
    browser, callback = Browser(), f"{web.url}/signin/callback"
    place, page = browser.open(f"{web.url}/signin/oidc?next=/api/v1/me", stop=callback)
    place, page = browser.submit(place, page, callback, login=name, password="any")
    if not place.startswith(callback):
        place, page = browser.submit(place, page, callback)
    place, page = browser.open(place, stop=callback)
    assert place == f"{web.url}/api/v1/me#signed-in"
    assert json.loads(page)["email"] == f"{name}@example.com"
    assert json.loads(page)["role"] == ("admin" if name == "root" else None)
    return browser


def test_the_provider_signs_a_person_out_of_an_instance(site: tuple[Web, IdentityProvider]) -> None:
    web, provider = site
    first, second, root = signed_in(web, "alice"), signed_in(web, "alice"), signed_in(web, "root")
    url = provider.end_session_url(None, "a state")
    assert url is not None
    first.submit(*first.open(url), web.url, logout="yes")
    me = f"{web.url}/api/v1/me"
    until(lambda: first.status(me) == 401, 10, "the end of the session")
    assert [browser.status(me) for browser in (second, root)] == [200, 200], "other sessions at the provider go on"
