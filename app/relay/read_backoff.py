"""The times at which a log is read: soon after a gap, then less and less often, every second without a subscription."""

from __future__ import annotations

from math import inf

from app.domain.backoff import Backoff

# A gap closes within milliseconds, or when its writer comes back: the log is read often at first, then less often.
GAP = Backoff(first=0.01, longest=0.5)
# Seconds between two reads while no store answers, or while there is no subscription.
POLL = 1.0


class ReadBackoff:
    """The next time a log is to be read. Times are seconds of one monotonic clock. Pure.

    ``away`` is true while there is no subscription. The log is read every ``POLL`` seconds then.
    """

    __slots__ = ("_tries", "away", "due", "planned", "reading")

    def __init__(self, now: float) -> None:
        # Until the subscription is confirmed a read might miss what is published next, but waiting has an end.
        self.due = now + POLL
        # The time the loop has a timer for.
        self.planned = inf
        self.away = False
        self.reading = False
        self._tries = 0

    def is_due(self, now: float) -> bool:
        """True when the log is to be read now."""
        return not self.reading and self.due <= now

    def request(self, now: float) -> None:
        """Have the log read as soon as possible."""
        self.due = min(self.due, now)

    def on_gap(self, now: float) -> None:
        """A published event does not follow the newest one held. While the gap persists, ``on_read`` sets the pace."""
        if not self.reading and not self._tries:
            self.request(now)

    def on_begin(self) -> None:
        """A read has begun."""
        self.reading, self.due = True, inf

    def on_read(self, now: float, *, grown: bool, more: bool, gap: bool) -> None:
        """A page was read. ``more``: the log continues behind it. ``gap``: published events are still missing."""
        self.reading = False
        self._tries = 0 if grown or not gap else self._tries + 1
        if more:
            self.request(now)
        elif gap:
            self.due = min(self.due, now + GAP.pause(self._tries))
        elif self.away:
            self.due = min(self.due, now + POLL)

    def on_failure(self, now: float) -> None:
        """No store answered."""
        self.reading = False
        self.due = now + POLL
