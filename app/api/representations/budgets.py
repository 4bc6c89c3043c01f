"""Budgets: their limits, and what is used of them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from app.api.representations.fields import Json, decimal_text
from app.domain.budget import Standing, to_json
from app.services.budgets import UserBudget as FoundBudget


class BudgetLimits(BaseModel):
    """Limits of a day and of a month, in UTC. `null`: no limit."""

    tokens_per_day: int | None = Field(None, description="Absent: that of the deployment")
    tokens_per_month: int | None = Field(None, description="Absent: that of the deployment")
    cost_per_day: str | None = Field(None, description="In BUDGET_CURRENCY. Absent: that of the deployment")
    cost_per_month: str | None = Field(None, description="In BUDGET_CURRENCY. Absent: that of the deployment")


class BudgetStanding(BaseModel):
    """One limit, and what is used of it."""

    of: Literal["user", "key"] = Field(description="The holder: the user, or the API key of the request")
    period: Literal["day", "month"]
    unit: str = Field(description="tokens, or the currency", examples=["tokens", "USD"])
    limit: str = Field(description="A decimal number, as used and left")
    used: str
    left: str
    ends_at: datetime = Field(description="The end of the day or month in UTC")
    warning: bool = Field(description="True from 80 % on")

    @staticmethod
    def of_all(standings: Iterable[Standing]) -> list[Json]:
        """Each limit of a user or of a key."""
        return [
            {
                "of": one.of,
                "period": one.period,
                "unit": one.unit,
                "limit": decimal_text(one.limit),
                "used": decimal_text(one.used),
                "left": decimal_text(one.left),
                "ends_at": one.ends_at,
                "warning": one.is_warning,
            }
            for one in standings
        ]


class UserBudget(BaseModel):
    """The budget of a user."""

    limits: BudgetLimits = Field(description="Those set for this user")
    budgets: list[BudgetStanding]

    @staticmethod
    def of(budget: FoundBudget) -> Json:
        """The limits that were set for a user, and all limits of the user."""
        return {"limits": to_json(budget.own), "budgets": BudgetStanding.of_all(budget.standings)}
