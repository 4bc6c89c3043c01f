"""Users: added with their first token, and refused while they are blocked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import inf
from typing import NamedTuple

import uuid_utils

from app.domain.commands import User
from app.domain.credential import TOKEN, Credential, revocable_user, revocables
from app.domain.errors import BeingErased, SubjectTaken, TokenEnded, UserBlocked
from app.domain.subjects import is_reserved
from app.services.revocable_cache import RevocableCache
from app.services.revocations import Revocations
from app.store import access
from app.store.access import Access, State
from app.store.database import Database

# Tokens and users whose state a process keeps: some megabytes.
MOST_KEPT = 20_000


class _Presented(NamedTuple):
    """A subject, and the digest of the token that names it; empty for a subject without a token."""

    subject: str
    digest: str


class _Known(NamedTuple):
    """The access of a token, and its digest."""

    access: Access
    digest: str


class Users:
    """Finds or adds the user of a subject. What is looked up is kept until it is revoked, see RevocableCache."""

    def __init__(self, database: Database, revocations: Revocations) -> None:
        self._database = database
        self._tokens = RevocableCache(revocations, self._look_up_token, _names, MOST_KEPT)
        self._states = RevocableCache(revocations, self._look_up_state, lambda found: (found[0],), MOST_KEPT)

    def user(self, subject: str, role: str | None, credential: Credential = TOKEN, issued_at: float = inf) -> User:
        """The user with this subject, which a token or a signature has proved.

        ``issued_at`` is the token's, in seconds since 1970. Raises TokenEnded, SubjectTaken, UserBlocked, DatabaseDown.
        """
        if is_reserved(subject):
            raise SubjectTaken
        digest = credential.id if credential.kind == "token" else ""
        found = self._tokens.get(_Presented(subject, digest)).access
        if found.token_ended or issued_at < (found.tokens_from or -inf):
            raise TokenEnded
        _admit(found.state)
        return User(found.id, subject, role, credential)

    def look_up(self, presented: Iterable[tuple[str, Credential]]) -> None:
        """Look up the users of several tokens in one transaction, for ``user``. Raises DatabaseDown."""
        keys = (_Presented(subject, credential.id) for subject, credential in presented if not is_reserved(subject))
        self._tokens.fill(keys, self._look_up_tokens)

    def admit(self, user_id: str) -> None:
        """Refuse a user who may do nothing, whatever the credential. Raises UserBlocked, DatabaseDown."""
        _admit(self._states.get(user_id)[1])

    def _look_up_token(self, presented: _Presented) -> _Known:
        with self._database.without_user() as tx:
            return _Known(access.of_token(tx, presented.subject, new_id(), presented.digest), presented.digest)

    def _look_up_tokens(self, presented: Sequence[_Presented]) -> dict[_Presented, _Known]:
        with self._database.without_user() as tx:
            found = access.of_tokens(tx, [(subject, new_id(), digest) for subject, digest in presented])
        return {presented[place]: _Known(one, presented[place].digest) for place, one in found.items()}

    def _look_up_state(self, user_id: str) -> tuple[str, State | None]:
        with self._database.without_user() as tx:
            return revocable_user(user_id), access.state(tx, user_id)


def new_id() -> str:
    """A UUIDv7: in order of time, unguessable in its other 74 bits."""
    return str(uuid_utils.uuid7())


def _admit(state: State | None) -> None:
    if state == "erasing":
        raise BeingErased
    # A user whose row is gone is one whose erasure has ended.
    if state != "active":
        raise UserBlocked


def _names(known: _Known) -> frozenset[str]:
    return revocables(known.access.id, Credential("token", known.digest))
