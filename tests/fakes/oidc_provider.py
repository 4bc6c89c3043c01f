"""A fake identity provider: OpenID Connect over real HTTP, strict with its client, and wrong where a test wants it.

It signs in the user of ``switches.user`` at once, without a page. A request that a real provider refuses is refused:
another client or secret, an address that is not registered, a request without PKCE, a code that was used. It imports no
code of the service and no library of the service's protocol.

In a test::

    with OIDCProvider(origin="http://127.0.0.1:8000") as provider:
        parameters = provider.browse(url)          # a browser at the authorization endpoint: the answer's parameters
        provider.switches.wrong_nonce = True        # the next ID token is wrong
        provider.rotate()                           # a new key signs, the old one is not published any more
        provider.logout_token(sub="alice")          # a token for the back channel
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import secrets
import time
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from urllib.error import HTTPError
from urllib.parse import parse_qsl, unquote_plus, urlencode, urlsplit

import jwt
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from tests.fakes.serving import ThreadedServer

CLIENT_ID = "unbroken"
CLIENT_SECRET = "a secret: with + and %"
LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"
_HUGE = 3_000_000


@dataclass
class Switches:
    """The user who signs in, and what is wrong. A test sets the fields; ``OIDCProvider.reset`` takes all back."""

    user: dict[str, Any] = field(
        default_factory=lambda: {
            "sub": "alice", "email": "alice@example.com", "email_verified": True, "name": "Alice", "roles": ["users"],
        }
    )  # fmt: skip
    sid: str | None = "session-1"
    in_userinfo: bool = False  # the person's claims stand in the userinfo response alone
    userinfo_subject: str | None = None
    client_authentication: tuple[str, ...] = ("client_secret_basic", "client_secret_post")
    names_itself: bool = True  # RFC 9207
    discovery: dict[str, Any] = field(default_factory=dict)  # over the document's fields; None leaves one out
    claims: dict[str, Any] = field(default_factory=dict)  # over the ID token's claims; None leaves one out
    header: dict[str, Any] = field(default_factory=dict)  # over the headers of tokens; None leaves one out
    answer: dict[str, str | None] = field(default_factory=dict)  # over the parameters of the callback
    wrong_nonce: bool = False
    clock: float = 0  # seconds by which its clock is ahead
    algorithm: str = "RS256"  # also none, and HS256 with the public key as the secret
    stale_key: bool = False  # a key signs that is not published
    wrong_signature: bool = False
    statuses: dict[str, int] = field(default_factory=dict)  # by path
    huge: set[str] = field(default_factory=set)  # paths whose document is huge
    dripping: set[str] = field(default_factory=set)  # paths that send a byte now and then, for ever
    redirecting: set[str] = field(default_factory=set)  # paths that redirect to themselves


@dataclass
class OIDCProvider(ThreadedServer):
    """The provider in a thread. ``origin`` is the public address of its one client."""

    origin: str = "http://127.0.0.1:1"
    port: int = 0
    client_id: str = CLIENT_ID
    client_secret: str = CLIENT_SECRET
    switches: Switches = field(default_factory=Switches)
    requests: Counter[str] = field(default_factory=Counter)
    ended: list[dict[str, str]] = field(default_factory=list)  # sign-outs that arrived

    def service(self) -> OIDCProvider:
        self._codes: dict[str, dict[str, str]] = {}
        self._access: set[str] = set()
        self._numbers = iter(range(1, 1_000_000))
        self._elliptic = ec.generate_private_key(ec.SECP256R1())
        self.rotate()
        return self

    def close(self) -> None:
        """Nothing is open."""

    def reset(self) -> None:
        """Behave well again, and count from zero."""
        self.switches = Switches()
        self.requests.clear()
        self.ended.clear()

    def rotate(self) -> None:
        """Sign with a new key from now on."""
        self._key = rsa.generate_private_key(65537, 2048)
        self.key_id = f"key-{next(self._numbers)}"

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.port}/realm"

    # The side of a browser and of the back channel.

    def browse(self, url: str) -> dict[str, str]:
        """Open the authorization request as a browser does. Returns the parameters of the way back."""
        assert url.startswith(f"{self.issuer}/authorize?"), url
        place = visit(url)
        assert place.startswith(f"{self.origin}/signin/callback?"), place
        return dict(parse_qsl(urlsplit(place).query, keep_blank_values=True))

    def logout_token(self, **changes: Any) -> str:
        """A token for the back channel; ``changes`` replace claims, and None leaves one out."""
        now = int(time.time() + self.switches.clock)
        claims = {
            "iss": self.issuer, "aud": self.client_id, "iat": now, "exp": now + 120, "jti": secrets.token_hex(8),
            "events": {LOGOUT_EVENT: {}}, "sub": self.switches.user["sub"], "sid": self.switches.sid,
        }  # fmt: skip
        return self._sign(claims | changes, "logout+jwt")

    # The side of the client.

    def application(self) -> web.Application:
        application = web.Application(middlewares=[self._faults])
        application.add_routes([
            web.get("/realm/.well-known/openid-configuration", self._discovery),
            web.get("/realm/jwks", self._jwks),
            web.get("/realm/authorize", self._authorize),
            web.post("/realm/token", self._token),
            web.get("/realm/userinfo", self._userinfo),
            web.get("/realm/logout", self._logout),
        ])  # fmt: skip
        return application

    @web.middleware
    async def _faults(self, request: web.Request, handler: Any) -> web.StreamResponse:
        path, switches = request.path.removeprefix("/realm/").removeprefix(".well-known/"), self.switches
        self.requests[path] += 1
        if path in switches.statuses:
            return web.json_response({"error": "server_error"}, status=switches.statuses[path])
        if path in switches.redirecting:
            return web.Response(status=302, headers={"Location": str(request.url)})
        if path in switches.dripping:
            response = web.StreamResponse(headers={"Content-Type": "application/json"})
            await response.prepare(request)
            while True:
                await response.write(b" ")
                await asyncio.sleep(0.01)
        response = await handler(request)
        if path in switches.huge:
            response.text = response.text + " " * _HUGE
        return response

    async def _discovery(self, request: web.Request) -> web.Response:
        document = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "userinfo_endpoint": f"{self.issuer}/userinfo",
            "jwks_uri": f"{self.issuer}/jwks",
            "end_session_endpoint": f"{self.issuer}/logout",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256", "ES256", "HS256", "none"],
            "token_endpoint_auth_methods_supported": list(self.switches.client_authentication),
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": self.switches.names_itself,
            "backchannel_logout_supported": True,
        }
        return web.json_response(_without_none(document | self.switches.discovery))

    async def _jwks(self, request: web.Request) -> web.Response:
        published = RSAAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        elliptic = ECAlgorithm.to_jwk(self._elliptic.public_key(), as_dict=True)
        small = RSAAlgorithm.to_jwk(_SMALL.public_key(), as_dict=True) | {"kid": "small"}
        return web.json_response({
            "keys": [
                {"kty": "AKP", "kid": "of another kind"},
                {"kty": "oct", "k": _text(b"a shared secret that is no public key"), "kid": "shared"},
                *([small] if self.switches.header.get("kid") == "small" else ()),
                published | {"kid": "for-encryption", "use": "enc"},
                published | {"kid": self.key_id, "use": "sig", "alg": "RS256"},
                elliptic | {"kid": "elliptic"},
            ]
        })  # fmt: skip

    async def _authorize(self, request: web.Request) -> web.Response:
        given = dict(request.query)
        wanted = {"response_type": "code", "client_id": self.client_id, "code_challenge_method": "S256"}
        if given.get("redirect_uri") != f"{self.origin}/signin/callback":
            return web.Response(status=400, text="the redirect URI is not registered")
        if any(given.get(name) != value for name, value in wanted.items()) or "openid" not in given["scope"].split():
            return web.Response(status=400, text="not a request of this client")
        if any(len(given.get(name, "")) < 20 for name in ("state", "nonce", "code_challenge")):
            return web.Response(status=400, text="state, nonce and code_challenge are needed")
        code = secrets.token_urlsafe(16)
        self._codes[code] = given
        answer = {"code": code, "state": given["state"], "iss": self.issuer if self.switches.names_itself else None}
        place = f"{given['redirect_uri']}?{urlencode(_without_none(answer | self.switches.answer))}"
        return web.Response(status=302, headers={"Location": place})

    async def _token(self, request: web.Request) -> web.Response:
        given = {name: str(value) for name, value in (await request.post()).items()}
        if self._client_of(request, given) != (self.client_id, self.client_secret):
            return web.json_response({"error": "invalid_client"}, status=401)
        begun = self._codes.pop(given.get("code", ""), None)
        if given.get("grant_type") != "authorization_code" or begun is None:
            return web.json_response({"error": "invalid_grant", "error_description": "used, or unknown"}, status=400)
        proof = _text(hashlib.sha256(given.get("code_verifier", "").encode()).digest())
        if proof != begun["code_challenge"] or given.get("redirect_uri") != begun["redirect_uri"]:
            return web.json_response({"error": "invalid_grant"}, status=400)
        access_token = secrets.token_urlsafe(16)
        self._access.add(access_token)
        return web.json_response({
            "access_token": access_token, "token_type": "Bearer", "expires_in": 300,
            "id_token": self._id_token(begun["nonce"], access_token),
        })  # fmt: skip

    async def _userinfo(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization", "").removeprefix("Bearer ") not in self._access:
            return web.json_response({"error": "invalid_token"}, status=401)
        subject = self.switches.userinfo_subject or self.switches.user["sub"]
        return web.json_response(self.switches.user | {"sub": subject})

    async def _logout(self, request: web.Request) -> web.Response:
        given = dict(request.query)
        if given.get("post_logout_redirect_uri") != f"{self.origin}/signin" or given["client_id"] != self.client_id:
            return web.Response(status=400, text="the way back is not registered")
        if "id_token_hint" in given:
            jwt.decode(given["id_token_hint"], self._key.public_key(), ["RS256"], audience=self.client_id)
        self.ended.append(given)
        place = f"{given['post_logout_redirect_uri']}?{urlencode({'state': given['state']})}"
        return web.Response(status=302, headers={"Location": place})

    def _client_of(self, request: web.Request, given: dict[str, str]) -> tuple[str | None, str | None]:
        scheme, _, coded = request.headers.get("Authorization", "").partition(" ")
        if scheme == "Basic" and "client_secret_basic" in self.switches.client_authentication:
            name, _, secret = base64.b64decode(coded).decode().partition(":")
            return unquote_plus(name), unquote_plus(secret)
        if "client_secret_post" in self.switches.client_authentication:
            return given.get("client_id"), given.get("client_secret")
        return None, None

    def _id_token(self, nonce: str, access_token: str) -> str:
        switches, now = self.switches, int(time.time() + self.switches.clock)
        half = hashlib.sha256(access_token.encode()).digest()[:16]
        claims = {
            "iss": self.issuer, "aud": self.client_id, "iat": now, "exp": now + 300, "at_hash": _text(half),
            "nonce": secrets.token_urlsafe(16) if switches.wrong_nonce else nonce, "sid": switches.sid,
        }  # fmt: skip
        person = {"sub": switches.user["sub"]} if switches.in_userinfo else switches.user
        return self._sign(claims | person | switches.claims, "JWT")

    def _sign(self, claims: dict[str, Any], kind: str) -> str:
        switches = self.switches
        header = _without_none({"kid": self.key_id, "typ": kind, "alg": switches.algorithm} | switches.header)
        body = f"{_text(json.dumps(header).encode())}.{_text(json.dumps(_without_none(claims)).encode())}"
        signature = self._signature(body.encode())
        return f"{body}.{_text(signature[::-1] if switches.wrong_signature else signature)}"

    def _signature(self, body: bytes) -> bytes:
        match self.switches.algorithm:
            case "none":
                return b""
            case "HS256":
                pem = self._key.public_key().public_bytes(
                    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
                )
                return hmac.new(pem, body, hashlib.sha256).digest()
            case "ES256":
                return jwt.get_algorithm_by_name("ES256").sign(body, self._elliptic)
            case _:
                key = _SMALL if self.switches.header.get("kid") == "small" else self._key
                return jwt.get_algorithm_by_name("RS256").sign(body, _STALE if self.switches.stale_key else key)


def visit(url: str) -> str:
    """The address to which a page redirects. Raises AssertionError for a page that does not."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _Stay())
    try:
        with opener.open(url, timeout=20) as response:
            raise AssertionError(f"no redirect: {response.status}")
    except HTTPError as error:
        if error.code not in (302, 303):
            raise AssertionError(f"no redirect: {error.code} {error.read()[:200]!r}") from None
        return str(error.headers["Location"])


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows no redirect."""

    def redirect_request(self, *arguments: Any) -> None:
        return None


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


_STALE = rsa.generate_private_key(65537, 2048)
_SMALL = rsa.generate_private_key(65537, 1024)
