"""kombu's Redis transport with one change: data that is no message is dropped and counted, and the consumer goes on.

Anybody who shares the Redis can push anything into the broker's list. kombu reads it in the worker's event loop and
raises whatever the bytes lead to; Celery takes that for a reason to exit, or goes deaf while answers are running.
"""

from __future__ import annotations

from typing import Any

import structlog
from kombu.transport import TRANSPORT_ALIASES, redis

from app.ops import metrics

_log = structlog.get_logger()
SHOWN_CHARACTERS = 200


def install() -> None:
    """Have every Redis connection of kombu made here use this transport. To be called before the first one."""
    path = f"{__name__}:Transport"
    TRANSPORT_ALIASES.update(redis=path, rediss=path)


def drop(reason: str, shown: object) -> None:
    """Count and log a message that is no task of ours."""
    metrics.MESSAGES_DROPPED.labels(reason).inc()
    _log.warning("broker message dropped", action="drop", reason=reason, shown=repr(shown)[:SHOWN_CHARACTERS])


def is_message(payload: Any) -> bool:
    """True when a decoded payload has the shape of kombu's messages."""
    if not isinstance(payload, dict) or not isinstance(payload.get("body", ""), str):
        return False
    properties, headers = payload.get("properties"), payload.get("headers", {})
    return (
        isinstance(properties, dict)
        and isinstance(properties.get("delivery_tag"), str)
        and isinstance(properties.get("delivery_info", {}), dict)
        and properties.get("body_encoding") in (None, "base64")
        and isinstance(headers, dict)
    )


class Channel(redis.Channel):
    """A channel that goes on after any data."""

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)  # type: ignore[no-untyped-call]
        except (ValueError, RecursionError) as error:
            # The item is out of the list already. Data that is no text or no JSON raises one of these two.
            drop("unreadable", error)
            return True


class Transport(redis.Transport):
    """A transport that delivers messages only."""

    Channel = Channel

    def _deliver(self, message: Any, queue: str) -> None:
        if is_message(message):
            super()._deliver(message, queue)  # type: ignore[no-untyped-call]
        else:
            drop("malformed", message)
