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
from limits.storage import RedisStorage
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.api.errors import TooManyRequests
from app.config import Settings
from app.eventlog.asking import Questions
from app.eventlog.log import Script

# A request must not wait for a Redis that is away; in between, Flask-Limiter asks it again ever more rarely.
_REDIS_OPTIONS: dict[str, Any] = {
    "socket_timeout": 0.5,
    "socket_connect_timeout": 0.3,
    "retry": Retry(NoBackoff(), 0),
}

# How a moving window is counted in Redis.
_COUNT = Script.of(RedisStorage.SCRIPT_ACQUIRE_MOVING_WINDOW)

_log = structlog.get_logger()

Check = Callable[[], None]
# Counts at once; what it returns waits for the verdict.
Asking = Callable[[], Check]


class Limits:
    """The limits of one application. Each counts once, and its check raises TooManyRequests.

    Of reads and generations one asks: the answer is on its way while one does something else, and has to be waited for.
    """

    def __init__(self, app: Flask, settings: Settings) -> None:
        self._prefix = f"{settings.redis_namespace}:limits"
        self._limiter = Limiter(
            _whose,
            # The library's name for a path.
            storage_uri=settings.redis_url.replace("unix://", "redis+unix://", 1),
            storage_options=_REDIS_OPTIONS,
            strategy="moving-window",
            key_prefix=self._prefix,
            in_memory_fallback_enabled=True,
            swallow_errors=True,
            headers_enabled=False,
        )
        # A limit counts where it is asked for, and nowhere else: an application that has it already is not given hooks.
        app.extensions["limiter"] = {self._limiter}
        self._limiter.init_app(app)
        # What counts while Redis answers; Flask-Limiter puts another in its place while it does not.
        self._redis = self._limiter.limiter
        self._questions = Questions(self._storage.storage)
        self.reads = self._asking(reads, settings.ratelimit_reads)
        self.generations = self._asking(generations, settings.ratelimit_generations)
        self._new_conversations = self._asking(new_conversations, settings.ratelimit_new_conversations)

    def new_conversations(self) -> None:
        """Count a conversation that begins."""
        self._new_conversations()()

    @property
    def _storage(self) -> RedisStorage:
        storage = self._redis.storage
        assert isinstance(storage, RedisStorage), "limits are counted in Redis"
        return storage

    def _asking(self, mark: Check, limit: str) -> Asking:
        limited = self._limiter.shared_limit(limit, scope=mark.__name__)(mark)
        items = parse_many(limit)

        def check() -> None:
            try:
                limited()
            except RateLimitExceeded as breach:
                raise TooManyRequests(_said(breach.limit.limit), self._seconds_left()) from None

        @wraps(mark)
        def ask() -> Check:
            return (self._asked(items[0], mark.__name__, check) if len(items) == 1 else None) or check

        return ask

    def _asked(self, item: RateLimitItem, scope: str, check: Check) -> Check | None:
        """Have it counted straight away, as Flask-Limiter would; None when that has to see to it, Redis being away.

        Its own way to the same line looks up limits of routes, blueprints and defaults that there are none of.
        ``check`` is that way, for an answer that does not come.
        """
        if self._limiter.limiter is not self._redis:
            return None
        names = (self._prefix, _whose(), scope)
        key = self._storage.prefixed_key(item.key_for(*names))
        try:
            counted = self._questions.ask(_COUNT, key, time.time(), item.amount, item.get_expiry(), 1)
        except Exception:  # whatever it is that the client raises
            return None

        def answer() -> None:
            try:
                ends_at = None if counted() else self._redis.get_window_stats(item, *names).reset_time
            except Exception:  # the same
                check()
            else:
                if ends_at is not None:
                    raise TooManyRequests(_said(item), _within(item, ends_at))

        return answer

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
