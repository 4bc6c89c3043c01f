"""The ID token of a sign-in (OpenID Connect Core 1.0, section 3.1.3.7): Authlib checks its claims."""

from __future__ import annotations

import time
from typing import Any

from authlib.oidc.core import CodeIDToken
from joserfc.errors import JoseError

from app.domain.errors import SignInFailed
from app.openid import claims
from app.openid.client import LEEWAY_SECONDS, Client
from app.openid.signed import Signed


def check(token: Signed, client: Client, nonce: str, access_token: str | None) -> dict[str, Any]:
    """The claims of a token that is for this client and this sign-in. Raises SignInFailed."""
    if str(token.header.get("typ", "JWT")).lower() != "jwt":
        raise SignInFailed("a token of another type in the place of the ID token")
    options = {
        "iss": {"essential": True, "value": client.issuer},
        "aud": {"essential": True, "value": client.client_id},
        "nonce": {"essential": True, "value": nonce},
    }
    known = {"client_id": client.client_id, "nonce": nonce, "access_token": access_token}
    try:
        CodeIDToken(token.claims, dict(token.header), options, known).validate(int(time.time()), LEEWAY_SECONDS)
    except JoseError as error:
        raise SignInFailed(f"the ID token is refused: {type(error).__name__} {_claim(error)}".rstrip()) from None
    except (ValueError, TypeError, AttributeError):
        raise SignInFailed("the ID token has a claim of a wrong type") from None
    if claims.text(token.claims["sub"]) is None:
        raise SignInFailed("the subject of the ID token is no text of 1 to 255 characters")
    return token.claims


def _claim(error: JoseError) -> str:
    """The name of the claim at fault, without any value of it."""
    name = str(getattr(error, "claim", "") or "")
    return name if name.replace(",", "").isidentifier() else ""
