"""The limits of a budget in the body of a request."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from app.api.request_parsing import Body
from app.domain.budget import Budget, Limits
from app.domain.models import Amount

MOST_TOKENS = 10**15
Tokens = Annotated[int, Field(ge=0, le=MOST_TOKENS)]


class BudgetBody(Body):
    """Limits of a day and of a month, in UTC. What is left out has no limit."""

    tokens_per_day: Tokens | None = None
    tokens_per_month: Tokens | None = None
    cost_per_day: Amount | None = Field(None, description="In BUDGET_CURRENCY")
    cost_per_month: Amount | None = Field(None, description="In BUDGET_CURRENCY")

    @property
    def limits(self) -> Limits:
        """The limits that the body names, also those that are null."""
        return {name: getattr(self, name) for name in self.model_fields_set}

    @property
    def budget(self) -> Budget:
        """The limits as a budget."""
        return Budget(self.tokens_per_day, self.tokens_per_month, self.cost_per_day, self.cost_per_month)


class UserBudgetBody(BudgetBody):
    """The budget of a user. A limit that is left out is that of the deployment; null is no limit."""
