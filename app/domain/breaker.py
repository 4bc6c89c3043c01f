"""The circuit breaker of a target: which failures open it, and when one probe may try the target again. Pure.

A breaker is closed, open or half-open. ``app/eventlog/breaker.lua`` makes these moves in Redis. Times are milliseconds
of one clock.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

BreakerState = Literal["closed", "open", "half_open"]
CallResult = Literal["ok", "failed", "released"]

# The longest time for which an upstream can close itself off by Retry-After, in seconds.
MOST_OPEN_SECONDS = 3600.0
# A probe without a result holds back further probes for so long, in seconds: its worker may be dead.
PROBE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class BreakerRules:
    """``failures`` in a row within ``window`` seconds open a breaker for ``open_for`` seconds."""

    failures: int = 3
    window: float = 60.0
    open_for: float = 30.0


@dataclass(frozen=True, slots=True)
class Breaker:
    """The breaker of one target. ``openings`` counts how often it has opened; a call keeps the number of its time.

    ``failed_since`` is the time of the first failure in the present row. ``open_until`` is 0 for a closed breaker.
    ``probe_until`` is the end of the time that a probe has; 0 without a probe.
    """

    failures: int = 0
    failed_since: int = 0
    open_until: int = 0
    probe_until: int = 0
    openings: int = 0

    def state(self, now: int) -> BreakerState:
        """The state at a time."""
        if not self.open_until:
            return "closed"
        return "open" if now < self.open_until else "half_open"

    def wait(self, now: int) -> int:
        """Milliseconds until a call may be admitted; 0 when one is admitted now."""
        return max(0, self.open_until - now, self.probe_until - now) if self.open_until else 0

    def admitted(self, now: int) -> Breaker:
        """The breaker after it has admitted a call, for which ``wait`` is 0. Half-open, that call is the probe."""
        return replace(self, probe_until=now + round(PROBE_SECONDS * 1000)) if self.open_until else self

    def after(
        self, result: CallResult, openings: int, retry_after: float | None, now: int, rules: BreakerRules
    ) -> Breaker:
        """The breaker after a call that was admitted at the opening ``openings`` has ended.

        ``retry_after`` is what a failed call was told to wait, in seconds. A result that is older than the opening
        changes nothing. A call that was ``released`` says nothing about the target.
        """
        if self.open_until and openings != self.openings:
            return self
        if result == "released":
            return replace(self, probe_until=0)
        if result == "ok":
            return Breaker(openings=self.openings)
        told = round(min(retry_after or 0.0, MOST_OPEN_SECONDS) * 1000)
        is_new_row = not self.failures or now - self.failed_since > rules.window * 1000
        failures = 1 if is_new_row else self.failures + 1
        since = now if is_new_row else self.failed_since
        if not self.open_until and failures < rules.failures and not told:
            return replace(self, failures=failures, failed_since=since)
        until = now + max(told, round(rules.open_for * 1000) if self.open_until or failures >= rules.failures else 0)
        return Breaker(failures, since, until, 0, self.openings + 1)


class Admission(NamedTuple):
    """A call that a breaker has admitted to the target ``key``.

    ``is_local``: the breaker in the memory of the process has admitted it, because Redis was away.
    """

    key: str
    openings: int
    is_probe: bool
    is_local: bool = False


class Refusal(NamedTuple):
    """No breaker admits a call. ``seconds``: until the first one does."""

    seconds: float


class BreakerView(NamedTuple):
    """A breaker as operators see it. ``seconds``: until it admits a call."""

    state: BreakerState
    failures: int
    seconds: float


def view(breaker: Breaker, now: int) -> BreakerView:
    """The view of a breaker at a time."""
    return BreakerView(breaker.state(now), breaker.failures, breaker.wait(now) / 1000)
