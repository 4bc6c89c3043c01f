"""The nonces of signed requests: each is accepted once, in all processes."""

from __future__ import annotations

from hashlib import sha256

import redis

from app.eventlog.log import redis_errors


class Nonces:
    """Keeps used nonces in Redis, for as long as their signatures could be accepted again."""

    def __init__(self, client: redis.Redis, namespace: str, ttl_seconds: int) -> None:
        """``ttl_seconds`` is longer than any signature is accepted."""
        self._client = client
        self._namespace = namespace
        self._ttl = ttl_seconds

    def use(self, key_id: str, nonce: str) -> bool:
        """Use a nonce of a key. False when it was used before. Raises LogDown when Redis does not answer."""
        with redis_errors():
            return bool(self._client.set(self._key(key_id, nonce), b"", nx=True, ex=self._ttl))

    def forget(self, key_id: str, nonce: str) -> None:
        """Make a nonce good again, as what it was used for has failed. Raises LogDown."""
        with redis_errors():
            self._client.delete(self._key(key_id, nonce))

    def _key(self, key_id: str, nonce: str) -> str:
        return f"{self._namespace}:nonce:{key_id}:{sha256(nonce.encode()).hexdigest()}"
