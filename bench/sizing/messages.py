"""The cost of a message from its POST to the end of its answer, with 64 clients that read their answers to the end."""

from __future__ import annotations

import http.client
import json
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from bench.database import connection
from bench.figures import Run
from bench.machine import cpu_seconds, shared_memory_bytes
from bench.sizing.answers import held_by
from bench.stores import CannotMeasure, Stores, clear
from bench.tools import upstream
from tests.stack import Stack

# Clients, each with a user of its own; messages of one conversation.
CLIENTS, TURNS = 64, 4
RATE = 50.0
# The mean pause of a client before a message.
PAUSE_SECONDS = 0.7
# Tokens of an answer, conversations of each client.
SIZES, QUICK_SIZES = ((50, 6), (400, 2)), ((50, 1), (200, 1))
IDLE_SECONDS = 5.0
# Ends are reported to the stores a little later.
SETTLED_SECONDS = 2.0
PARTS = ("web", "worker", "redis", "database")
# The message of a user.
QUESTION = "Compare the two offers of last week, name the price of each, and write an answer that I can send to both."
SIZES_OF_TABLES = """
SELECT relname, pg_total_relation_size(oid) FROM pg_class
WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
"""


@dataclass(frozen=True, slots=True)
class Site:
    """A deployment with one web process and one worker."""

    stack: Stack
    stores: Stores
    netloc: str
    pids: tuple[int, int, int, int]

    def spent(self) -> list[float]:
        """Processor seconds of the web process, the worker, Redis and PostgreSQL."""
        return [cpu_seconds(pid) for pid in self.pids]

    def tables(self) -> dict[str, int]:
        """Bytes of each table with its indexes, without rows that nobody needs any more."""
        with connection(self.stores) as cursor:
            cursor.execute("VACUUM")
            cursor.execute(SIZES_OF_TABLES)
            return dict(cursor.fetchall())


@contextmanager
def site(stores: Stores, base_url: str) -> Iterator[Site]:
    """Start the deployment on empty stores."""
    clear(stores)
    stack = Stack(
        stores.directory / uuid4().hex,
        stores.database_url,
        stores.redis_url,
        OPENAI_BASE_URL=base_url,
        LEASE_SECONDS=30,
        HEARTBEAT_SECONDS=5,
        SWEEP_SECONDS=2,
        KEEPALIVE_SECONDS=15,
        NO_PROXY="127.0.0.1",
    )
    try:
        worker, web = stack.worker(concurrency=200), stack.web(workers=1, threads=64)
        yield Site(
            stack, stores, urlsplit(web.url).netloc, (web.pid, worker.pid, stores.redis_pid, stores.postgres_pid)
        )
    finally:
        stack.stop()


def messages(run: Run) -> list[dict[str, Any]]:
    """Messages with answers of some sizes, a fresh deployment for each."""
    return [_of_size(run, *size) for size in (QUICK_SIZES if run.quick else SIZES)]


def _of_size(run: Run, tokens: int, conversations: int) -> dict[str, Any]:
    with upstream(RATE, tokens, "words") as (model, base_url), site(run.stores, base_url) as place:
        model.send("go")
        everybody(place, 1, 1)
        time.sleep(SETTLED_SECONDS)
        idle = _idle(place)
        tables, held, spent, at = place.tables(), held_by(run.stores), place.spent(), time.monotonic()
        read = everybody(place, conversations, TURNS)
        time.sleep(SETTLED_SECONDS)
        took, now = time.monotonic() - at, held_by(run.stores)
        spent = [after - before for after, before in zip(place.spent(), spent, strict=True)]
        wrong = _wrong(place, read, tokens)
        grown = {name: size - tables.get(name, 0) for name, size in place.tables().items()}
    if wrong:
        run.fault(f"{wrong} of {len(read)} answers of {tokens} tokens were read otherwise than they are stored")
    point: dict[str, Any] = {
        "name": f"{tokens} tokens",
        "tokens": tokens,
        "messages": len(read),
        "a_second": len(read) / took,
        "text_bytes": sum(len(text.encode()) for text in read.values()) / len(read),
        "wal": (now["wal"] - held["wal"]) / len(read),
        "disk": sum(grown.values()) / len(read),
        "tables": {name: size / len(read) for name, size in grown.items() if size},
        "sessions_opened": (now["sessions_opened"] - held["sessions_opened"]) / len(read),
        "redis_log_bytes": (now["redis"] - held["redis"]) / len(read),
        "wrong": wrong,
        **idle,
        **_each(spent, [idle[f"{part}_idle"] for part in PARTS], took, len(read)),
    }
    print(
        f"  {len(read):5} answers of {tokens:3} tokens  ms each: web {point['web_us'] / 1e3:5.1f}"
        f"  worker {point['worker_us'] / 1e3:5.1f}  Redis {point['redis_us'] / 1e3:5.1f}"
        f"  PostgreSQL {point['database_us'] / 1e3:5.1f}  WAL {point['wal'] / 1e3:5.1f} kB"
        f"  disk {point['disk'] / 1e3:5.1f} kB  Redis {point['redis_log_bytes'] / 1e3:5.1f} kB"
        f"  {point['sessions_opened']:.2f} sessions opened  {wrong} wrong",
        flush=True,
    )
    return point


def _each(spent: list[float], idle: list[float], took: float, count: int) -> dict[str, float]:
    """Microseconds of each part for one message, without the part's work at rest."""
    return {
        f"{part}_us": 1e6 * max(seconds - rest * took, 0.0) / count
        for part, seconds, rest in zip(PARTS, spent, idle, strict=True)
    }


def _idle(place: Site) -> dict[str, float]:
    """The part of a core that each part uses at rest, and the memory of the web process and of Redis."""
    before, at = place.spent(), time.monotonic()
    time.sleep(IDLE_SECONDS)
    took = time.monotonic() - at
    found = {f"{part}_idle": (now - was) / took for part, now, was in zip(PARTS, place.spent(), before, strict=True)}
    redis = shared_memory_bytes(place.stores.redis_pid)
    return {**found, "web_bytes": shared_memory_bytes(place.pids[0]), "redis_bytes": redis}


def everybody(place: Site, conversations: int, turns: int) -> dict[str, str]:
    """Let every client write its conversations. Returns the texts that were read, by the generation's id."""
    with ThreadPoolExecutor(CLIENTS) as pool:
        done = list(pool.map(lambda number: _client(place, number, conversations, turns), range(CLIENTS)))
    return {generation_id: text for texts in done for generation_id, text in texts.items()}


def _client(place: Site, number: int, conversations: int, turns: int) -> dict[str, str]:
    headers = {"Authorization": f"Bearer {place.stack.token(f'user-{number}')}", "Content-Type": "application/json"}
    texts: dict[str, str] = {}
    dice = random.Random(number)
    for conversation in range(conversations):
        opened: dict[str, Any] = {}
        for turn in range(turns):
            # Without a pause all clients would send at one moment, because their answers have one length.
            time.sleep(dice.uniform(0, 2 * PAUSE_SECONDS))
            body = {"message": f"{QUESTION} {conversation}.{turn}", "model": "bench", "stream": True}
            if opened:
                body["conversation_id"] = opened["conversation_id"]
            with closing(http.client.HTTPConnection(place.netloc, timeout=60)) as http_connection:
                http_connection.request("POST", "/api/v1/generations", json.dumps(body), headers)
                opened, texts[opened["generation_id"]] = _read(http_connection.getresponse())
    return texts


def _read(response: http.client.HTTPResponse) -> tuple[dict[str, Any], str]:
    """The frame ``open`` of a stream, and its text. Raises CannotMeasure for a refusal or a stream that breaks."""
    if response.status != 200:
        raise CannotMeasure(f"a message was refused: {response.status} {response.read(300)!r}")
    opened: dict[str, Any] = {}
    text, complete = [], False
    for line in response:
        if not line.startswith(b"data: "):
            continue
        event = json.loads(line[6:])
        if "generation_id" in event and not opened:
            opened = event
        if event.get("type") == "token":
            text.append(event["content"])
        complete = complete or event.get("type") == "done"
    if not complete:
        raise CannotMeasure("a stream has ended before its answer")
    return opened, "".join(text)


def _wrong(place: Site, read: dict[str, str], tokens: int) -> int:
    """Answers whose text differs from the stored one, or has another number of words."""
    with connection(place.stores) as cursor:
        cursor.execute("SELECT g.id::text, m.content FROM generations g JOIN messages m ON m.id = g.message_id"
                       " WHERE g.id = ANY(%s::uuid[]) AND g.status = 'completed'", (list(read),))  # fmt: skip
        stored = dict(cursor.fetchall())
    return sum(stored.get(one) != text or len(text.split()) != tokens for one, text in read.items())
