"""The clients that wait for one generation, counted over all processes in Redis.

A generation begins with one client, so the key is made by the first that joins or leaves. The clients of a process that
dies are never subtracted: the generation then goes on to its end.
"""

from __future__ import annotations

import redis

from app.eventlog.log import redis_errors


class ClientCount:
    """Counts the clients of generations. A method raises LogDown when Redis does not answer in time."""

    def __init__(self, client: redis.Redis, namespace: str, ttl_seconds: float) -> None:
        """``ttl_seconds`` is longer than any generation lives."""
        self._client = client
        self._namespace = namespace
        self._ttl = int(ttl_seconds)

    def join(self, generation_id: str) -> bool:
        """Add a client. False when every other client has left before: the generation is being cancelled."""
        return self._change(generation_id, 1) > 0

    def leave(self, generation_id: str) -> bool:
        """Subtract a client. True when it was the last one."""
        return self._change(generation_id, -1) < 0

    def _change(self, generation_id: str, by: int) -> int:
        """The clients beyond the first, after the change."""
        key = f"{self._namespace}:{{{generation_id}}}:clients"
        with redis_errors(), self._client.pipeline() as pipeline:
            pipeline.incrby(key, by)
            pipeline.expire(key, self._ttl)
            return int(pipeline.execute()[0])
