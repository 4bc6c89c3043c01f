"""How often somebody may ask. Counted in Redis for all processes together; in memory while Redis is away."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import wraps
from typing import Any

import structlog
from flask import Flask, g, request
from flask_limiter import Limiter, RateLimitExceeded
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


class Limits:
    """The limits of one application. Each check counts once and raises TooManyRequests."""

    def __init__(self, app: Flask, settings: Settings) -> None:
        self._limiter = Limiter(
            _whose,
            storage_uri=settings.redis_url,
            storage_options=_REDIS_OPTIONS,
            strategy="moving-window",
            key_prefix=f"{settings.redis_namespace}:limits",
            in_memory_fallback_enabled=True,
            swallow_errors=True,
            headers_enabled=False,
        )
        self._limiter.init_app(app)
        self.reads = self._check(reads, settings.ratelimit_reads)
        self.generations = self._check(generations, settings.ratelimit_generations)
        self.new_conversations = self._check(new_conversations, settings.ratelimit_new_conversations)

    def _check(self, mark: Check, limit: str) -> Check:
        limited = self._limiter.shared_limit(limit, scope=mark.__name__)(mark)

        @wraps(mark)
        def check() -> None:
            try:
                limited()
            except RateLimitExceeded as breach:
                raise TooManyRequests(f"No more than {breach.limit.limit} of these.", self._seconds_left()) from None

        return check

    def _seconds_left(self) -> float:
        current = self._limiter.current_limit
        try:
            # Flask-Limiter rounds up to a second that may lie past the window.
            return min(current.reset_at - time.time(), current.limit.get_expiry()) if current else 1.0
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


def _whose() -> str:
    caller = g.get("caller")
    return caller.user.id if caller else f"address {request.remote_addr}"
