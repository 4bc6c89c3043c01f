"""Who is asking: verifies the token of a request. HS256 with a shared secret, RS256 and ES256 with published keys."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from threading import Lock
from typing import Any, NamedTuple

import jwt
from flask import Flask, g, request
from flask_jwt_extended import JWTManager, get_jwt, verify_jwt_in_request
from flask_jwt_extended.exceptions import JWTExtendedException, NoAuthorizationError
from pydantic import SecretStr

from app.api.errors import Unauthenticated
from app.config import Settings
from app.domain.commands import User
from app.domain.errors import StoreDown
from app.services.accounts import Accounts
from app.services.tickets import Tickets

LEEWAY_SECONDS = 5
REQUIRED = ("exp", "iat", "aud", "iss", "sub")
# The end of the year 9999, in seconds since 1970. Issuers who mean never, or count in milliseconds, write later ones.
LATEST = 253_402_300_799
_JWKS_FRESH_SECONDS = 300
_JWKS_TIMEOUT_SECONDS = 3
# A token is a few hundred bytes; nobody needs us to decode megabytes.
_LONGEST = 16_384
# Tokens of which a process remembers what they say: some megabytes.
_MOST_REMEMBERED = 10_000


class KeysUnknown(StoreDown):
    """The server that publishes the signing keys does not answer; try again a little later."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What a verified token says. ``expires_at`` in seconds since 1970."""

    subject: str
    role: str | None
    expires_at: float


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is asking, and until when that is known."""

    user: User
    expires_at: float


class Keys:
    """The keys that may have signed a token. An algorithm only ever meets keys of its own kind."""

    def __init__(self, secrets: Sequence[str], jwks_url: str | None) -> None:
        self._secrets = secrets
        self._client = _jwks_client(jwks_url) if jwks_url else None

    @property
    def algorithms(self) -> list[str]:
        """What is accepted at all."""
        return (["HS256"] if self._secrets else []) + (["RS256", "ES256"] if self._client else [])

    @property
    def published(self) -> object | None:
        """The set of published keys that is in use; None when the next token makes us fetch it."""
        cache = self._client.jwk_set_cache if self._client else None
        return None if cache is None or cache.is_expired() else cache.jwk_set_with_timestamp

    def candidates(self, token: str) -> list[Any]:
        """The keys to try for this token, the likeliest first. Raises Unauthenticated when there can be none."""
        algorithm = _algorithm(token)
        if algorithm == "HS256" and self._secrets:
            return list(self._secrets)
        if algorithm in ("RS256", "ES256") and self._client is not None:
            return [self._published(token)]
        raise Unauthenticated("The token is not signed in a way that is accepted here.", presented=True)

    def _published(self, token: str) -> Any:
        assert self._client is not None
        try:
            return self._client.get_signing_key_from_jwt(token)
        except jwt.PyJWKClientConnectionError as error:
            raise KeysUnknown from error
        except jwt.PyJWTError as error:
            raise Unauthenticated("The token is signed with an unknown key.", presented=True) from error


class _Remembered(NamedTuple):
    """What a token said, and the set of published keys that said so; None: a secret did."""

    claims: Claims
    published: object | None


class _Memory:
    """Claims of verified tokens by the digest of the token, never the token itself. Any thread may use it.

    A token is remembered until it expires, and no longer than the set of published keys its key is in.
    """

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._lock = Lock()
        self._known: dict[bytes, _Remembered] = {}

    def recall(self, digest: bytes) -> Claims | None:
        """The claims, if that token would be accepted now as it was then."""
        known = self._known.get(digest)
        if known is None:
            return None
        valid = int(known.claims.expires_at) > time.time() - LEEWAY_SECONDS
        if valid and (known.published is None or known.published is self._keys.published):
            return known.claims
        with self._lock:
            self._known.pop(digest, None)
        return None

    def keep(self, digest: bytes, remembered: _Remembered) -> None:
        """Remember one; the oldest makes room."""
        with self._lock:
            if len(self._known) >= _MOST_REMEMBERED:
                del self._known[next(iter(self._known))]
            self._known[digest] = remembered


class Verifier:
    """Checks tokens of one application with Flask-JWT-Extended; each of them once."""

    def __init__(self, app: Flask, settings: Settings) -> None:
        secrets = [s.get_secret_value() for s in _present(settings.jwt_secret, settings.jwt_secret_previous)]
        self._keys = Keys(secrets, settings.jwt_jwks_url)
        self._memory = _Memory(self._keys)
        app.config.update(
            JWT_TOKEN_LOCATION=["headers"],
            JWT_DECODE_ALGORITHMS=self._keys.algorithms,
            JWT_DECODE_AUDIENCE=settings.jwt_audience,
            JWT_DECODE_ISSUER=settings.jwt_issuer,
            JWT_DECODE_LEEWAY=LEEWAY_SECONDS,
        )
        manager = JWTManager(app)

        @manager.decode_key_loader
        def key(headers: Mapping[str, Any], claims: Mapping[str, Any]) -> Any:
            return g.signing_key

    def verify(self) -> Claims:
        """The claims of this request's token. Raises Unauthenticated, KeysUnknown."""
        token = _bearer()
        digest = sha256(token.encode()).digest()
        return self._memory.recall(digest) or self._verify(token, digest)

    def _verify(self, token: str, digest: bytes) -> Claims:
        # Asked before: keys that are fetched while we look are not the ones that were looked at.
        published = self._keys.published
        keys = self._keys.candidates(token)
        claims = self._check(keys)
        signed_by_secret = not isinstance(keys[0], jwt.PyJWK)
        if signed_by_secret or published is not None:
            self._memory.keep(digest, _Remembered(claims, None if signed_by_secret else published))
        return claims

    def _check(self, keys: Sequence[Any]) -> Claims:
        for key in keys:
            g.signing_key = key
            try:
                verify_jwt_in_request()
                return _claims(get_jwt())
            except jwt.InvalidSignatureError:
                continue
            except (jwt.PyJWTError, JWTExtendedException) as error:
                raise Unauthenticated(_reason(error), presented=True) from None
            finally:
                del g.signing_key
        raise Unauthenticated("The token's signature is not valid.", presented=True)


def caller(verifier: Verifier, accounts: Accounts) -> Caller:
    """Who this request is from; asked once, however often it is needed."""
    if "caller" not in g:
        claims = verifier.verify()
        g.caller = Caller(accounts.user(claims.subject, claims.role), claims.expires_at)
    found: Caller = g.caller
    return found


def by_ticket(
    tickets: Tickets, opens: Callable[[Mapping[str, str]], str | None], path: Mapping[str, str]
) -> Caller | None:
    """Whoever the ticket in the query belongs to; None without one. Raises Unauthenticated when it does not fit.

    A ticket beside a token counts: who puts one into an address means it.
    """
    text = request.args.get("ticket")
    object_id = opens(path) if text is not None else None
    if text is None or object_id is None:
        return None
    admission = tickets.admit(text, object_id)
    if admission is None:
        raise Unauthenticated("The ticket does not open this stream, or not any more.", presented=True)
    g.caller = Caller(admission.user, admission.expires_at)
    found: Caller = g.caller
    return found


def opened_by_ticket() -> bool:
    """Whether this request has no token but a ticket, as a browser's EventSource has."""
    return "ticket" in request.args


def _bearer() -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthenticated
    if len(token) > _LONGEST:
        raise Unauthenticated("The token is too long.", presented=True)
    return token.strip()


def _algorithm(token: str) -> str | None:
    try:
        return jwt.get_unverified_header(token).get("alg")
    except jwt.PyJWTError:
        raise Unauthenticated("The token cannot be read.", presented=True) from None


def _claims(payload: Mapping[str, Any]) -> Claims:
    missing = [name for name in REQUIRED if payload.get(name) is None]
    if missing:
        raise Unauthenticated(f"The token has no {', '.join(missing)}.", presented=True)
    subject, role = payload["sub"], payload.get("role")
    if not _storable(subject):
        raise Unauthenticated("The token's subject must be 1 to 255 characters of text.", presented=True)
    expires_at = float(min(int(payload["exp"]), LATEST))
    return Claims(subject, role if isinstance(role, str) else None, expires_at)


def _storable(subject: Any) -> bool:
    if not isinstance(subject, str) or not 1 <= len(subject) <= 255 or "\0" in subject:
        return False
    return not any(0xD800 <= ord(character) <= 0xDFFF for character in subject)


def _reason(error: Exception) -> str:
    for kind, reason in _REASONS.items():
        if isinstance(error, kind):
            return reason
    return "The token is not valid."


_REASONS: dict[type[Exception], str] = {
    jwt.ExpiredSignatureError: "The token has expired.",
    jwt.ImmatureSignatureError: "The token is not valid yet.",
    jwt.InvalidAudienceError: "The token is for somebody else.",
    jwt.InvalidIssuerError: "The token was issued by somebody else.",
    jwt.MissingRequiredClaimError: "The token lacks a claim that is needed.",
    NoAuthorizationError: "This needs a valid token: Authorization: Bearer <token>.",
}


def _present(*secrets: SecretStr | None) -> list[SecretStr]:
    return [secret for secret in secrets if secret is not None]


def _jwks_client(url: str) -> jwt.PyJWKClient:
    return jwt.PyJWKClient(url, cache_jwk_set=True, lifespan=_JWKS_FRESH_SECONDS, timeout=_JWKS_TIMEOUT_SECONDS)
