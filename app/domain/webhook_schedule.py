"""The attempts of a webhook delivery: when the next one is due, and when there is none. Pure.

The delays are those that Standard Webhooks 1.0.0 suggests: ten attempts in 75.6 hours.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

MINUTE, HOUR = 60.0, 3600.0
# Seconds before each attempt, counted from the attempt before it; before the first one, from the event.
DELAYS = (0.0, 5.0, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR)
# The part of a delay that chance adds or takes away: deliveries that failed together are not all repeated together.
JITTER = 0.1
# Retry-After may lengthen a delay up to so many seconds.
MOST_RETRY_AFTER_SECONDS = HOUR
# After a status of SLOW_DOWN, a receiver gets no delivery for so many seconds, unless its Retry-After is shorter.
PAUSE_SECONDS = 5.0
MOST_PAUSE_SECONDS = 60.0

GONE = 410
SLOW_DOWN = frozenset({429, 502, 504})


@dataclass(frozen=True, slots=True)
class Attempt:
    """The result of one attempt.

    ``status`` is None when no response came; ``error`` is a sentence then. ``excerpt`` has the first characters of the
    response's body. ``retry_after`` is in seconds.
    """

    latency_ms: int
    status: int | None = None
    error: str | None = None
    excerpt: str = ""
    retry_after: float | None = None

    @property
    def succeeded(self) -> bool:
        """True for a status of 200 to 299. A redirect is a failure: no webhook follows one."""
        return self.status is not None and 200 <= self.status <= 299

    @property
    def pause(self) -> float:
        """Seconds for which the receiver gets no further delivery; 0 for a receiver that does not slow down."""
        if self.status not in SLOW_DOWN:
            return 0.0
        return min(PAUSE_SECONDS if self.retry_after is None else self.retry_after, MOST_PAUSE_SECONDS)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The state of a delivery after an attempt.

    ``retry_in`` is the number of seconds to the next attempt; None for a delivery that has ended. ``is_gone``: the
    receiver has asked for no further delivery, so its endpoint is switched off.
    """

    state: str
    retry_in: float | None = None
    is_gone: bool = False


def verdict(attempt: Attempt, made: int, most: int | None = None) -> Verdict:
    """The verdict on an attempt. ``made`` counts the attempts, this one included; ``most`` may allow fewer than all."""
    if attempt.succeeded:
        return Verdict("delivered")
    if attempt.status == GONE:
        return Verdict("dead", is_gone=True)
    if made >= min(len(DELAYS), most or len(DELAYS)):
        return Verdict("dead")
    delay = DELAYS[made] * random.uniform(1 - JITTER, 1 + JITTER)
    return Verdict("waiting", max(delay, min(attempt.retry_after or 0.0, MOST_RETRY_AFTER_SECONDS)))


def retry_after(value: str | None, now: datetime) -> float | None:
    """The seconds that a ``Retry-After`` header names, as a number or a date; None without one that can be read."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text[:10])
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max((at - now).total_seconds(), 0.0)
