"""An identity provider ends a session by its back channel, and the streams of that session break in every process."""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest

from dev.server import free_port
from dev.valkey import Valkey
from tests.fakes.oidc_provider import OIDCProvider
from tests.stack import Stack, Web, until

STREAMS = 8
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory, module_database_url: str, valkey: Valkey
) -> Iterator[tuple[Web, OIDCProvider]]:
    """Two web processes, and the identity provider that they know."""
    port = free_port()
    with OIDCProvider(origin=f"http://127.0.0.1:{port}") as provider:
        stack = Stack(
            tmp_path_factory.mktemp("site"),
            module_database_url,
            valkey.url(),
            PUBLIC_URL=provider.origin,
            OIDC_ISSUER=provider.issuer,
            OIDC_CLIENT_ID=provider.client_id,
            OIDC_CLIENT_SECRET=provider.client_secret,
        )
        yield stack.web(2, port=port), provider
        stack.stop()


class Browser:
    """A browser of one person: its cookies, and a connection for each request."""

    def __init__(self, web: Web) -> None:
        self.address = urlsplit(web.url)
        self.cookies: dict[str, str] = {}

    def send(self, method: str, path: str, body: str | None = None, **headers: str) -> http.client.HTTPResponse:
        """Send a request; the response is not read yet."""
        connection = http.client.HTTPConnection(self.address.hostname or "", self.address.port, timeout=20)
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        connection.request(method, path, body, {**({"Cookie": cookie} if cookie else {}), **headers})
        response = connection.getresponse()
        for line in response.headers.get_all("Set-Cookie") or ():
            name, _, value = line.partition(";")[0].partition("=")
            self.cookies[name] = value
        return response

    def sign_in(self, provider: OIDCProvider) -> None:
        begun = self.send("GET", "/signin/oidc")
        answer = urlencode(provider.browse(str(begun.headers["Location"])))
        assert self.send("GET", f"/signin/callback?{answer}").status == 303


def test_a_logout_by_the_provider_breaks_the_streams_of_that_session_alone(site: tuple[Web, OIDCProvider]) -> None:
    web, provider = site
    alice, elsewhere = Browser(web), Browser(web)
    alice.sign_in(provider)
    provider.switches.sid = "session-2"
    elsewhere.sign_in(provider)
    streams = [alice.send("GET", "/api/v1/feed") for _ in range(STREAMS)]
    other = elsewhere.send("GET", "/api/v1/feed")
    assert {stream.status for stream in (*streams, other)} == {200}
    for stream in (*streams, other):
        assert stream.readline()
    provider.switches.sid = "session-1"
    body = urlencode({"logout_token": provider.logout_token()})
    assert Browser(web).send("POST", "/signin/backchannel", body, **FORM).status == 200
    began = time.monotonic()
    for stream in streams:
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            stream.read()
    # One second is promised. A loaded machine needs more for eight streams, and a stream that goes on has no end.
    assert time.monotonic() - began < 10
    assert alice.send("GET", "/api/v1/me").status == 401
    assert elsewhere.send("GET", "/api/v1/me").status == 200
    other.close()


def test_the_log_has_neither_codes_nor_tokens(site: tuple[Web, OIDCProvider], tmp_path: Path) -> None:
    web, provider = site
    browser = Browser(web)
    answer = provider.browse(str(browser.send("GET", "/signin/oidc").headers["Location"]))
    provider.switches.wrong_nonce = True
    assert browser.send("GET", f"/signin/callback?{urlencode(answer)}").status == 403
    token = provider.logout_token(events={})
    body = urlencode({"logout_token": token})
    assert browser.send("POST", "/signin/backchannel", body, **FORM).status == 400
    # A line is written behind the reply.
    until(lambda: all(refusal in web.log() for refusal in ("sign-in refused", "logout token refused")))
    lines = web.log()
    for secret in (answer["code"], answer["state"], token, provider.client_secret, *browser.cookies.values()):
        assert secret not in lines
