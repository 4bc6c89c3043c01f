"""How often somebody may ask. Counted in Redis for all processes together; in memory while Redis is away."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import wraps
from typing import Any

import structlog
from flask import Flask, g, request
from flask_limiter import Limiter, RateLimitExceeded
from limits import RateLimitItem, parse_many
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.api.errors import TooManyRequests
from app.config import Settings

# A request must not wait for a Redis that is away; in between, Flask-Limiter asks it again ever more rarely.
_REDIS_OPTIONS: dict[str, Any] = {
    "socket_timeout": 0.5,
    "socket_connect_timeout": 0.3,
    "retry": Retry(NoBackoff(), 0),
}

_log = structlog.get_logger()

Check = Callable[[], None]


class _Limiter(Limiter):
    """Flask-Limiter without its look at every request: a limit counts where it is asked for, and nowhere else."""

    def _check_request_limit(self, callable_name: str | None = None, in_middleware: bool = True) -> None:
        if not in_middleware:
            super()._check_request_limit(callable_name, in_middleware)


class Limits:
    """The limits of one application. Each check counts once and raises TooManyRequests."""

    def __init__(self, app: Flask, settings: Settings) -> None:
        self._prefix = f"{settings.redis_namespace}:limits"
        self._limiter = _Limiter(
            _whose,
            storage_uri=settings.redis_url,
            storage_options=_REDIS_OPTIONS,
            strategy="moving-window",
            key_prefix=self._prefix,
            in_memory_fallback_enabled=True,
            swallow_errors=True,
            headers_enabled=False,
        )
        self._limiter.init_app(app)
        # What counts while Redis answers; Flask-Limiter puts another in its place while it does not.
        self._redis = self._limiter.limiter
        self.reads = self._check(reads, settings.ratelimit_reads)
        self.generations = self._check(generations, settings.ratelimit_generations)
        self.new_conversations = self._check(new_conversations, settings.ratelimit_new_conversations)

    def _check(self, mark: Check, limit: str) -> Check:
        limited = self._limiter.shared_limit(limit, scope=mark.__name__)(mark)
        items = parse_many(limit)

        @wraps(mark)
        def check() -> None:
            if len(items) == 1 and self._counted(items[0], mark.__name__):
                return
            try:
                limited()
            except RateLimitExceeded as breach:
                raise TooManyRequests(_said(breach.limit.limit), self._seconds_left()) from None

        return check

    def _counted(self, item: RateLimitItem, scope: str) -> bool:
        """Count straight away, as Flask-Limiter would; False when it has to see to that because Redis is away.

        Its own way to the same line looks up limits of routes, blueprints and defaults that there are none of.
        """
        if self._limiter.limiter is not self._redis:
            return False
        names = (self._prefix, _whose(), scope)
        try:
            if self._redis.hit(item, *names):
                return True
            ends_at = self._redis.get_window_stats(item, *names).reset_time
        except Exception:  # whatever it is that the storage raises
            return False
        raise TooManyRequests(_said(item), _within(item, ends_at))

    def _seconds_left(self) -> float:
        current = self._limiter.current_limit
        try:
            return _within(current.limit, current.reset_at) if current else 1.0
        except Exception as error:  # the storage, at its worst moment
            _log.warning("limit without its end", action="limit", error=type(error).__name__)
            return 1.0


# Flask-Limiter knows a limit by the name of a function it wraps; these are only that.
def reads() -> None:
    """Looking at things."""


def generations() -> None:
    """Asking for generations, new conversations or not."""


def new_conversations() -> None:
    """Generations that begin a conversation, and repeats do not."""


def _said(item: RateLimitItem) -> str:
    return f"No more than {item} of these."


def _within(item: RateLimitItem, ends_at: float) -> float:
    """Seconds to the end of a window. Flask-Limiter rounds up to a second that may lie past it."""
    return min(math.ceil(ends_at) - time.time(), item.get_expiry())


def _whose() -> str:
    caller = g.get("caller")
    return caller.user.id if caller else f"address {request.remote_addr}"
