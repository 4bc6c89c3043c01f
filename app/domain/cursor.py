"""A position in a generation's log. Its text form is the SSE id."""

from __future__ import annotations

import re
from typing import NamedTuple

from app.domain.errors import InvalidCursor

# Nine digits: far above any real log, far below what a Redis stream id can hold.
_PATTERN = re.compile(r"(0|[1-9][0-9]{0,8})-(0|[1-9][0-9]{0,8})")


class Cursor(NamedTuple):
    """``<epoch>-<n>``: event ``n`` of revision ``epoch``. Ordered as the log is ordered.

    A named tuple and not a dataclass: it is compared and hashed for every delivered event.
    """

    epoch: int
    n: int

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Read ``"3-17"``. Anything else, also with spaces, signs or leading zeros, raises InvalidCursor."""
        match = _PATTERN.fullmatch(text)
        if match is None:
            raise InvalidCursor(text)
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"{self.epoch}-{self.n}"

    def precedes(self, other: Cursor) -> bool:
        """True for a direct successor: the next event of this revision, or the first event of a later one."""
        if other.epoch == self.epoch:
            return other.n == self.n + 1
        return other.epoch > self.epoch and other.n == 0


# The position before every event: epochs count from 1.
START = Cursor(0, 0)
