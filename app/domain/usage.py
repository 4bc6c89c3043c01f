"""Token usage: its estimate where a provider sends none, and its cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from app.domain.models import Price

# The usual rule of thumb for English text; what is estimated says so.
CHARS_PER_TOKEN = 4
# Larger numbers of a provider are its mistake, and are cut to these: an answer must end all the same.
MOST_TOKENS = 10**12
MOST_COST = 10**9


def estimated_tokens(chars: int) -> int:
    """The approximate number of tokens in this many characters."""
    return -(-chars // CHARS_PER_TOKEN)


def estimate(input_tokens: int, output_chars: int) -> dict[str, Any]:
    """The estimated usage of a call whose provider sent none, or was cut off before."""
    return {"input_tokens": input_tokens, "output_tokens": estimated_tokens(output_chars), "estimated": True}


def priced(attempts: Iterable[dict[str, Any]], price: Price | None) -> list[dict[str, Any]]:
    """The attempts, each with its cost at this price."""
    return [
        attempt if price is None else {**attempt, "cost": f"{_cost(attempt.get('usage'), price):f}"}
        for attempt in attempts
    ]


def cost_of(usage: Mapping[str, Any] | None, price: Price | None) -> tuple[Decimal | None, str | None]:
    """The cost of a usage and its currency.

    Without a configured price it is the cost that the provider sent, without a currency; None where it sent none.
    """
    if price is not None:
        return _cost(usage, price), price.currency
    told = (usage or {}).get("cost")
    return (Decimal(repr(told)), None) if told is not None and 0 <= told < MOST_COST else (None, None)


def tokens(usage: Mapping[str, Any] | None, name: str) -> int:
    """The number of ``input_tokens``, or of others: 0 without one, MOST_TOKENS at most."""
    return min(max(int((usage or {}).get(name) or 0), 0), MOST_TOKENS)


def _cost(usage: Mapping[str, Any] | None, price: Price) -> Decimal:
    names = ("input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens")
    return price.of(*(tokens(usage, name) for name in names))
