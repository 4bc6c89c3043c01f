"""The client of Redis that every process uses."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.eventlog.allowance import bound

# TCP keepalive, which a socket at a path of this machine does not need.
_ALIVE: dict[str, Any] = {"socket_keepalive": True, "health_check_interval": 10}


def redis_client(url: str) -> redis.Redis:
    """A client that answers or fails within two seconds, and never repeats a command by itself."""
    alive = {} if urlsplit(url).scheme == "unix" else _ALIVE
    options = {"socket_timeout": 2, "socket_connect_timeout": 1, "retry": Retry(NoBackoff(), 0), **alive}
    return bound(redis.Redis.from_url(url, **options))
