"""Budgets of users, and what is used of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from app.domain.budget import Holder, Limits, Period, Spent, from_json, to_json
from app.store.database import Tx, as_json, fetch_one

_DAY = "CAST(now() AT TIME ZONE 'UTC' AS date)"
_MONTH = "CAST(date_trunc('month', now() AT TIME ZONE 'UTC') AS date)"
# Money in other currencies, and costs without a currency, are not compared with a budget.
_SUMS = f"""coalesce(sum(input_tokens + output_tokens) FILTER (WHERE day = {_DAY}), 0) AS tokens_per_day,
    coalesce(sum(input_tokens + output_tokens), 0) AS tokens_per_month,
    coalesce(sum(cost) FILTER (WHERE day = {_DAY} AND currency = :currency), 0) AS cost_per_day,
    coalesce(sum(cost) FILTER (WHERE currency = :currency), 0) AS cost_per_month"""


@dataclass(frozen=True, slots=True)
class Spending:
    """The use of this day and month by a user and one API key, and the ends of both periods."""

    spent: Mapping[Holder, Spent]
    ends: Mapping[Period, datetime]


def of_user(tx: Tx, user_id: str) -> dict[str, int | Decimal | None]:
    """The limits that were set for a user; empty for a user with the defaults."""
    row = fetch_one(tx, "SELECT limits FROM budgets WHERE user_id = :user_id", user_id=user_id)
    return from_json(row.limits) if row else {}


def put(tx: Tx, user_id: str, limits: Limits) -> bool:
    """Set the limits of a user, in a transaction of an operator. False when there is no such user."""
    row = fetch_one(
        tx,
        "SELECT set_budget(CAST(:user_id AS uuid), CAST(:limits AS jsonb)) AS is_set",
        user_id=user_id,
        limits=as_json(to_json(limits)),
    )
    return bool(row and row.is_set)


def spending(tx: Tx, user_id: str, key_id: str | None, currency: str) -> Spending:
    """The usage of answers that have ended, of a user and of one API key, in one statement."""
    row = fetch_one(
        tx,
        f"""SELECT u.*, k.tokens_per_day, k.tokens_per_month, k.cost_per_day, k.cost_per_month,
                (date_trunc('day', now() AT TIME ZONE 'UTC') + interval '1 day') AT TIME ZONE 'UTC',
                (date_trunc('month', now() AT TIME ZONE 'UTC') + interval '1 month') AT TIME ZONE 'UTC'
            FROM (SELECT {_SUMS} FROM usage_days WHERE user_id = :user_id AND day >= {_MONTH}) u,
                (SELECT {_SUMS} FROM key_usage_days
                    WHERE user_id = :user_id AND key_id = :key_id AND day >= {_MONTH}) k""",
        user_id=user_id,
        key_id=key_id or "",
        currency=currency,
    )
    assert row is not None, "an aggregate has a row"
    *counted, day_ends, month_ends = row
    spent: dict[Holder, Spent] = {"user": _spent(counted[:4]), "key": _spent(counted[4:])}
    return Spending(spent, {"day": day_ends, "month": month_ends})


def _spent(counted: list[Any]) -> Spent:
    tokens_per_day, tokens_per_month, *costs = counted
    return Spent(int(tokens_per_day), int(tokens_per_month), *map(Decimal, costs))
