"""The logout token that an identity provider sends by itself (OpenID Connect Back-Channel Logout 1.0, section 2.6)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwt import JWTClaimsRegistry

from app.domain.errors import SignInFailed
from app.openid import claims
from app.openid.client import LEEWAY_SECONDS, OLDEST_SECONDS, Client, Ended
from app.openid.signed import Signed

EVENT = "http://schemas.openid.net/event/backchannel-logout"
# A token of the type "JWT" says nothing about its type; providers older than the specification send it.
_TYPES = frozenset({"", "jwt", "logout+jwt", "application/logout+jwt"})
_ESSENTIAL = ("iss", "aud", "iat", "exp", "jti")


def check(token: Signed, client: Client) -> Ended:
    """The sessions that end. Raises SignInFailed."""
    if str(token.header.get("typ", "")).lower() not in _TYPES:
        raise SignInFailed("a token of another type in the place of the logout token")
    given, now = token.claims, time.time()
    options: dict[str, Any] = {name: {"essential": True} for name in _ESSENTIAL}
    options["iss"]["value"], options["aud"]["value"] = client.issuer, client.client_id
    try:
        JWTClaimsRegistry(int(now), LEEWAY_SECONDS, **options).validate(given)
    except (JoseError, ValueError, TypeError) as error:
        raise SignInFailed(f"the logout token is refused: {type(error).__name__}") from None
    if now - given["iat"] > OLDEST_SECONDS + LEEWAY_SECONDS:
        raise SignInFailed("the logout token is too old")
    if "nonce" in given or not _is_logout(given.get("events")):
        raise SignInFailed("the token is not for a logout")
    ended = Ended(client.issuer, _optional(given, "sub"), _optional(given, "sid"), _needed(given, "jti"))
    if ended.subject is None and ended.sid is None:
        raise SignInFailed("the logout token names neither a subject nor a session")
    return ended


def _is_logout(events: Any) -> bool:
    return isinstance(events, Mapping) and isinstance(events.get(EVENT), Mapping)


def _optional(given: Mapping[str, Any], name: str) -> str | None:
    return None if given.get(name) is None else _needed(given, name)


def _needed(given: Mapping[str, Any], name: str) -> str:
    found = claims.text(given.get(name))
    if found is None:
        raise SignInFailed(f"the logout token's {name} is no text of 1 to {claims.LONGEST} characters")
    return found
