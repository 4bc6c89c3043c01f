"""The outcome of a generation in this worker, as Celery and Flower show it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Outcome:
    """``status``: the final status of the generation, or the reason why it did not end here.

    ``error_code``: the code of its error, None for any other end.
    """

    status: str
    error_code: str | None = None


CANCELLED = Outcome("cancelled")
NOT_CLAIMED = Outcome("not claimed")
HANDED_ON = Outcome("handed on")
TAKEN_OVER = Outcome("taken over")
