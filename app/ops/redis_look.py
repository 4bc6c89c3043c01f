"""A look at the Redis of the log and the limits: whether it replies, takes writes, and how full it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import redis

from app.ops.looking import NoAnswer

# Milliseconds after which the key that a look writes is gone.
PROBE_MILLISECONDS = 10_000


@dataclass(frozen=True, slots=True)
class RedisFound:
    """The findings of one look. ``used`` and ``limit`` are bytes of memory; a ``limit`` of 0 is none."""

    is_writable: bool
    used: int
    limit: int


def look_at_redis(client: redis.Redis, namespace: str) -> RedisFound:
    """Write a key that expires, and read the memory's size. Raises redis.RedisError without a reply.

    A server that is full, read-only or cannot save to its disk replies to a PING and refuses the write.
    """
    with client.pipeline(transaction=False) as pipe:
        pipe.set(f"{namespace}:probe", b"1", px=PROBE_MILLISECONDS)
        pipe.info("memory")
        written, memory = pipe.execute(raise_on_error=False)
    for reply in (written, memory):
        if isinstance(reply, Exception) and not isinstance(reply, redis.ResponseError):
            raise reply
    shown = {} if isinstance(memory, Exception) else cast("dict[str, Any]", memory)
    is_writable = not isinstance(written, Exception)
    return RedisFound(is_writable, int(shown.get("used_memory", 0)), int(shown.get("maxmemory", 0)))


def judge_redis(look: Callable[[float], RedisFound], seconds: float) -> tuple[str, RedisFound | None]:
    """The state of Redis (see verdicts.judge_stores) and the findings of a look, waited for at most ``seconds``."""
    try:
        found = look(max(0.0, seconds))
    except (NoAnswer, redis.RedisError):
        return "down", None
    return "ok" if found.is_writable else "no writes", found
