"""Short requests to workers and their replies, which live in Redis for a minute and are in no log.

A request is under its id until one worker takes it. A web process waits for the reply on a connection of its own,
whose descriptor becomes readable: no thread waits.
"""

from __future__ import annotations

from select import POLLIN, poll
from typing import Any

import redis

from app.eventlog.log import redis_errors

# Seconds that a request waits for a worker, and a reply for its web process.
TTL_SECONDS = 60


class Mailbox:
    """Requests and replies by id. A method raises LogDown when Redis does not answer in time."""

    def __init__(self, client: redis.Redis, namespace: str) -> None:
        self._client = client
        self._namespace = namespace

    def send(self, request_id: str, request: bytes) -> PendingReply:
        """Store a request, and begin to wait for its reply."""
        with redis_errors():
            self._client.set(self._key(request_id, "request"), request, ex=TTL_SECONDS)
            return PendingReply(self._client, self._key(request_id, "reply"))

    def expect(self, request_id: str) -> PendingReply:
        """Begin to wait for a reply to a request that workers find elsewhere."""
        with redis_errors():
            return PendingReply(self._client, self._key(request_id, "reply"))

    def take(self, request_id: str) -> bytes | None:
        """Take a request out; None for one that was taken, or is too old."""
        with redis_errors():
            found: Any = self._client.getdel(self._key(request_id, "request"))
            return None if found is None else bytes(found)

    def reply(self, request_id: str, reply: bytes) -> None:
        """Store the reply to a request."""
        key = self._key(request_id, "reply")
        with redis_errors(), self._client.pipeline() as pipeline:
            pipeline.rpush(key, reply)
            pipeline.expire(key, TTL_SECONDS)
            pipeline.execute()

    def _key(self, request_id: str, part: str) -> str:
        return f"{self._namespace}:{{{request_id}}}:{part}"


class PendingReply:
    """A reply on its way: a blocking command on a connection of its own."""

    def __init__(self, client: redis.Redis, key: str) -> None:
        self._pool: Any = client.connection_pool
        self._connection: Any = self._pool.get_connection()
        try:
            self._connection.send_command("BLPOP", key, TTL_SECONDS)
        except BaseException:
            self.cancel()
            raise

    def fileno(self) -> int:
        """The descriptor that becomes readable with the reply."""
        number: int = self._connection._sock.fileno()
        return number

    @property
    def is_there(self) -> bool:
        """True when the reply, or its beginning, can be read."""
        waiting = poll()
        waiting.register(self.fileno(), POLLIN)
        return bool(waiting.poll(0))

    def read(self) -> bytes | None:
        """The reply, once; None when none came. Raises LogDown."""
        with redis_errors():
            try:
                found = self._connection.read_response()
            except BaseException:
                self.cancel()
                raise
        self._pool.release(self._connection)
        self._connection = None
        return bytes(found[1]) if found else None

    def cancel(self) -> None:
        """Stop to wait."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.disconnect()
            self._pool.release(connection)
