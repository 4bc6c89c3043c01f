"""The session cookie: the credential of a browser in which somebody has signed in."""

from __future__ import annotations

from flask import g

from app.api.auth.caller import Caller
from app.api.auth.site import Site
from app.api.errors import Unauthenticated
from app.domain.commands import User
from app.domain.credential import Credential
from app.domain.session import Session
from app.wiring import Resources


class SessionMethod:
    """Authenticates requests by the session cookie."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def authenticate(self, resources: Resources) -> Caller | None:
        """The caller; None without a cookie.

        Raises Unauthenticated, ForeignOrigin for a change that no page of this origin has provably sent, StoreDown.
        """
        secret = self._site.secret()
        if secret is None:
            return None
        session = resources.sessions.of_secret(secret)
        if session is None:
            raise Unauthenticated("This browser has no open session; sign in again.")
        self._site.check_origin()
        g.session = session
        user = User(session.user_id, session.subject, session.role, Credential("session", session.id))
        # An open stream is a use of the session: only the latest end ends it.
        return Caller(user, session.latest_end(resources.sessions.rules).timestamp())


def current_session() -> Session | None:
    """The session that has authenticated this request; None for other credentials."""
    found: Session | None = g.get("session")
    return found
