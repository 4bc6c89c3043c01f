"""Bearer tokens (JWT): HS256 with a shared secret, RS256 and ES256 with published keys."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from threading import Lock
from time import monotonic
from typing import Any, NamedTuple

import jwt
from flask import Flask, g
from flask_jwt_extended import JWTManager, decode_token
from flask_jwt_extended.exceptions import JWTExtendedException, WrongTokenError
from pydantic import SecretStr

from app.api.auth.bearer import bearer
from app.api.auth.caller import Caller
from app.api.errors import Unauthenticated
from app.config import Settings
from app.domain.credential import Credential
from app.domain.errors import StoreDown, TokenEnded
from app.wiring import Resources

LEEWAY_SECONDS = 5
REQUIRED = ("exp", "iat", "aud", "iss", "sub")
# The end of the year 9999, in seconds since 1970. Tokens that never expire, or count in milliseconds, have later ones.
LATEST = 253_402_300_799
_JWKS_FRESH_SECONDS = 300
_JWKS_TIMEOUT_SECONDS = 3
# Verified tokens whose claims a process keeps: some megabytes.
_MOST_CACHED = 10_000
# The one spelling of a token. The library accepts padding, too: then one token would have several digests, and one that
# was ended by its digest would go on working in another spelling.
_SPELLING = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")


class KeysUnknown(StoreDown):
    """The server that publishes the signing keys does not answer; try again a little later."""


@dataclass(frozen=True, slots=True)
class Claims:
    """The claims of a verified token. ``issued_at`` and ``expires_at`` are in seconds since 1970."""

    subject: str
    role: str | None
    expires_at: float
    issued_at: float
    digest: str


class Keys:
    """The keys that may have signed a token. An algorithm is only tried with keys of its own kind."""

    def __init__(self, secrets: Sequence[str], jwks_url: str | None) -> None:
        self._secrets = secrets
        self._client = _jwks_client(jwks_url) if jwks_url else None

    @property
    def has_secrets(self) -> bool:
        """True when a secret may have signed a token."""
        return bool(self._secrets)

    @property
    def algorithms(self) -> list[str]:
        """The accepted algorithms."""
        return (["HS256"] if self._secrets else []) + (["RS256", "ES256"] if self._client else [])

    @property
    def published(self) -> object | None:
        """The set of published keys in use; None when the next token causes a fetch."""
        cache = self._client.jwk_set_cache if self._client else None
        return None if cache is None or cache.is_expired() else cache.jwk_set_with_timestamp

    def candidates(self, token: str) -> list[Any]:
        """The keys to try for this token, the current one first. Raises KeysUnknown; Unauthenticated for no key."""
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


class _Verified(NamedTuple):
    """The claims of a token, and the set of published keys that verified it; None when a secret did."""

    claims: Claims
    published: object | None


class _ClaimsCache:
    """A cache of claims by the digest of the token. The token itself is not kept. Any thread may use it.

    An entry is valid until its token expires, and while the set of published keys that verified it is in use.
    """

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._lock = Lock()
        self._known: dict[bytes, _Verified] = {}

    def get(self, digest: bytes) -> Claims | None:
        """The claims of a token, if it is still accepted."""
        known = self._known.get(digest)
        if known is None:
            return None
        valid = int(known.claims.expires_at) > time.time() - LEEWAY_SECONDS
        if valid and (known.published is None or known.published is self._keys.published):
            return known.claims
        with self._lock:
            self._known.pop(digest, None)
        return None

    def put(self, digest: bytes, verified: _Verified) -> None:
        """Add an entry; a full cache drops its oldest."""
        with self._lock:
            if len(self._known) >= _MOST_CACHED:
                del self._known[next(iter(self._known))]
            self._known[digest] = verified


class Verifier:
    """Verifies tokens of one application with Flask-JWT-Extended, each of them once."""

    def __init__(self, app: Flask, settings: Settings) -> None:
        secrets = [s.get_secret_value() for s in _present(settings.jwt_secret, settings.jwt_secret_previous)]
        self._keys = Keys(secrets, settings.jwt_jwks_url)
        self._cache = _ClaimsCache(self._keys)
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
        token = bearer()
        if token is None:
            raise Unauthenticated
        if not _SPELLING.fullmatch(token):
            raise Unauthenticated("The token cannot be read.", presented=True)
        digest = _digest(token)
        return self._cache.get(digest) or self._verify(token, digest)

    def known(self, token: str) -> Claims | None:
        """The claims of a token that was verified here before and is still accepted; None for all others."""
        return self._cache.get(_digest(token)) if _SPELLING.fullmatch(token) else None

    def may_verify(self, token: str) -> bool:
        """True for a token that ``verify_alone`` may accept."""
        return self._keys.has_secrets and _SPELLING.fullmatch(token) is not None

    def verify_alone(self, token: str) -> Claims | None:
        """The claims of a token that is signed with a secret, beside requests, in a context of the application.

        None for a token that is signed otherwise: its key may have to be fetched. Raises Unauthenticated.
        """
        digest = _digest(token)
        known = self._cache.get(digest)
        if known is None and _algorithm(token) == "HS256":
            return self._verify(token, digest)
        return known

    def _verify(self, token: str, digest: bytes) -> Claims:
        # Read before the check: a set that is fetched during the check did not verify this token.
        published = self._keys.published
        keys = self._keys.candidates(token)
        claims = self._check(token, keys, digest.hex())
        signed_by_secret = not isinstance(keys[0], jwt.PyJWK)
        if signed_by_secret or published is not None:
            self._cache.put(digest, _Verified(claims, None if signed_by_secret else published))
        return claims

    def _check(self, token: str, keys: Sequence[Any], digest: str) -> Claims:
        for key in keys:
            g.signing_key = key
            try:
                return _claims(_access_token(token), digest)
            except jwt.InvalidSignatureError:
                continue
            except (jwt.PyJWTError, JWTExtendedException) as error:
                raise Unauthenticated(_reason(error), presented=True) from None
            finally:
                del g.signing_key
        raise Unauthenticated("The token's signature is not valid.", presented=True)


class TokenMethod:
    """Authenticates requests by a token, `Authorization: Bearer <JWT>`."""

    def __init__(self, verifier: Verifier) -> None:
        self._verifier = verifier

    def authenticate(self, resources: Resources) -> Caller | None:
        """The caller; None without a Bearer. Raises Unauthenticated, KeysUnknown, UserBlocked, DatabaseDown."""
        if bearer() is None:
            return None
        try:
            return caller_of(self._verifier.verify(), resources)
        except TokenEnded:
            raise Unauthenticated(presented=True) from None


def caller_of(claims: Claims, resources: Resources) -> Caller:
    """The caller whom a verified token proves. Raises TokenEnded, UserBlocked, DatabaseDown."""
    # Before the user is looked up: a later revocation counts.
    began = monotonic()
    credential = Credential("token", claims.digest)
    user = resources.users.user(claims.subject, claims.role, credential, claims.issued_at)
    return Caller(user, claims.expires_at, began)


def _digest(token: str) -> bytes:
    return sha256(token.encode()).digest()


def _access_token(token: str) -> dict[str, Any]:
    """The verified payload. The library gets the token alone: it accepts only one spelling of the scheme."""
    payload: dict[str, Any] = decode_token(token)
    if payload.get("type") == "refresh":
        raise WrongTokenError("Only non-refresh tokens are allowed")
    return payload


def _algorithm(token: str) -> str | None:
    try:
        return jwt.get_unverified_header(token).get("alg")
    except jwt.PyJWTError:
        raise Unauthenticated("The token cannot be read.", presented=True) from None


def _claims(payload: Mapping[str, Any], digest: str) -> Claims:
    missing = [name for name in REQUIRED if payload.get(name) is None]
    if missing:
        raise Unauthenticated(f"The token has no {', '.join(missing)}.", presented=True)
    subject, role = payload["sub"], payload.get("role")
    if not _storable(subject):
        raise Unauthenticated("The token's subject must be 1 to 255 characters of text.", presented=True)
    expires_at = float(min(int(payload["exp"]), LATEST))
    role = role if isinstance(role, str) else None
    return Claims(subject, role, expires_at, issued_at=float(payload["iat"]), digest=digest)


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
    jwt.InvalidAudienceError: "The token is for another audience.",
    jwt.InvalidIssuerError: "The token has another issuer.",
    jwt.MissingRequiredClaimError: "The token lacks a claim that is needed.",
}


def _present(*secrets: SecretStr | None) -> list[SecretStr]:
    return [secret for secret in secrets if secret is not None]


def _jwks_client(url: str) -> jwt.PyJWKClient:
    return jwt.PyJWKClient(url, cache_jwk_set=True, lifespan=_JWKS_FRESH_SECONDS, timeout=_JWKS_TIMEOUT_SECONDS)
