"""API keys: `Authorization: Bearer unb_…`, wherever a token is accepted."""

from __future__ import annotations

from app.api.auth.bearer import bearer
from app.api.auth.caller import Caller
from app.api.auth.tokens import LATEST
from app.api.errors import Unauthenticated
from app.domain.api_key import PREFIX
from app.wiring import Resources


class KeyMethod:
    """Authenticates requests by an API key. Every key that is not accepted is refused in the same words."""

    def authenticate(self, resources: Resources) -> Caller | None:
        """The caller; None without a Bearer that begins like a key. Raises Unauthenticated, DatabaseDown."""
        text = bearer()
        if text is None or not text.startswith(PREFIX):
            return None
        found = resources.api_keys.authenticate(text)
        if found is None:
            raise Unauthenticated(presented=True)
        user, expires_at = found
        return Caller(user, expires_at.timestamp() if expires_at else LATEST)
