"""Searches all data of the two stores for a text."""

from __future__ import annotations

from typing import Any

import redis

from app.domain.events import unpack
from tests.factories import owner


def keys_with(client: redis.Redis, marker: str) -> set[str]:
    """The keys of Redis whose name or value has the text, whatever their type."""
    wanted = marker.encode()
    return {key.decode() for key in client.scan_iter() if wanted in key or wanted in _value(client, key)}


def keys_of(client: redis.Redis, ids: list[str]) -> set[str]:
    """The keys of Redis whose name has one of the ids."""
    return {name for key in client.scan_iter() if any(one in (name := key.decode()) for one in ids)}


def _value(client: redis.Redis, key: bytes) -> bytes:
    kind = client.type(key)
    read: dict[bytes, Any] = {
        b"string": lambda: client.get(key),
        b"list": lambda: client.lrange(key, 0, -1),
        b"set": lambda: client.smembers(key),
        b"zset": lambda: client.zrange(key, 0, -1),
        b"hash": lambda: client.hgetall(key),
        b"stream": lambda: client.execute_command("XRANGE", key, "-", "+"),
        b"none": lambda: b"",  # it has expired since
    }
    return repr(read[kind]()).encode()


def tables_with(url: str, marker: str) -> set[str]:
    """The tables with a row that has the text in any column; packed columns are unpacked."""
    with owner(url) as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        tables = [name for (name,) in cursor.fetchall()]
        found = set()
        for table in tables:
            cursor.execute(f"SELECT * FROM {table}")
            if any(marker in _shown(value) for row in cursor for value in row):
                found.add(table)
    return found


def _shown(value: Any) -> str:
    if not isinstance(value, memoryview):
        return str(value)
    raw = bytes(value)
    try:
        return repr([raw, *unpack(raw)])
    except Exception:  # not packed: a digest
        return repr(raw)
