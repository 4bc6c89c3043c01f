"""What a user's days used and cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from app.domain.usage import tokens
from app.store.database import Tx, execute, fetch


@dataclass(frozen=True, slots=True)
class Day:
    """A day in UTC with one model. ``cost`` None: nobody said what it costs; ``currency`` None: nor in which money."""

    day: date
    model: str
    generations: int
    input_tokens: int
    output_tokens: int
    cost: Decimal | None
    currency: str | None


def add(
    tx: Tx, user_id: str, model: str, usage: Mapping[str, Any] | None, cost: Decimal | None, currency: str | None
) -> None:
    """Add a generation that has just ended to its day. The day's row is held until the transaction ends."""
    execute(
        tx,
        """INSERT INTO usage_days AS d (user_id, day, model, currency, generations, input_tokens, output_tokens, cost)
           VALUES (:user_id, CAST(now() AT TIME ZONE 'UTC' AS date), :model, :currency, 1, :input, :output, :cost)
           ON CONFLICT (user_id, day, model, currency) DO UPDATE SET generations = d.generations + 1,
               input_tokens = d.input_tokens + EXCLUDED.input_tokens,
               output_tokens = d.output_tokens + EXCLUDED.output_tokens,
               cost = CASE WHEN EXCLUDED.cost IS NULL THEN d.cost ELSE coalesce(d.cost, 0) + EXCLUDED.cost END""",
        user_id=user_id,
        model=model,
        currency=currency or "",
        input=tokens(usage, "input_tokens"),
        output=tokens(usage, "output_tokens"),
        cost=cost,
    )


def days(tx: Tx, user_id: str, first: date, last: date, model: str | None) -> list[Day]:
    """The days from ``first`` to ``last``, both included, the newest first."""
    rows = fetch(
        tx,
        f"""SELECT day, model, generations, input_tokens, output_tokens, cost, nullif(currency, '') AS currency
            FROM usage_days WHERE user_id = :user_id AND day BETWEEN :first AND :last
              {"AND model = :model" if model is not None else ""}
            ORDER BY day DESC, model, currency""",
        user_id=user_id,
        first=first,
        last=last,
        **({"model": model} if model is not None else {}),
    )
    return [Day(**row._mapping) for row in rows]
