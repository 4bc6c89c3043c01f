"""The breakers of targets: in Redis, shared by all workers, and in memory; described in breaker.lua."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Lock
from time import monotonic
from typing import Any, Protocol

import redis

from app.domain.breaker import (
    MOST_OPEN_SECONDS,
    PROBE_SECONDS,
    Admission,
    Breaker,
    BreakerRules,
    BreakerView,
    CallResult,
    Refusal,
    view,
)
from app.eventlog.log import Script, redis_errors

# Most breakers that a process keeps in its memory; beyond them the oldest is forgotten.
MOST_IN_MEMORY = 10_000

_BREAKER = Script.load("breaker.lua")
_FIELDS = ("failures", "failed_since", "open_until", "probe_until", "openings")


class Breakers(Protocol):
    """The breakers of all targets, in Redis or in memory. One suite tests both. A key is ``upstream/name``."""

    def admit(self, keys: Sequence[str]) -> Admission | Refusal: ...

    def report(self, key: str, result: CallResult, openings: int | None, retry_after: float | None = None) -> bool: ...

    def read(self, keys: Sequence[str]) -> dict[str, BreakerView]: ...


class RedisBreakers:
    """The breakers on a Redis-compatible server. Every method raises LogDown when it does not answer in time.

    ``clock`` is for tests: the time in milliseconds. Without it the server's clock counts, so that workers agree.
    """

    def __init__(
        self, client: redis.Redis, namespace: str, rules: BreakerRules, clock: Callable[[], int] = lambda: 0
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._rules = rules
        self._clock = clock

    def admit(self, keys: Sequence[str]) -> Admission | Refusal:
        """Admit a call to the first target whose breaker allows one. The call has to be reported."""
        place, openings, probe, wait = self._run(keys, "admit", round(PROBE_SECONDS * 1000))
        return Admission(keys[place - 1], openings, bool(probe)) if place else Refusal(wait / 1000)

    def report(self, key: str, result: CallResult, openings: int | None, retry_after: float | None = None) -> bool:
        """Report how a call ended, which was admitted with the number ``openings``. True when it opens the breaker.

        None for ``openings``: the call was made without an admission. Its result counts while the breaker is closed.
        """
        told = round(min(retry_after or 0.0, MOST_OPEN_SECONDS) * 1000)
        rules = self._rules
        limits = (rules.failures, round(rules.window * 1000), round(rules.open_for * 1000))
        reply = self._run([key], result, -1 if openings is None else openings, told, *limits)
        return bool(reply[0])

    def read(self, keys: Sequence[str]) -> dict[str, BreakerView]:
        """The breakers of these targets now."""
        with redis_errors(), self._client.pipeline(transaction=False) as pipe:
            pipe.time()
            for key in keys:
                pipe.hmget(self._key(key), _FIELDS)
            (seconds, micros), *rows = pipe.execute()
        now = self._clock() or seconds * 1000 + micros // 1000
        breakers = (Breaker(*(int(value or 0) for value in row)) for row in rows)
        return {key: view(breaker, now) for key, breaker in zip(keys, breakers, strict=True)}

    def _key(self, key: str) -> str:
        return f"{self._namespace}:{{breakers}}:{key}"

    def _run(self, keys: Sequence[str], *arguments: Any) -> list[int]:
        given = [len(keys), *map(self._key, keys), self._clock(), *arguments]
        with redis_errors():
            try:
                reply = self._client.execute_command("EVALSHA", _BREAKER.digest, *given)
            except redis.exceptions.NoScriptError:
                reply = self._client.execute_command("EVAL", _BREAKER.source, *given)
        return [int(value) for value in reply]


class MemoryBreakers:
    """Behaves as RedisBreakers does, for the calls of one process. May be used from several threads."""

    def __init__(self, rules: BreakerRules, clock: Callable[[], int] = lambda: round(monotonic() * 1000)) -> None:
        self._rules = rules
        self._clock = clock
        self._breakers: dict[str, Breaker] = {}
        self._lock = Lock()

    def admit(self, keys: Sequence[str]) -> Admission | Refusal:
        """See RedisBreakers.admit."""
        now = self._clock()
        with self._lock:
            for key in keys:
                breaker = self._breakers.get(key, Breaker())
                if breaker.wait(now) == 0:
                    is_probe = breaker.open_until > 0
                    if is_probe:
                        self._breakers[key] = breaker.admitted(now)
                    return Admission(key, breaker.openings, is_probe)
            return Refusal(min(self._breakers[key].wait(now) for key in keys) / 1000)

    def report(self, key: str, result: CallResult, openings: int | None, retry_after: float | None = None) -> bool:
        """See RedisBreakers.report."""
        return self._report(key, result, -1 if openings is None else openings, retry_after)

    def learn(self, key: str, result: CallResult, retry_after: float | None = None) -> bool:
        """Report a call that other breakers have admitted: its result counts for the present opening."""
        return self._report(key, result, None, retry_after)

    def _report(self, key: str, result: CallResult, openings: int | None, retry_after: float | None) -> bool:
        with self._lock:
            before = self._breakers.pop(key, Breaker())
            number = before.openings if openings is None else openings
            after = before.after(result, number, retry_after, self._clock(), self._rules)
            if after != Breaker():
                self._breakers[key] = after
            while len(self._breakers) > MOST_IN_MEMORY:
                del self._breakers[next(iter(self._breakers))]
        return after.openings > before.openings

    def read(self, keys: Sequence[str]) -> dict[str, BreakerView]:
        """See RedisBreakers.read."""
        now = self._clock()
        with self._lock:
            return {key: view(self._breakers.get(key, Breaker()), now) for key in keys}
