"""Service accounts: users that no person signs in as. Administrators make them, their keys, and end both."""

from __future__ import annotations

from dataclasses import dataclass

from app.domain.audit import Actor
from app.domain.errors import NotFound, WrongState
from app.services.api_keys import ApiKeys, KeyPage, MadeKey
from app.services.users import new_id
from app.store import audit, service_accounts
from app.store.api_keys import KeyRights
from app.store.database import Database
from app.store.service_accounts import ServiceAccount

# Service accounts of one deployment.
MOST_SERVICE_ACCOUNTS = 1000


class TooManyAccounts(WrongState):
    """There are as many service accounts as there may be (MOST_SERVICE_ACCOUNTS)."""


@dataclass(frozen=True, slots=True)
class AccountPage:
    """A page of accounts, newest first. ``next_cursor`` is None for the last page."""

    items: list[ServiceAccount]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class ServiceAccounts:
    """The service accounts of a deployment. Methods with an id raise NotFound for an id that is none of theirs."""

    database: Database
    keys: ApiKeys

    def make(self, actor: Actor, name: str) -> ServiceAccount:
        """A new account. Raises TooManyAccounts."""
        account_id = new_id()
        with self.database.operator() as tx:
            if not service_accounts.add(tx, account_id, name, MOST_SERVICE_ACCOUNTS):
                raise TooManyAccounts
            audit.record(tx, actor, "service_account.made", "user", account_id, user_id=account_id)
            made = service_accounts.get(tx, account_id)
        assert made is not None, "added in this transaction"
        return made

    def page(self, limit: int, before: str | None) -> AccountPage:
        """A page of accounts."""
        with self.database.operator() as tx:
            found = service_accounts.page(tx, limit + 1, before)
        shown = found[:limit]
        return AccountPage(shown, shown[-1].id if len(found) > limit else None)

    def end(self, actor: Actor, account_id: str) -> None:
        """End an account and its keys. Its conversations stay until they are erased."""
        with self.database.operator() as tx:
            if not service_accounts.end(tx, account_id):
                raise NotFound
            audit.record(tx, actor, "service_account.ended", "user", account_id, user_id=account_id)

    def make_key(self, actor: Actor, account_id: str, rights: KeyRights) -> MadeKey:
        """A new key of an account. Raises TooManyKeys."""
        self._find(account_id)
        return self.keys.make(actor, account_id, rights)

    def key_page(self, account_id: str, limit: int, before: str | None, *, ended: bool) -> KeyPage:
        """A page of an account's keys; ``ended``: with those that are not valid any more."""
        self._find(account_id)
        return self.keys.page(account_id, limit, before, ended=ended)

    def rotate_key(
        self, actor: Actor, account_id: str, key_id: str, keep_old_seconds: float, role: str | None
    ) -> MadeKey:
        """See ApiKeys.rotate."""
        self._find(account_id)
        return self.keys.rotate(actor, account_id, key_id, keep_old_seconds, role)

    def end_key(self, actor: Actor, account_id: str, key_id: str) -> None:
        """End a key of an account at once."""
        self._find(account_id)
        self.keys.end(actor, account_id, key_id)

    def _find(self, account_id: str) -> None:
        with self.database.operator() as tx:
            if service_accounts.get(tx, account_id) is None:
                raise NotFound
