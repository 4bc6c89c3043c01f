"""The usage of a user by day, and its cost."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from app.domain.commands import User
from app.services.charges import Call, PendingCharge
from app.store import usage
from app.store.database import Database
from app.store.usage import Group, Row


@dataclass(frozen=True, slots=True)
class Statement:
    """The usage of a period, newest first. ``costs``: the cost by currency; None is usage of models without a price."""

    first: date
    last: date
    rows: list[Row]

    @property
    def costs(self) -> dict[str | None, Decimal]:
        """The sum in each currency."""
        sums: dict[str | None, Decimal] = {}
        for row in self.rows:
            if row.cost is not None:
                sums[row.currency] = sums.get(row.currency, Decimal(0)) + row.cost
        return sums


class UsageReports:
    """Reads the usage of users, and charges calls beside answers. Deleted answers stay counted."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def statement(
        self,
        user: User,
        first: date,
        last: date,
        *,
        group: Group | None = None,
        model: str | None = None,
        key_id: str | None = None,
    ) -> Statement:
        """The usage from ``first`` to ``last``, both included, of ``model`` and ``key_id`` where they are given."""
        with self._database.user(user.id) as tx:
            rows = usage.report(tx, user.id, first, last, group=group, model=model, key_id=key_id)
            return Statement(first, last, rows)

    def charge(self, call: Call) -> PendingCharge:
        """The charge for a call beside answers, for embeddings or a title. It is not written yet."""
        return PendingCharge(self._database, call)
