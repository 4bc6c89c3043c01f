"""A nonce is used once, in all processes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from app.domain.errors import LogDown
from app.eventlog.nonces import Nonces


def test_a_nonce_of_a_key_is_used_once_by_any_number_of_processes(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        several = [Nonces(client, "test", 600) for _ in range(8)]
        with ThreadPoolExecutor(8) as pool:
            assert sorted(pool.map(lambda nonces: nonces.use("billing", "n-1"), several)) == [False] * 7 + [True]
        assert several[0].use("billing", "n-2")
        assert several[0].use("another", "n-1")
        keys = list(client.scan_iter("test:nonce:*"))
        assert len(keys) == 3
        assert all(590 < client.ttl(key) <= 600 for key in keys)


def test_no_nonce_is_accepted_without_redis() -> None:
    with redis.Redis.from_url("redis://127.0.0.1:1/0") as client, pytest.raises(LogDown):
        Nonces(client, "test", 600).use("billing", "n-1")
