"""The evidence after a run: database dumps, the provider's log, footprints. It is read without the service's code."""

from __future__ import annotations

import json
import os
import re
import time
import zlib
from collections.abc import Set
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import psycopg2
import psycopg2.extras
import redis

from tests.chaos.history import History

Log = list[tuple[str, bytes]]  # (id, payload) in order
# Keys of the broker, which the service does not expire.
_CELERYS = re.compile(r":(_kombu\.|unacked|generations$|[\w@.-]+\.celery\.pidbox)")
TAG = re.compile(r"message-\d+-\d+(?= )")


# Request threads of a web process of the rig.
REQUEST_THREADS = 24


class Footprint(NamedTuple):
    """The resources of a process. ``kib``: resident memory; ``pooled``: store connections, besides ``descriptors``."""

    descriptors: int
    threads: int
    kib: int
    pooled: int = 0


@dataclass
class Call:
    """One request that the provider received. ``tag`` is the tag of the message."""

    number: int
    tag: str | None
    started: float
    first_index: int
    tokens_sent: int = 0
    end: str | None = None


@dataclass
class Dump:
    """The stores after the end. ``generations``: id → row, with the message's text and the answer's content."""

    generations: dict[str, dict[str, Any]] = field(default_factory=dict)
    archives: dict[str, Log] = field(default_factory=dict)
    chunks: dict[str, Log] = field(default_factory=dict)
    redis: dict[str, Log] = field(default_factory=dict)
    endless_keys: list[str] = field(default_factory=list)
    idle: list[str] = field(default_factory=list)
    before: dict[str, Footprint] = field(default_factory=dict)
    after: dict[str, Footprint] = field(default_factory=dict)


@dataclass(frozen=True)
class Allowed:
    """The exceptions of a scenario. Everything else beyond the promise needs the fault log (explain.py).

    ``strange``: the provider's tokens are not as they should be. ``footprint``: footprints of processes are compared.
    ``proxied``: clients reach the service through a reverse proxy, which says "not now" with 502 and 504.
    """

    strange: bool = False
    footprint: bool = True
    proxied: bool = False


@dataclass
class Evidence:
    """Everything that the checker may read."""

    history: History
    calls: list[Call]
    dump: Dump
    allowed: Allowed = Allowed()
    counts: dict[str, int] = field(default_factory=dict)  # marks that the proxies counted
    lease: float = 5.0  # seconds


_GENERATIONS = """
    SELECT g.id::text, g.status, g.epoch, g.final_epoch, g.final_n, g.sha256, g.error, g.attempts, g.usage, g.tries,
           g.idempotency_key, extract(epoch FROM g.finished_at)::float8 AS finished_at,
           g.cancel_at IS NOT NULL AS cancelled, asked.content AS message, answer.content AS content,
           answer.status AS message_status
    FROM generations g JOIN messages asked ON asked.id = g.user_message_id
         JOIN messages answer ON answer.id = g.message_id
    WHERE asked.content LIKE %(tags)s"""


def dump_postgres(dsn: str, run: int, dump: Dump) -> None:
    """Read the rows of this run's messages, their archives and the checkpoints that are left."""
    with closing(psycopg2.connect(dsn, connect_timeout=5)) as connection, connection.cursor() as cursor:
        rows = _rows(cursor, _GENERATIONS, {"tags": f"message-{run}-%"})
        dump.generations = {row["id"]: row for row in rows}
        ids = {"ids": list(dump.generations) or ["00000000-0000-0000-0000-000000000000"]}
        archives = """SELECT generation_id::text, revisions, body FROM generation_archives
                      WHERE generation_id = ANY(%(ids)s::uuid[])"""
        for row in _rows(cursor, archives, ids):
            dump.archives[row["generation_id"]] = _archive(row["revisions"], bytes(row["body"]))
        chunks = """SELECT generation_id::text, epoch, first_n, body FROM generation_chunks
                    WHERE generation_id = ANY(%(ids)s::uuid[]) ORDER BY epoch, first_n"""
        dump.chunks = {}
        for row in _rows(cursor, chunks, ids):
            packed = _unpacked(bytes(row["body"]))
            dump.chunks.setdefault(row["generation_id"], []).extend(
                (f"{row['epoch']}-{n}", payload) for n, payload in enumerate(packed, row["first_n"])
            )
        connection.rollback()
        connection.autocommit = True
        dump.idle = _idle(cursor)


def _idle(cursor: Any, patience: float = 10) -> list[str]:
    """Sessions idle in a transaction for ``patience`` seconds or more. A shorter idle time is a thread's wait."""
    idle = """SELECT pid, xact_start, application_name, state, left(query, 80) AS query FROM pg_stat_activity
              WHERE state LIKE 'idle in transaction%%' AND now() - state_change > interval '1 second'"""
    until = time.monotonic() + patience
    found = {(row["pid"], row["xact_start"]): str(row) for row in _rows(cursor, idle, {})}
    while found and time.monotonic() < until:
        time.sleep(0.5)
        there = {(row["pid"], row["xact_start"]) for row in _rows(cursor, idle, {})}
        found = {known: row for known, row in found.items() if known in there}
    return list(found.values())


def _rows(cursor: Any, query: str, values: dict[str, Any]) -> list[dict[str, Any]]:
    cursor.execute(query, values)
    names = [column.name for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _unpacked(body: bytes) -> list[bytes]:
    """The lines of packed bodies. Bodies follow one another, the newest first."""
    unpacker = zlib.decompressobj()
    lines = _apart(unpacker.decompress(body))
    return _unpacked(unpacker.unused_data) + lines if unpacker.unused_data else lines


def _apart(lines: bytes) -> list[bytes]:
    """The lines of one body, which has one separator between two pieces of text."""
    for sign, kind in ((b'"', b"token"), (b"'", b"reasoning")):
        lines = lines.replace(b"\n" + sign, b'"}\n{"type":"%b","content":"' % kind)
    return lines.removeprefix(b'"}\n').split(b"\n")


def _archive(revisions: list[list[int]], body: bytes) -> Log:
    payloads, log, at = _unpacked(body), [], 0
    for epoch, count in revisions:
        log += [(f"{epoch}-{n}", payload) for n, payload in enumerate(payloads[at : at + count])]
        at += count
    return log


def dump_redis(url: str, namespace: str, ids: set[str], dump: Dump) -> None:
    """Read the logs of this run, and every key that would stay for ever."""
    with closing(redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=2)) as client:
        for key in client.scan_iter(f"{namespace}:*", count=1000):
            name = key.decode()
            if not _CELERYS.search(name) and _is_endless(client, key):
                dump.endless_keys.append(name)
            if (found := re.fullmatch(r".*:\{([0-9a-f-]{36})\}:log", name)) and found[1] in ids:
                dump.redis[found[1]] = [(i.decode(), fields[b"e"]) for i, fields in client.xrange(key)]


def _is_endless(client: redis.Redis, key: bytes, patience: float = 5) -> bool:
    """True when a key has no time to live and gets none within ``patience`` seconds."""
    until = time.monotonic() + patience
    while client.ttl(key) == -1:
        if time.monotonic() > until:
            return True
        time.sleep(0.2)
    return False


def forget_logs(url: str, namespace: str) -> int:
    """Remove every log from Redis, as expiry does. Returns the number of logs."""
    with closing(redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=2)) as client:
        keys = [
            *client.scan_iter(f"{namespace}:*:log", count=1000),
            *client.scan_iter(f"{namespace}:*:meta", count=1000),
        ]
        return int(client.delete(*keys)) if keys else 0


def read_provider_log(path: Path, run: int) -> list[Call]:
    """The calls about this run's messages, and the calls without a message."""
    calls: dict[int, Call] = {}
    # The provider is still writing: bytes after the last line feed are no line yet.
    for line in path.read_bytes().split(b"\n")[:-1]:
        record = json.loads(line)
        if record["event"] == "begin":
            if _names_a_conversation(record["body"]["messages"]):
                continue
            tags = [tag for message in record["body"]["messages"] for tag in TAG.findall(_text(message))]
            tag = tags[0] if tags else None
            calls[record["number"]] = Call(record["number"], tag, record["started"], record["first_index"])
        elif call := calls.get(record["number"]):
            call.tokens_sent, call.end = record["tokens_sent"], record["end"]
    return [call for call in calls.values() if call.tag is None or call.tag.startswith(f"message-{run}-")]


def _names_a_conversation(messages: list[dict[str, Any]]) -> bool:
    """True when a call is for a title and not for an answer."""
    return len(messages) == 1 and _text(messages[0]).startswith("Name the conversation")


def _text(message: dict[str, Any]) -> str:
    content = message.get("content") or ""
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def footprint(pid: int, stores: Set[int] = frozenset()) -> Footprint | None:
    """The footprint of a process; None when it has ended. ``stores``: the process's ports of PostgreSQL and Redis."""
    with suppress(OSError, KeyError, ValueError):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        values = {
            line.partition(":")[0]: line.partition(":")[2].split()[0]
            for line in lines
            if line.partition(":")[2].split()
        }
        pooled = _connections(pid, stores)
        descriptors = len(os.listdir(f"/proc/{pid}/fd")) - pooled
        return Footprint(descriptors, int(values["Threads"]), int(values["VmRSS"]), pooled)
    return None


def _connections(pid: int, ports: Set[int]) -> int:
    """The number of a process's sockets that are connected to one of these ports."""
    rows = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    there = {f"socket:[{row[9]}]" for row in rows if int(row[2].rpartition(":")[2], 16) in ports}
    count = 0
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            count += os.readlink(entry) in there
    return count
