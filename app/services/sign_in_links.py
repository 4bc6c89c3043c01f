"""Links that sign somebody in, once: made by the operator of an instance, redeemed in a browser."""

from __future__ import annotations

import secrets
from dataclasses import replace

from app.domain.audit import Actor
from app.domain.errors import SubjectTaken, UnbrokenError
from app.domain.session import SignIn
from app.domain.sign_in_code import SignInCode
from app.services.sessions import Begun, Sessions
from app.services.users import new_id
from app.store import sign_in_codes, users
from app.store.database import Database, Tx

# The path in front of a code; it is redacted in every log.
PATH = "/signin/once/"
# Seconds in which a code may be used.
GOOD_SECONDS = 86_400.0
# Seconds after its end in which a code is still reported as used or expired; and codes removed in one transaction.
KEPT_SECONDS = 604_800.0
CODES_AT_ONCE = 1000
# 256 bits, as text for an address.
_BYTES = 32
_LONGEST = 100


class CodeRefused(UnbrokenError):
    """This link signs nobody in any more."""


class SignInLinks:
    """Shows and redeems the codes of links."""

    def __init__(self, database: Database, sessions: Sessions) -> None:
        self._database = database
        self._sessions = sessions

    def look(self, code: str) -> SignInCode | None:
        """The code of a link as it is; None for one that was never made."""
        if not 0 < len(code) <= _LONGEST:
            return None
        with self._database.without_user() as tx:
            return sign_in_codes.look(tx, code)

    def redeem(self, code: str, sign_in: SignIn, actor: Actor) -> Begun:
        """Begin the session of a code's user in the browser of ``sign_in``.

        Raises CodeRefused: a code works once, and signs nobody in as a service account.
        """
        found = self.look(code)
        if found is None or found.state != "good":
            raise CodeRefused
        try:
            with self._database.without_user() as tx:
                user_id = users.account(tx, found.subject, new_id())
        except SubjectTaken:
            raise CodeRefused from None

        def use_up(tx: Tx) -> None:
            redeemed = sign_in_codes.redeem(tx, code)
            if redeemed is None or redeemed.state != "good":
                raise CodeRefused

        return self._sessions.begin(replace(sign_in, user_id=user_id, role=found.role), actor, use_up)

    def prune(self) -> None:
        """Remove the codes that expired long ago; for workers. Raises DatabaseDown."""
        removed = CODES_AT_ONCE
        while removed == CODES_AT_ONCE:
            with self._database.system() as tx:
                removed = sign_in_codes.prune(tx, KEPT_SECONDS, CODES_AT_ONCE)


def new_code() -> str:
    """A code for a link."""
    return secrets.token_urlsafe(_BYTES)
