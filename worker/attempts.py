"""The record of a generation's attempts: one entry for each call of a provider, whatever became of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from app.domain.transcript import Transcript
from app.domain.usage import estimate
from worker.providers.base import ProviderError, Usage

Attempt = dict[str, Any]


def ended(
    number: int,
    *,
    epoch: int,
    model: str,
    seconds: float,
    visible: bool,
    usage: Usage | None,
    error: ProviderError | None = None,
) -> Attempt:
    """A call that came to its end, good or bad. ``visible``: it said something."""
    return {
        "attempt": number,
        "epoch": epoch,
        "model": model,
        "seconds": round(seconds, 3),
        "outcome": error.code if error else "finished",
        "visible": visible,
        "usage": _told(usage),
    }


def unfinished(number: int, said: Transcript, outcome: str) -> Attempt:
    """A call that did not come to its end, seen from what it said; its usage is estimated."""
    return {"attempt": number, "outcome": outcome, "visible": bool(said.fresh), "usage": estimate(said.fresh)}


def lost(recorded: int, said: Transcript) -> list[Attempt]:
    """The calls of workers that have gone: the log knows of them, the record does not yet."""
    return [unfinished(number, said, "lost") for number in range(recorded + 1, said.attempt + 1)]


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


def _told(usage: Usage | None) -> dict[str, Any] | None:
    """What a provider said about usage, without what it left out."""
    if usage is None:
        return None
    return {name: value for name, value in asdict(usage).items() if value is not None}
