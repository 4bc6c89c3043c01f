"""Times and UUIDv7: an id begins with the milliseconds at which the process that accepted its object made it."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

# The most by which the clocks of web processes and of PostgreSQL may differ. Rows of a longer difference are not found
# by a time.
CLOCK_SKEW_SECONDS = 60
_LARGEST = 2**48 - 1


def smallest_at(at: datetime, seconds: float = 0) -> str:
    """The smallest UUIDv7 of a time, or of ``seconds`` after it."""
    milliseconds = min(max(0, int((at.timestamp() + seconds) * 1000)), _LARGEST)
    return str(UUID(int=milliseconds << 80 | 0x7 << 76 | 0b10 << 62))


def first_since(at: datetime) -> str:
    """An id below those of all rows that PostgreSQL has dated ``at`` or later."""
    return smallest_at(at, -CLOCK_SKEW_SECONDS)


def first_after(at: datetime) -> str:
    """An id above those of all rows that PostgreSQL has dated before ``at``."""
    return smallest_at(at, CLOCK_SKEW_SECONDS)
