"""Token usage: what it is when nobody told us, and what it costs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from app.domain.models import Price

# The usual rule of thumb for English text; what is estimated says so.
CHARS_PER_TOKEN = 4
# What a provider says beyond these is a mistake of its own, which must not keep an answer from ending.
MOST_TOKENS = 10**12
MOST_COST = 10**9


def estimate(output: str) -> dict[str, Any]:
    """The usage of an answer whose provider was cut off before it could count."""
    return {"input_tokens": None, "output_tokens": -(-len(output) // CHARS_PER_TOKEN), "estimated": True}


def priced(attempts: Iterable[dict[str, Any]], price: Price | None) -> list[dict[str, Any]]:
    """The attempts, each with what it cost at this price."""
    return [
        attempt if price is None else {**attempt, "cost": f"{_cost(attempt.get('usage'), price):f}"}
        for attempt in attempts
    ]


def cost_of(usage: Mapping[str, Any] | None, price: Price | None) -> tuple[Decimal | None, str | None]:
    """What a usage costs, and in which currency.

    Without a price of ours it is what the provider says it charged, in a currency nobody told; None if it does not.
    """
    if price is not None:
        return _cost(usage, price), price.currency
    told = (usage or {}).get("cost")
    return (Decimal(repr(told)), None) if told is not None and 0 <= told < MOST_COST else (None, None)


def tokens(usage: Mapping[str, Any] | None, name: str) -> int:
    """How many ``input_tokens`` or ``output_tokens``; 0 when nobody told, and never more than anybody can mean."""
    return min(max(int((usage or {}).get(name) or 0), 0), MOST_TOKENS)


def _cost(usage: Mapping[str, Any] | None, price: Price) -> Decimal:
    return price.of(tokens(usage, "input_tokens"), tokens(usage, "output_tokens"))
