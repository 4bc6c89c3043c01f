"""Sign-ins by the identity provider: begun in a browser, finished there once, and the user whom one signs in."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from hashlib import sha256

from app.domain.subjects import OF_PROVIDER
from app.openid.client import AuthorizationRequest, Ended, Identity
from app.services.users import new_id
from app.store import identities, sessions, users
from app.store.database import Database
from app.store.identities import Kept

# Seconds that a person has for the identity provider's pages.
GOOD_SECONDS = 600.0
# Sign-ins removed in one transaction, of those that were not finished.
REQUESTS_AT_ONCE = 1000


class Identities:
    """Keeps sign-ins that have begun, and finds or adds the user of an identity."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, request: AuthorizationRequest, browser: str, path: str) -> None:
        """Keep a sign-in of a browser, which ``path`` follows. ``browser`` is the secret of its cookie."""
        kept = Kept(request.nonce, request.verifier, path)
        with self._database.without_user() as tx:
            identities.begin(tx, _digest(request.state), _digest(browser), kept, GOOD_SECONDS)

    def take(self, state: str, browser: str) -> tuple[AuthorizationRequest, str] | None:
        """The sign-in that this browser began with this state, and the path that follows it. It is found once."""
        with self._database.without_user() as tx:
            kept = identities.take(tx, _digest(state), _digest(browser))
        return (AuthorizationRequest("", state, kept.nonce, kept.verifier), kept.next) if kept else None

    def user_id(self, person: Identity) -> str:
        """The id of the user with this identity, who is added at the first sign-in."""
        with self._database.without_user() as tx:
            user_id = users.account(tx, subject_of(person.issuer, person.subject), new_id())
        with self._database.user(user_id) as tx:
            identities.note(tx, user_id, person.issuer, person.subject, person.email, person.name)
        return user_id

    def owner(self, ended: Ended) -> str | None:
        """The id of the user whose sessions a logout by the provider ends; None for somebody unknown."""
        with self._database.without_user() as tx:
            if ended.subject is not None:
                return identities.owner(tx, ended.issuer, ended.subject)
            return sessions.owner_by_provider(tx, ended.issuer, ended.sid or "")

    def prune(self) -> None:
        """Remove the sign-ins that were not finished in time; for workers. Raises DatabaseDown."""
        removed = REQUESTS_AT_ONCE
        while removed == REQUESTS_AT_ONCE:
            with self._database.system() as tx:
                removed = identities.prune(tx, REQUESTS_AT_ONCE)


def subject_of(issuer: str, subject: str) -> str:
    """The subject here of a person whom an issuer knows by ``subject``: of fixed length, another for each of both."""
    # A length in front keeps ("a", "bc") and ("ab", "c") apart.
    digest = sha256(f"{len(issuer)} {issuer} {subject}".encode()).digest()
    return OF_PROVIDER + urlsafe_b64encode(digest).rstrip(b"=").decode()


def _digest(text: str) -> bytes:
    # The texts are random and long: a fast digest is as good as a slow one.
    return sha256(text.encode()).digest()
