"""Budgets: the tokens and the money that a user or an API key may use in a day or in a month, in UTC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

Holder = Literal["user", "key"]
Period = Literal["day", "month"]
# The share of a limit from which on a request has a warning.
WARNING_SHARE = Decimal("0.8")
PERIODS: tuple[Period, ...] = ("day", "month")


@dataclass(frozen=True, slots=True)
class Budget:
    """The limits of a user or of an API key; None: no limit. Money is in BUDGET_CURRENCY."""

    tokens_per_day: int | None = None
    tokens_per_month: int | None = None
    cost_per_day: Decimal | None = None
    cost_per_month: Decimal | None = None

    @property
    def is_unlimited(self) -> bool:
        """True without any limit."""
        return self == UNLIMITED


UNLIMITED = Budget()
# Limits by their names in Budget. A name with None: no limit; a missing name: nothing is said about it.
Limits = Mapping[str, int | Decimal | None]


@dataclass(frozen=True, slots=True)
class Spent:
    """The tokens and the money of a day and of the month that it is in."""

    tokens_per_day: int
    tokens_per_month: int
    cost_per_day: Decimal
    cost_per_month: Decimal


@dataclass(frozen=True, slots=True)
class Standing:
    """One limit, and what is used of it. ``unit``: ``tokens`` or a currency.

    ``source``: the name of the limit where it is set, such as BUDGET_TOKENS_PER_DAY.
    """

    of: Holder
    period: Period
    unit: str
    limit: Decimal
    used: Decimal
    ends_at: datetime
    source: str

    @property
    def left(self) -> Decimal:
        """The rest of the budget; 0 when more is used."""
        return max(Decimal(0), self.limit - self.used)

    @property
    def is_used_up(self) -> bool:
        """True when nothing more is accepted until the period ends."""
        return self.used >= self.limit

    @property
    def is_warning(self) -> bool:
        """True from WARNING_SHARE of the limit on."""
        return self.used >= self.limit * WARNING_SHARE


def merged(defaults: Budget, own: Limits) -> Budget:
    """The budget of a user: the limits set for the user take the place of the defaults."""
    names = Budget.__dataclass_fields__
    return Budget(**{name: own.get(name, getattr(defaults, name)) for name in names})


def to_json(limits: Limits) -> dict[str, int | str | None]:
    """Limits as they are stored: money is a decimal number in a text."""
    return {name: f"{value:f}" if isinstance(value, Decimal) else value for name, value in limits.items()}


def from_json(stored: Mapping[str, Any] | None) -> dict[str, int | Decimal | None]:
    """Limits as they were stored. Names of later releases are left out."""
    known = {name: value for name, value in (stored or {}).items() if name in Budget.__dataclass_fields__}
    return {name: Decimal(value) if isinstance(value, str) else value for name, value in known.items()}
