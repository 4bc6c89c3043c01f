"""What a user has used, and what it cost."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from app.domain.commands import User
from app.store import usage
from app.store.database import Database
from app.store.usage import Day


@dataclass(frozen=True, slots=True)
class Statement:
    """The days of a period, the newest first. ``costs``: what was spent, by currency; None is one nobody told."""

    first: date
    last: date
    days: list[Day]

    @property
    def costs(self) -> dict[str | None, Decimal]:
        """The sum in each currency."""
        sums: dict[str | None, Decimal] = {}
        for day in self.days:
            if day.cost is not None:
                sums[day.currency] = sums.get(day.currency, Decimal(0)) + day.cost
        return sums


class Accounting:
    """Tells users what they used. What was deleted was used nevertheless."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def statement(self, user: User, first: date, last: date, model: str | None) -> Statement:
        """The days from ``first`` to ``last``, both included."""
        with self._database.user(user.id) as tx:
            return Statement(first, last, usage.days(tx, user.id, first, last, model))
