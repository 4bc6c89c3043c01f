"""The headers of rate limits: those of the IETF draft, and those that OpenAI's clients read. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

# Names of the headers that a page of another origin may read.
NAMES = (
    "ratelimit",
    "ratelimit-policy",
    "retry-after-ms",
    "x-ratelimit-limit-requests",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-requests",
)


@dataclass(frozen=True, slots=True)
class Standing:
    """One limit and the requests that it leaves. ``resets_in`` is seconds until the next request has room again."""

    name: str
    limit: int
    window: int
    remaining: int
    resets_in: float


def of(standings: Sequence[Standing]) -> dict[str, str]:
    """The headers for the limits that a request has met. OpenAI's headers know one limit: the one that leaves least."""
    if not standings:
        return {}
    least = min(standings, key=lambda one: one.remaining)
    return {
        "RateLimit-Policy": ", ".join(f'"{one.name}";q={one.limit};w={one.window}' for one in standings),
        "RateLimit": ", ".join(f'"{one.name}";r={one.remaining};t={_whole(one.resets_in)}' for one in standings),
        "x-ratelimit-limit-requests": str(least.limit),
        "x-ratelimit-remaining-requests": str(least.remaining),
        "x-ratelimit-reset-requests": f"{_whole(least.resets_in)}s",
    }


def _whole(seconds: float) -> int:
    return max(0, math.ceil(seconds))
