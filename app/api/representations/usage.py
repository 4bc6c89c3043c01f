"""Tokens and costs of a period."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from datetime import date

from pydantic import BaseModel, Field

from app.api.representations.budgets import BudgetStanding
from app.api.representations.fields import Cost, Json, decimal_text
from app.domain.budget import Standing
from app.services.usage import Statement
from app.store import usage


class UsageRow(BaseModel):
    """A day in UTC with one model; or a day, a model or an API key, as `group` says."""

    day: date | None = Field(description="Null when the row is of all days")
    model: str | None = Field(description="Null when the row is of all models")
    key_id: str | None = Field(description="With group=key: the API key; null for usage without one")
    generations: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int = Field(description="Input that a provider's cache has served, a part of input_tokens")
    cost: str | None = Field(description="A decimal number; null when its price is not known")
    currency: str | None = Field(description="Null when the provider reported no currency")


class Usage(BaseModel):
    """The usage of a period, the newest day first; and the costs of all of it, by currency."""

    from_: date = Field(alias="from")
    to: date
    items: list[UsageRow]
    costs: list[Cost]
    budgets: list[BudgetStanding] = Field(description="Of you and of the API key of this request, as they stand now")

    @staticmethod
    def of(statement: Statement, standings: Iterable[Standing]) -> Json:
        """The usage of one user in a period."""
        return {
            "from": statement.first,
            "to": statement.last,
            "items": [_row(row) for row in statement.rows],
            "costs": [{"cost": decimal_text(cost), "currency": currency} for currency, cost in statement.costs.items()],
            "budgets": BudgetStanding.of_all(standings),
        }


def _row(row: usage.Row) -> Json:
    return {**asdict(row), "cost": None if row.cost is None else decimal_text(row.cost)}
