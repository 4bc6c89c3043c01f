"""API keys: made, found for requests, rotated and ended."""

from __future__ import annotations

import secrets
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from app.domain import api_key
from app.domain.audit import Actor
from app.domain.commands import User
from app.domain.credential import Credential, KeyLimits, revocable
from app.domain.errors import DatabaseDown, NotFound, WrongState
from app.services.users import new_id
from app.store import api_keys, audit, revocations
from app.store.api_keys import ApiKey, FoundKey, KeyRights
from app.store.database import Database, Tx

# Ended keys that stay in a user's list.
ENDED_KEYS_KEPT = 100
# Seconds for which a replaced key may go on working: a week.
LONGEST_ROTATION_SECONDS = 604_800
# Expired keys ended in one transaction.
EXPIRED_AT_ONCE = 500


class TooManyKeys(WrongState):
    """There are as many API keys as one user may have."""

    def __init__(self, most: int) -> None:
        super().__init__(f"One user has at most {most} API keys (MAX_API_KEYS_PER_USER); end one of them first.")


@dataclass(frozen=True, slots=True)
class MadeKey:
    """A new key, with its text: it is shown once."""

    key: ApiKey
    text: str


@dataclass(frozen=True, slots=True)
class KeyPage:
    """A page of keys, newest first. ``next_cursor`` is None for the last page."""

    items: list[ApiKey]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class ApiKeys:
    """The keys of users. A user has at most ``most_per_user`` that are valid and not replaced."""

    database: Database
    most_per_user: int

    def authenticate(self, text: str) -> tuple[User, datetime | None] | None:
        """The user of a valid key and the key's expiry; None for every other text. Raises DatabaseDown."""
        presented = api_key.parse(text)
        if presented is None:
            return None
        found = api_keys.find(self.database, presented.digest)
        if found is None or found.id != presented.id or not found.is_valid:
            return None
        if not found.is_use_noted:
            self._note_use(found)
        credential = Credential("key", found.id, found.scopes, found.models, found.limits)
        return User(found.user_id, found.subject, found.role, credential), found.expires_at

    def make(self, actor: Actor, user_id: str, rights: KeyRights) -> MadeKey:
        """A new key of a user. Raises TooManyKeys."""
        with self.database.user(user_id) as tx:
            self._make_room(tx, user_id)
            return _add(tx, actor, user_id, rights)

    def page(self, user_id: str, limit: int, before: str | None, *, ended: bool) -> KeyPage:
        """A page of a user's keys; ``ended``: with those that are not valid any more."""
        with self.database.user(user_id) as tx:
            found = api_keys.page(tx, user_id, limit + 1, before, ended=ended)
        shown = found[:limit]
        return KeyPage(shown, shown[-1].id if len(found) > limit else None)

    def get(self, user_id: str, key_id: str) -> ApiKey:
        """One key of a user. Raises NotFound."""
        with self.database.user(user_id) as tx:
            return _present(api_keys.get(tx, key_id))

    def change(self, actor: Actor, user_id: str, key_id: str, name: str | None, limits: KeyLimits | None) -> ApiKey:
        """Change the name or the limits of a valid key. Raises NotFound."""
        with self.database.user(user_id) as tx:
            changed = _present(api_keys.change(tx, key_id, name, limits))
            audit.record(tx, actor, "key.changed", "key", key_id, user_id=user_id)
            return changed

    def rotate(
        self, actor: Actor, user_id: str, key_id: str, keep_old_seconds: float, role: str | None = None
    ) -> MadeKey:
        """A new key with the rights of a valid one, which goes on working for ``keep_old_seconds``.

        The new key expires after as long a time as the old one had. Of the keys that follow each other two are valid.
        ``role`` is the role of the user who rotates: the scope admin of the new key stands for it. Raises NotFound, and
        WrongState for a key that was replaced before, or whose scope admin the user has no role for any more.
        """
        with self.database.user(user_id) as tx:
            old, rights = api_keys.get(tx, key_id), api_keys.rights(tx, key_id)
            if old is None or rights is None:
                raise NotFound
            if api_keys.is_replaced(tx, key_id):
                # Its expiry is that of its rotation, and says nothing about a new key.
                raise WrongState("This key has been replaced already; rotate the key that replaces it.")
            rights = _with_role(rights, role)
            if old.replaces is not None and api_keys.end(tx, old.replaces):
                record_key_end(tx, actor, user_id, old.replaces)
            if keep_old_seconds > 0:
                api_keys.end_later(tx, key_id, keep_old_seconds)
            else:
                api_keys.end(tx, key_id)
                record_key_end(tx, actor, user_id, key_id)
            if old.expires_at is not None:
                rights = replace(rights, expires_at=datetime.now(UTC) + (old.expires_at - old.created_at))
            return _add(tx, actor, user_id, rights, replaces=key_id)

    def end(self, actor: Actor, user_id: str, key_id: str) -> None:
        """End a valid key at once. Raises NotFound."""
        with self.database.user(user_id) as tx:
            if not api_keys.end(tx, key_id):
                raise NotFound
            record_key_end(tx, actor, user_id, key_id)

    def end_expired(self) -> None:
        """Break what keys have opened that have expired meanwhile: a rotation lets a key expire earlier."""
        ended = EXPIRED_AT_ONCE
        while ended == EXPIRED_AT_ONCE:
            with self.database.system() as tx:
                keys = api_keys.end_expired(tx, EXPIRED_AT_ONCE)
                if keys:
                    revocations.add(tx, [_name(key_id) for key_id in keys])
            ended = len(keys)

    def _make_room(self, tx: Tx, user_id: str) -> None:
        api_keys.hold(tx, user_id)
        if api_keys.count(tx, user_id) >= self.most_per_user:
            raise TooManyKeys(self.most_per_user)
        api_keys.forget_ended(tx, user_id, ENDED_KEYS_KEPT)

    def _note_use(self, found: FoundKey) -> None:
        # The time of the last use is a hint for people: a request does not fail because it is not stored.
        with suppress(DatabaseDown), self.database.user(found.user_id) as tx:
            api_keys.note_use(tx, found.id)


def _add(tx: Tx, actor: Actor, user_id: str, rights: KeyRights, replaces: str | None = None) -> MadeKey:
    new = api_key.make(new_id(), secrets.token_bytes(api_key.SECRET_BYTES))
    added = api_keys.add(tx, user_id, new, rights, replaces)
    details: dict[str, str | int | bool | None] = {"scopes": " ".join(sorted(rights.scopes)), "replaces": replaces}
    audit.record(tx, actor, "key.made", "key", new.id, user_id=user_id, details=details)
    return MadeKey(added, new.text)


def _with_role(rights: KeyRights, role: str | None) -> KeyRights:
    """The rights with the role of the user who rotates the key. A role that was taken away does not live on in keys."""
    if "admin" not in rights.scopes:
        return replace(rights, role=None)
    if role is None:
        raise WrongState("This key has the scope admin, and you have no role for it any more; end the key instead.")
    return replace(rights, role=role)


def _name(key_id: str) -> str:
    """The name under which a key is revoked."""
    return revocable(Credential("key", key_id))


def record_key_end(tx: Tx, actor: Actor, user_id: str, key_id: str) -> None:
    """Revoke what a key has opened, and audit its end."""
    revocations.add(tx, [_name(key_id)])
    audit.record(tx, actor, "key.ended", "key", key_id, user_id=user_id)


def _present(key: ApiKey | None) -> ApiKey:
    if key is None:
        raise NotFound
    return key
