"""What a provider's call was, for the record of attempts."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from app.domain.attempts import Attempt
from app.domain.usage import estimate
from worker.providers.base import ProviderError, Usage


def ended(
    number: int,
    *,
    epoch: int,
    model: str,
    seconds: float,
    visible: bool,
    said: str,
    usage: Usage | None,
    error: ProviderError | None = None,
) -> Attempt:
    """A call that came to its end, good or bad. ``visible``: it said something; what, is ``said``.

    The usage of a call that broke off before it was told is estimated.
    """
    return {
        "attempt": number,
        "epoch": epoch,
        "model": model,
        "seconds": round(seconds, 3),
        "outcome": error.code if error else "finished",
        "visible": visible,
        "usage": _told(usage) or (estimate(said) if error and said else None),
    }


def _told(usage: Usage | None) -> dict[str, Any] | None:
    """What a provider said about usage, without what it left out."""
    if usage is None:
        return None
    return {name: value for name, value in asdict(usage).items() if value is not None}
