"""Tokens and cost of each day of a user, of all credentials together and of each API key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, Literal

from app.domain.errors import DatabaseDown
from app.domain.usage import tokens
from app.store.database import Tx, execute, fetch, fetch_one, mine

# The rows of a report. None: a row for each day of each model.
Group = Literal["day", "model", "key"]

_SUMS = """CAST(sum(generations) AS bigint) AS generations, CAST(sum(input_tokens) AS bigint) AS input_tokens,
    CAST(sum(output_tokens) AS bigint) AS output_tokens, CAST(sum(cached_tokens) AS bigint) AS cached_tokens,
    sum(cost) AS cost"""
_COUNTED = "generations, input_tokens, output_tokens, cached_tokens, cost"
_PERIOD = "user_id = :user_id AND day BETWEEN :first AND :last"
_ADDED = """generations = d.generations + EXCLUDED.generations,
    input_tokens = d.input_tokens + EXCLUDED.input_tokens,
    output_tokens = d.output_tokens + EXCLUDED.output_tokens,
    cached_tokens = d.cached_tokens + EXCLUDED.cached_tokens,
    cost = CASE WHEN EXCLUDED.cost IS NULL THEN d.cost ELSE coalesce(d.cost, 0) + EXCLUDED.cost END"""
_VALUES = "CAST(now() AT TIME ZONE 'UTC' AS date), :model, :currency, :generations, :input, :output, :cached, :cost"


@dataclass(frozen=True, slots=True)
class Charge:
    """The usage of an answer that has ended, or with ``generations`` 0 of a call beside one.

    ``key_id``: the API key that asked for it; None for another credential. ``currency`` is None where ``cost`` is that
    of a provider, without a currency, or None.
    """

    user_id: str
    key_id: str | None
    model: str
    usage: Mapping[str, Any] | None
    cost: Decimal | None
    currency: str | None
    generations: int = 1


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a report. ``day``, ``model`` and ``key_id`` are None where the row is of all of them.

    ``key_id`` is also None for usage without a key. ``cost`` and ``currency`` are None where they are unknown.
    """

    day: date | None
    model: str | None
    key_id: str | None
    generations: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    cost: Decimal | None
    currency: str | None


def add(tx: Tx, charge: Charge) -> None:
    """Add usage to its day, and to the day of its key. Both rows are held until the transaction ends.

    One statement locks both rows, the key's row last: two ends never wait for each other.
    """
    of_key = f"""WITH of_day AS ({{of_day}} RETURNING user_id)
        INSERT INTO key_usage_days AS d (user_id, key_id, day, model, currency, {_COUNTED})
        SELECT user_id, :key_id, {_VALUES} FROM of_day
        ON CONFLICT (user_id, key_id, day, model, currency) DO UPDATE SET {_ADDED}"""
    of_day = f"""INSERT INTO usage_days AS d (user_id, day, model, currency, {_COUNTED}) VALUES (:user_id, {_VALUES})
        ON CONFLICT (user_id, day, model, currency) DO UPDATE SET {_ADDED}"""
    execute(
        tx,
        of_day if charge.key_id is None else of_key.format(of_day=of_day),
        user_id=charge.user_id,
        **({} if charge.key_id is None else {"key_id": charge.key_id}),
        model=charge.model,
        currency=charge.currency or "",
        generations=charge.generations,
        input=tokens(charge.usage, "input_tokens"),
        output=tokens(charge.usage, "output_tokens"),
        cached=tokens(charge.usage, "cached_tokens"),
        cost=charge.cost,
    )


def transaction_id(tx: Tx) -> str:
    """The id of the transaction that is open."""
    row = fetch_one(tx, "SELECT CAST(pg_current_xact_id() AS text) AS id")
    assert row is not None, "a function has a result"
    return str(row.id)


def was_committed(tx: Tx, transaction_id: str) -> bool:
    """True when a transaction whose end was not seen has been committed. Raises DatabaseDown while it is open."""
    row = fetch_one(tx, "SELECT pg_xact_status(CAST(:id AS xid8)) AS status", id=transaction_id)
    if row is not None and row.status == "in progress":
        raise DatabaseDown("An earlier transaction is still open.")
    return row is not None and row.status == "committed"


def key_of(tx: Tx, generation_id: str) -> str | None:
    """The id of the API key that a generation counts for; None where another credential asked for it."""
    row = fetch_one(tx, f"SELECT key_id FROM generations WHERE id = :id AND {mine()}", id=generation_id)
    return row.key_id if row else None


def report(
    tx: Tx,
    user_id: str,
    first: date,
    last: date,
    *,
    group: Group | None = None,
    model: str | None = None,
    key_id: str | None = None,
) -> list[Row]:
    """The usage from ``first`` to ``last``, both included: the newest day first, then by model, key and currency.

    ``model`` and ``key_id`` leave other usage out.
    """
    shown = {"day": group in (None, "day"), "model": group in (None, "model"), "key_id": group == "key"}
    columns = [name if is_shown else f"NULL AS {name}" for name, is_shown in shown.items()]
    grouped = [name for name, is_shown in shown.items() if is_shown]
    rows = fetch(
        tx,
        f"""SELECT {", ".join(columns)}, nullif(currency, '') AS currency, {_SUMS}
            FROM ({_source(group, key_id)}) AS counted
            {"WHERE model = :model" if model is not None else ""}
            GROUP BY {", ".join(grouped)}, counted.currency
            HAVING sum(generations) <> 0 OR sum(input_tokens + output_tokens) <> 0 OR sum(cost) <> 0
            ORDER BY {", ".join("day DESC" if name == "day" else name for name in grouped)}, counted.currency""",
        user_id=user_id,
        first=first,
        last=last,
        **({"model": model} if model is not None else {}),
        **({"key_id": key_id} if key_id is not None else {}),
    )
    return [Row(**row._mapping) for row in rows]


def _source(group: Group | None, key_id: str | None) -> str:
    """The counted rows: of one key, of each key and of no key, or of all credentials together."""
    of_keys = f"SELECT day, model, currency, key_id, {_COUNTED} FROM key_usage_days WHERE {_PERIOD}"
    if key_id is not None:
        return f"{of_keys} AND key_id = :key_id"
    of_all = f"SELECT day, model, currency, NULL AS key_id, {_COUNTED} FROM usage_days WHERE {_PERIOD}"
    if group != "key":
        return of_all
    without = f"""SELECT day, model, currency, NULL, -generations, -input_tokens, -output_tokens, -cached_tokens, -cost
        FROM key_usage_days WHERE {_PERIOD}"""
    return f"{of_keys} UNION ALL {of_all} UNION ALL {without}"
