"""The breakers of a worker process: those in Redis, which all workers share, and its own memory while Redis is away."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from app.config import Settings
from app.domain.breaker import Admission, CallResult, Refusal
from app.domain.errors import LogDown
from app.eventlog.allowance import at_most
from app.eventlog.breakers import Breakers, MemoryBreakers
from app.wiring import Resources

# The longest that a call waits for the breakers in Redis, in seconds. Afterwards the memory of this process counts.
REDIS_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class SharedBreakers:
    """Breakers that never fail. Used from threads: a method waits for Redis at most REDIS_SECONDS.

    ``is_reachable`` is False while Redis is known to be away. The memory learns every result of this process, so that
    it knows something when Redis goes away.
    """

    shared: Breakers
    own: MemoryBreakers
    is_reachable: Callable[[], bool]

    def admit(self, keys: Sequence[str]) -> Admission | Refusal:
        """See RedisBreakers.admit."""
        if self.is_reachable():
            try:
                with at_most(REDIS_SECONDS):
                    return self.shared.admit(keys)
            except LogDown:
                pass
        admitted = self.own.admit(keys)
        return admitted._replace(is_local=True) if isinstance(admitted, Admission) else admitted

    def report(self, key: str, result: CallResult, admission: Admission | None, retry_after: float | None) -> None:
        """Report the end of a call. Without an admission it counts while the breaker is closed."""
        openings = admission.openings if admission else None
        if admission and admission.is_local:
            self.own.report(key, result, openings, retry_after)
            openings = None  # the openings in Redis have other numbers
        else:
            self.own.learn(key, result, retry_after)
        if self.is_reachable():
            with suppress(LogDown), at_most(REDIS_SECONDS):
                self.shared.report(key, result, openings, retry_after)

    def has_failures(self, key: str) -> bool:
        """True when a call of this process has failed at the target and none has succeeded since."""
        return self.own.read([key])[key].failures > 0


def breakers_of(settings: Settings, resources: Resources, is_reachable: Callable[[], bool]) -> SharedBreakers:
    """The breakers of a process; see SharedBreakers."""
    return SharedBreakers(resources.breakers, MemoryBreakers(settings.breaker_rules), is_reachable)
