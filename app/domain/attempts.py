"""The record of a generation's attempts: one entry for each call of a provider, whatever became of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from app.domain.transcript import Transcript
from app.domain.usage import estimate

Attempt = dict[str, Any]


def unfinished(number: int, said: Transcript, outcome: str) -> Attempt:
    """A call that did not come to its end, seen from what it said; its usage is estimated."""
    return {"attempt": number, "outcome": outcome, "visible": bool(said.fresh), "usage": estimate(said.fresh)}


def unrecorded(recorded: int, said: Transcript, outcome: str) -> list[Attempt]:
    """The calls the log knows of and the record does not: their worker was lost, or told to stop."""
    return [unfinished(number, said, outcome) for number in range(recorded + 1, said.attempt + 1)]


def total_usage(attempts: Sequence[Attempt]) -> dict[str, Any] | None:
    """The usage of all attempts together; None when nobody told any."""
    told = [attempt["usage"] for attempt in attempts if attempt["usage"]]
    if not told:
        return None
    names = ("input_tokens", "output_tokens", "reasoning_tokens", "cached_tokens")
    total: dict[str, Any] = {name: sum(usage.get(name) or 0 for usage in told) for name in names}
    costs = [usage["cost"] for usage in told if usage.get("cost") is not None]
    if costs:
        total["cost"] = sum(costs)
    if any(usage.get("estimated") for usage in told):
        total["estimated"] = True
    return total
