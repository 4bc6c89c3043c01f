"""Rate limits, counted in Redis for all processes together; in each process's memory while Redis is away."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, wraps
from typing import Any, NamedTuple

import structlog
from flask import Flask, Response, g, request
from flask_limiter import Limiter, RateLimitExceeded
from limits import RateLimitItem, parse_many
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import MovingWindowRateLimiter
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.api import rate_limit_headers
from app.api.errors import TooManyRequests
from app.api.rate_limit_headers import Standing
from app.config import Settings
from app.eventlog.allowance import bound
from app.eventlog.deferred_scripts import DeferredScripts, ScriptBatch, Scripts
from app.eventlog.log import Script

# A request must not wait long for Redis. While it is away, Flask-Limiter tries it again at growing intervals.
_REDIS_OPTIONS: dict[str, Any] = {
    "socket_timeout": 0.5,
    "socket_connect_timeout": 0.3,
    "retry": Retry(NoBackoff(), 0),
}

_COUNT = Script.load("window.lua")
# In the environment of a request that the short way has handed on: the standing of the limit that it has counted in.
READ_COUNTED = "unbroken.read_counted"

_log = structlog.get_logger()

Check = Callable[[], None]
# Sends the count at once; the Check it returns waits for the reply.
Count = Callable[[], Check]


@dataclass(frozen=True, slots=True)
class Counted:
    """A limit that a request counts against: its name, its rate, and the user or key whose requests are counted."""

    name: str
    item: RateLimitItem
    owner: str
    refusal: Callable[[str, RateLimitItem, float], TooManyRequests]


class _Reply(NamedTuple):
    """The reply to a count: whether the request was counted, the requests that are left, and the window's end."""

    was_counted: bool
    remaining: int
    ends_at: float


class Limits:
    """The limits of one application. ``reads`` and its like send the count of a request to Redis.

    The Check that each returns waits for the reply and raises TooManyRequests. The request is parsed in between. Where
    the caller's API key has a limit of its own, the request is counted there before.
    The response of a counted request has the headers of its limits.
    """

    def __init__(self, app: Flask, settings: Settings) -> None:
        self._prefix = f"{settings.redis_namespace}:limits"
        self._limiter = Limiter(
            _key,
            # The library's scheme for a Unix socket.
            storage_uri=settings.redis_url.replace("unix://", "redis+unix://", 1),
            storage_options=_REDIS_OPTIONS,
            strategy="moving-window",
            key_prefix=self._prefix,
            in_memory_fallback_enabled=True,
            swallow_errors=True,
            headers_enabled=False,
        )
        # Limits are counted where a route calls them. An application that has the extension already is given no hooks.
        app.extensions["limiter"] = {self._limiter}
        self._limiter.init_app(app)
        app.after_request(_with_headers)
        # Counts while Redis answers. Flask-Limiter replaces it while Redis does not.
        self._redis = self._limiter.limiter
        self._scripts = DeferredScripts(bound(self._storage.storage))
        # Counts for API keys while Redis does not answer.
        self._alone = MovingWindowRateLimiter(MemoryStorage())
        self.reads = self._counter(reads, settings.ratelimit_reads)
        self._read_items = parse_many(settings.ratelimit_reads)
        self.generations = self._counter(generations, settings.ratelimit_generations)
        self.imports = self._counter(imports, settings.ratelimit_imports)
        self.exports = self._counter(exports, settings.ratelimit_exports)
        self.uploads = self._counter(uploads, settings.ratelimit_uploads)
        self.sign_ins = self._counter(sign_ins, settings.ratelimit_sign_ins)
        self._new_conversations = self._counter(new_conversations, settings.ratelimit_new_conversations)

    def new_conversations(self) -> None:
        """Count a conversation that begins."""
        self._new_conversations()()

    def batch(self) -> ScriptBatch | None:
        """A message of counts for ``count_read``, and of other scripts. None where Flask-Limiter has to count."""
        return self._scripts.together() if self._counts_in_redis and len(self._read_items) == 1 else None

    def count_read(self, user_id: str, batch: ScriptBatch) -> Callable[[], Standing | None]:
        """Add the count of a read by a user's token, outside of Flask, to a batch.

        The returned function waits for the reply. It returns the standing of the limit; None for a request over it,
        which was not counted. Raises the errors of the client.
        """
        item, name = self._read_items[0], reads.__name__
        receive = self._send_through(batch, name, item, user_id)

        def answer() -> Standing | None:
            reply = receive()
            return _standing(name, item, reply.remaining, reply.ends_at) if reply.was_counted else None

        return answer

    @property
    def _counts_in_redis(self) -> bool:
        return self._limiter.limiter is self._redis

    @property
    def _storage(self) -> RedisStorage:
        storage = self._redis.storage
        assert isinstance(storage, RedisStorage), "limits are counted in Redis"
        return storage

    def _counter(self, mark: Check, limit: str) -> Count:
        name = mark.__name__
        limited = self._limiter.shared_limit(limit, scope=name)(mark)
        items = parse_many(limit)

        def check() -> None:
            try:
                limited()
            except RateLimitExceeded as breach:
                raise _refusal(name, breach.limit.limit, self._keep_standing(name)) from None
            self._keep_standing(name)

        @wraps(mark)
        def count() -> Check:
            if (counted := request.environ.pop(READ_COUNTED, None)) is not None:
                return partial(_keep, counted)
            # A request that its key may not send leaves the limit of the user to the user's other credentials.
            self._check_key(name)
            of_user = Counted(name, items[0], _key(), _refusal)
            return (self._count_in_redis(of_user, check) if len(items) == 1 else None) or check

        return count

    def _check_key(self, name: str) -> None:
        """Count the request for the API key of the caller, where the key has this limit. Raises TooManyRequests."""
        credential = g.caller.user.credential if "caller" in g else None
        rate: str | None = getattr(credential.limits, name, None) if credential else None
        if credential is not None and rate is not None:
            counted = Counted(f"key_{name}", parse_many(rate)[0], f"key {credential.id}", _refusal_of_key)
            check = partial(self._count_alone, counted)
            (self._count_in_redis(counted, check) or check)()

    def _count_alone(self, counted: Counted) -> None:
        """Count in the memory of this process. Raises TooManyRequests."""
        item = counted.item
        if not self._alone.hit(item, counted.owner, counted.name):
            window = self._alone.get_window_stats(item, counted.owner, counted.name)
            raise counted.refusal(counted.name, item, _within(item, window.reset_time))

    def _count_in_redis(self, counted: Counted, check: Check) -> Check | None:
        """Send the count straight to Redis; None while Redis is away, when Flask-Limiter has to count.

        Flask-Limiter would first look up limits of routes, blueprints and defaults, and there are none. ``check``
        counts without Redis, for a reply that does not come.
        """
        item, scope = counted.item, counted.name
        receive = self._send(scope, item, counted.owner)
        if receive is None:
            return None

        def answer() -> None:
            try:
                reply = receive()
            except Exception:  # every error of the client
                check()
                return
            _keep(_standing(scope, item, reply.remaining, reply.ends_at))
            if not reply.was_counted:
                raise counted.refusal(scope, item, _within(item, reply.ends_at))

        return answer

    def _send(self, scope: str, item: RateLimitItem, owner: str) -> Callable[[], _Reply] | None:
        """Send a count. None while Redis is away; the returned function waits for the reply."""
        if not self._counts_in_redis:
            return None
        try:
            return self._send_through(self._scripts, scope, item, owner)
        except Exception:  # every error of the client
            return None

    def _send_through(self, scripts: Scripts, scope: str, item: RateLimitItem, owner: str) -> Callable[[], _Reply]:
        key = self._storage.prefixed_key(item.key_for(self._prefix, owner, scope))
        receive = scripts.send(_COUNT, key, time.time(), item.get_expiry(), item.amount)

        def reply() -> _Reply:
            was_counted, used, oldest = receive()
            ends_at = float(oldest or time.time()) + item.get_expiry()
            return _Reply(bool(was_counted), item.amount - int(used), ends_at)

        return reply

    def _keep_standing(self, scope: str) -> float:
        """Keep the limit that Flask-Limiter has counted last, for the headers. Returns the seconds to its end."""
        current = self._limiter.current_limit
        try:
            if current is not None:
                _keep(_standing(scope, current.limit, current.remaining, current.reset_at))
                return _within(current.limit, current.reset_at)
        except Exception as error:  # every error of the storage
            _log.warning("end of a limit not read", action="limit", error=type(error).__name__)
        return 1.0


# Flask-Limiter names a limit by the function it wraps. These functions are names only; the variable has the name, too.
def reads() -> None:
    """Requests that read."""


def generations() -> None:
    """Requests that start a generation."""


def imports() -> None:
    """Imports."""


def exports() -> None:
    """Exports of everything."""


def uploads() -> None:
    """Uploads of files."""


def sign_ins() -> None:
    """Requests of sign-ins; nobody is known yet, so the address counts."""


def new_conversations() -> None:
    """Generations that begin a conversation; repeated requests do not count."""


def _refusal(name: str, item: RateLimitItem, seconds: float) -> TooManyRequests:
    subject = name.replace("_", " ")
    whose = "user" if "caller" in g else "address"
    variable = f"RATELIMIT_{name.upper()}"
    return TooManyRequests(f"The limit of {subject} is {item} for each {whose} ({variable}).", seconds, variable)


def _refusal_of_key(name: str, item: RateLimitItem, seconds: float) -> TooManyRequests:
    subject = name.removeprefix("key_")
    return TooManyRequests(f"The limit of {subject} is {item} for this API key (its limits.{subject}).", seconds)


def _standing(name: str, item: RateLimitItem, remaining: int, ends_at: float) -> Standing:
    return Standing(name, item.amount, item.get_expiry(), max(0, remaining), _within(item, ends_at))


def _keep(standing: Standing) -> None:
    g.setdefault("rate_limits", {})[standing.name] = standing


def _with_headers(response: Response) -> Response:
    response.headers.extend(rate_limit_headers.of(list(g.get("rate_limits", {}).values())))
    return response


def _within(item: RateLimitItem, ends_at: float) -> float:
    """Seconds to the end of a window. Flask-Limiter rounds up to a second that may lie past it."""
    return min(math.ceil(ends_at) - time.time(), item.get_expiry())


def _key() -> str:
    caller = g.get("caller")
    return caller.user.id if caller else f"address {request.remote_addr}"
