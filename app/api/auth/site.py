"""The service's address as a browser sees it: the name of its cookie, and the origins whose requests it accepts.

The cookie is `__Host-session` over TLS, and `session` on plain http at this machine. Elsewhere there is no cookie,
because anybody between the browser and the service could read it, unless the setting SIGN_IN_OVER_HTTP accepts that.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

from flask import Response, request

from app.api.auth.cookies import cookies_named
from app.api.errors import ForeignOrigin, InsecureSite
from app.services.sessions import Begun

OVER_TLS = "__Host-session"
ON_THIS_MACHINE = "session"
_LOOPBACK = frozenset(("127.0.0.1", "::1", "localhost"))
_READING = frozenset(("GET", "HEAD", "OPTIONS"))


@dataclass(frozen=True, slots=True)
class Site:
    """The service as the current request reaches it.

    ``public_url``: the origin that people open, where it is known. ``over_http``: a session may cross a network in
    plain text.
    """

    public_url: str | None = None
    over_http: bool = False

    @property
    def cookie_name(self) -> str | None:
        """The name of the session cookie; None where the connection is not safe for one."""
        if self._is_tls:
            return OVER_TLS
        return ON_THIS_MACHINE if self.over_http or _hostname() in _LOOPBACK else None

    def secret(self) -> str | None:
        """The secret of the request's session cookie, empty for two different ones; None without a cookie.

        A browser keeps one cookie of each name for an address and path: another site has planted the second one.
        """
        name = self.cookie_name
        found = set(cookies_named(name)) if name else set()
        return "".join(found) if len(found) == 1 else ("" if found else None)

    def check_safe(self) -> None:
        """Raise InsecureSite where a session could be read by others."""
        if self.cookie_name is None:
            raise InsecureSite

    def check_origin(self) -> None:
        """Raise ForeignOrigin unless the request reads only, or a page of this origin has provably sent it."""
        if request.method not in _READING and not (self._has_own_origin or _is_same_origin()):
            raise ForeignOrigin

    def check_not_foreign(self) -> None:
        """Raise ForeignOrigin when a page of another origin has sent the request; programs send no origin."""
        is_told = "Origin" in request.headers or "Sec-Fetch-Site" in request.headers
        if is_told and not (self._has_own_origin or _is_same_origin()):
            raise ForeignOrigin

    def keep(self, response: Response, begun: Begun) -> None:
        """Give the browser the cookie of a session. Raises InsecureSite."""
        self.check_safe()
        self._set(response, begun.secret, begun.latest_end)

    def forget(self, response: Response) -> None:
        """Remove the cookie from the browser."""
        if self.cookie_name is not None:
            self._set(response, "", datetime.fromtimestamp(0, UTC))

    def _set(self, response: Response, value: str, expires: datetime) -> None:
        response.set_cookie(
            self.cookie_name or ON_THIS_MACHINE,
            value,
            expires=expires,
            path="/",
            secure=self._is_tls,
            httponly=True,
            samesite="Lax",
        )

    @property
    def _is_tls(self) -> bool:
        return request.is_secure or (self.public_url or "").startswith("https://")

    @property
    def _has_own_origin(self) -> bool:
        origin = request.headers.get("Origin", "").lower()
        return origin != "" and origin in (self.public_url, f"{request.scheme}://{request.host}".lower())


def _is_same_origin() -> bool:
    """True when the browser reports that a page of the address that it requests has sent the request."""
    return request.headers.get("Sec-Fetch-Site") == "same-origin"


def _hostname() -> str | None:
    try:
        return urlsplit(f"//{request.host}").hostname
    except ValueError:
        return None
