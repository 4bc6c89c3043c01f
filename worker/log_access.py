"""The access of this process to the logs of other workers, and how long it leaves takeovers to them without it."""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic

from worker.outbox import Outbox

# How long a worker that could not read the log of another one comes last, unless it reads one meanwhile, in seconds.
DOUBT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class LogTimes:
    """``redis_timeout``: how long a takeover waits for Redis. ``takeover_delay``: how long a worker that cannot reach
    Redis leaves an expired lease to others. Both in seconds.
    """

    redis_timeout: float
    takeover_delay: float


class LogAccess:
    """The state of Redis as the last takeovers and the connection of the outbox have found it.

    A worker that cannot reach Redis knows only the checkpoints: it would take back what readers saw since the last one.
    """

    def __init__(self, outbox: Outbox, times: LogTimes) -> None:
        self._outbox = outbox
        self._times = times
        self._doubts_until = 0.0

    @property
    def redis_timeout(self) -> float:
        """Seconds that a takeover may wait for Redis; 0 while Redis is known to be away."""
        return self._times.redis_timeout if self._outbox.is_connected else 0.0

    @property
    def takeover_delay(self) -> float:
        """Seconds for which an expired lease is left to other workers."""
        is_sure = self._outbox.is_connected and monotonic() >= self._doubts_until
        return 0.0 if is_sure else self._times.takeover_delay

    def note(self, *, was_read: bool) -> None:
        """Take notice of a takeover: whether Redis showed all that it had of the earlier log."""
        self._doubts_until = 0.0 if was_read else monotonic() + DOUBT_SECONDS
