"""Pauses between attempts that grow while attempts fail. The page has its own in ``reconnecting_stream.js``."""

from __future__ import annotations

import random
from dataclasses import dataclass

# 2 to this power times any first pause is above every longest one.
_MOST_DOUBLINGS = 40


@dataclass(frozen=True, slots=True)
class Backoff:
    """Pauses from ``first`` to ``longest`` seconds, each twice as long as the one before.

    ``jitter`` is the part of a pause that chance may take away, from 0 to 1: processes that fail together then do not
    all retry together.
    """

    first: float
    longest: float
    jitter: float = 0.0

    def pause(self, failures: int) -> float:
        """Seconds to wait before the next attempt; ``failures`` is the number of pauses before this one."""
        full = min(self.first * 2.0 ** min(failures, _MOST_DOUBLINGS), self.longest)
        return full * (1 - self.jitter * random.random())
