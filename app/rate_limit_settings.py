"""The variables of rate limits and budgets."""

from __future__ import annotations

from decimal import Decimal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings

from app.domain.budget import Budget


class RateLimitSettings(BaseSettings):
    """The rates of a user's requests, and of sign-ins from one address."""

    ratelimit_new_conversations: str = "10/minute"
    ratelimit_generations: str = "60/minute"
    ratelimit_imports: str = "10/minute"
    ratelimit_exports: str = "60/hour"
    ratelimit_uploads: str = "120/minute"
    ratelimit_reads: str = "600/minute"
    ratelimit_sign_ins: str = "120/minute"

    @field_validator(
        "ratelimit_new_conversations",
        "ratelimit_generations",
        "ratelimit_imports",
        "ratelimit_exports",
        "ratelimit_uploads",
        "ratelimit_reads",
        "ratelimit_sign_ins",
    )
    @classmethod
    def _readable_limit(cls, limit: str) -> str:
        from limits import parse_many

        parse_many(limit)
        return limit


class BudgetSettings(BaseSettings):
    """The budget of users for whom none is set."""

    token_quota_per_day: int | None = Field(None, ge=1)
    budget_tokens_per_day: int | None = Field(None, ge=1)
    budget_tokens_per_month: int | None = Field(None, ge=1)
    budget_cost_per_day: Decimal | None = Field(None, gt=0, max_digits=14, decimal_places=6)
    budget_cost_per_month: Decimal | None = Field(None, gt=0, max_digits=14, decimal_places=6)
    budget_currency: str = Field("USD", pattern=r"^[A-Z]{3}$")

    @property
    def default_budget(self) -> tuple[Budget, str, str]:
        """The budget, its currency, and the variable of its tokens per day.

        TOKEN_QUOTA_PER_DAY is an earlier name of BUDGET_TOKENS_PER_DAY.
        """
        tokens, name = self.budget_tokens_per_day, "BUDGET_TOKENS_PER_DAY"
        if tokens is None and self.token_quota_per_day is not None:
            tokens, name = self.token_quota_per_day, "TOKEN_QUOTA_PER_DAY"
        costs = (self.budget_cost_per_day, self.budget_cost_per_month)
        return Budget(tokens, self.budget_tokens_per_month, *costs), self.budget_currency, name
