"""The cookie that ties a sign-in to the browser which began it: nobody can finish their own sign-in in another one."""

from __future__ import annotations

import re
import secrets

from flask import Response

from app.api.auth.cookies import cookies_named
from app.api.auth.site import OVER_TLS, Site

_OVER_TLS = "__Host-signin"
_ON_THIS_MACHINE = "signin"
_BYTES = 32
_SECRET = re.compile(r"[A-Za-z0-9_-]{43}")


def binding(site: Site) -> str | None:
    """The secret of this browser; None before it has begun a sign-in."""
    found = cookies_named(_name(site))
    return found[0] if len(set(found)) == 1 and _SECRET.fullmatch(found[0]) else None


def new_binding() -> str:
    """The secret for a browser without one."""
    return secrets.token_urlsafe(_BYTES)


def bind(site: Site, response: Response, secret: str, seconds: float) -> None:
    """Give the browser its secret. Sign-ins in several of its windows have it in common."""
    name = _name(site)
    response.set_cookie(
        name, secret, max_age=int(seconds), path="/", secure=name == _OVER_TLS, httponly=True, samesite="Lax"
    )


def _name(site: Site) -> str:
    return _OVER_TLS if site.cookie_name == OVER_TLS else _ON_THIS_MACHINE
