"""Budgets: checked before anything is accepted, set by administrators, shown to their holders."""

from __future__ import annotations

from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from decimal import Decimal

from app.domain.audit import Actor
from app.domain.budget import PERIODS, UNLIMITED, Budget, Holder, Limits, Period, Standing, merged, to_json
from app.domain.commands import User
from app.domain.errors import NotFound, QuotaUsed
from app.store import access, audit, budgets
from app.store.budgets import Spending
from app.store.database import Database, Tx

# The name of the limit where it is set, by its holder.
_OF_KEY = "limits.budget.{name} of the API key"
_BY_ADMINISTRATOR = "{name}, set by an administrator"
_NO_USER = "There is no such user."

# The budgets that the last check of this thread found nearly used up.
nearly_used: ContextVar[tuple[Standing, ...]] = ContextVar("nearly_used", default=())


@dataclass(frozen=True, slots=True)
class Defaults:
    """The budget of each user for whom none is set. ``quota_name``: the variable of its tokens of a day."""

    budget: Budget = UNLIMITED
    currency: str = "USD"
    quota_name: str = "BUDGET_TOKENS_PER_DAY"


@dataclass(frozen=True, slots=True)
class UserBudget:
    """The limits that were set for a user, and how all limits of the user stand."""

    own: Limits
    standings: list[Standing]


class Budgets:
    """The budgets of users and of their API keys. Usage counts when an answer ends: see docs/budgets.md."""

    def __init__(self, database: Database, defaults: Defaults) -> None:
        self._database = database
        self._defaults = defaults

    def check(self, tx: Tx, user: User) -> None:
        """Raise QuotaUsed when a budget of the user or of the API key is used up; note those nearly used up."""
        standings = self._standings(tx, user)
        # Of several budgets the one that ends last: a repetition before would be refused again.
        if used_up := [standing for standing in standings if standing.is_used_up]:
            raise _refusal(max(used_up, key=lambda standing: standing.ends_at))
        nearly_used.set(tuple(standing for standing in standings if standing.is_warning))

    def standings(self, user: User) -> list[Standing]:
        """Every limit of the user and of the API key of this request."""
        with self._database.user(user.id) as tx:
            return self._standings(tx, user)

    def of_user(self, user_id: str) -> UserBudget:
        """The budget of any user, for administrators. Raises NotFound."""
        with self._database.user(user_id) as tx:
            if access.state(tx, user_id) is None:
                raise NotFound(_NO_USER)
            return UserBudget(budgets.of_user(tx, user_id), self._standings(tx, User(user_id, "")))

    def put(self, actor: Actor, user_id: str, limits: Limits) -> UserBudget:
        """Set the limits of a user; those that are not named are the defaults. Raises NotFound."""
        with self._database.operator() as tx:
            if not budgets.put(tx, user_id, limits):
                raise NotFound(_NO_USER)
            audit.record(tx, actor, "budget.set", "user", user_id, user_id=user_id, details=to_json(limits))
        return self.of_user(user_id)

    def _standings(self, tx: Tx, user: User) -> list[Standing]:
        own = budgets.of_user(tx, user.id)
        of_user, of_key = merged(self._defaults.budget, own), user.credential.limits.budget or UNLIMITED
        if of_user.is_unlimited and of_key.is_unlimited:
            return []
        spending = budgets.spending(tx, user.id, user.credential.key_id, self._defaults.currency)
        return [*self._stand("user", of_user, own, spending), *self._stand("key", of_key, own, spending)]

    def _stand(self, holder: Holder, budget: Budget, own: Limits, spending: Spending) -> Iterator[Standing]:
        limits, spent = asdict(budget), asdict(spending.spent[holder])
        for period in PERIODS:
            for name, unit in ((f"tokens_per_{period}", "tokens"), (f"cost_per_{period}", self._defaults.currency)):
                if limits[name] is not None:
                    source = self._source(holder, name, is_own=name in own)
                    ends = spending.ends[period]
                    yield Standing(holder, period, unit, Decimal(limits[name]), Decimal(spent[name]), ends, source)

    def _source(self, holder: Holder, name: str, *, is_own: bool) -> str:
        if holder == "key":
            return _OF_KEY.format(name=name)
        if is_own:
            return _BY_ADMINISTRATOR.format(name=name)
        return self._defaults.quota_name if name == "tokens_per_day" else f"BUDGET_{name.upper()}"


_ENDS: dict[Period, str] = {"day": "the day ends", "month": "the month ends"}


def _refusal(standing: Standing) -> QuotaUsed:
    whose = "this API key" if standing.of == "key" else "your account"
    ends = standing.ends_at.astimezone(UTC)
    return QuotaUsed(
        f"The budget of {whose} for this {standing.period} is used up: {standing.used:f} of {standing.limit:f} "
        f"{standing.unit} ({standing.source}). {_ENDS[standing.period].capitalize()} at midnight UTC, {ends:%Y-%m-%d}.",
        (ends - datetime.now(UTC)).total_seconds(),
    )
