"""Publishes tokens for many generations at a steady rate, as a worker does, from a process of its own.

    python -m bench.producer '{"redis_url": …, "namespace": …, "ids": […], "rate": 50, "seconds": 5}'

For every design it appends to real logs and publishes the tokens, as the product's outbox does when it is in step, so
that relays do not differ in what Redis keeps. With "publisher" and "publish_to" it also sends each token to a server
that has an input of its own (publishers.py); one that keeps the log itself gets the tokens in place of Redis.
Prints a line of JSON with the number of tokens.
"""

from __future__ import annotations

import json
import sys
import time

import redis

from app.domain.events import Snapshot, Token, encode
from app.eventlog.log import Keys, RedisLog, publish_command, xadd_command
from bench.publishers import publisher

# Generations take turns, so that a tick is never one burst.
TICK_SECONDS = 0.002


def opened(client: redis.Redis, namespace: str, ids: list[str]) -> list[Keys]:
    """Open the logs, each with its snapshot. Returns the keys of each log."""
    log = RedisLog(client, namespace)
    for generation_id in ids:
        log.unlink([generation_id])
        log.open(generation_id, 1)
        log.append(generation_id, 1, 0, [encode(Snapshot("", "start", 1))])
    return [log.keys(generation_id) for generation_id in ids]


def append(client: redis.Redis, events: list[tuple[Keys, int, bytes]]) -> None:
    """Add the next events of some logs, then publish them."""
    pipe = client.pipeline(transaction=False)
    for keys, n, payload in events:
        pipe.execute_command(*xadd_command(keys, 1, n, payload))
    for (keys, _, payload), position in zip(events, pipe.execute(), strict=True):
        pipe.execute_command(*publish_command(keys, position, payload))
    pipe.execute()


def main() -> None:
    plan = json.loads(sys.argv[1])
    client = redis.Redis.from_url(plan["redis_url"], socket_timeout=30)
    ids, rate, seconds = plan["ids"], plan["rate"], plan["seconds"]
    keys = opened(client, plan["namespace"], ids)
    other = publisher(plan["publisher"], plan["publish_to"], len(ids))
    print("ready", flush=True)
    sys.stdin.readline()
    total, said, began = int(len(ids) * rate * seconds), 0, time.monotonic()
    while said < total:
        due = min(int((time.monotonic() - began) * len(ids) * rate) + 1, total)
        events, posts = list[tuple[Keys, int, bytes]](), list[tuple[int, bytes]]()
        for index in range(said, due):
            generation, number = index % len(ids), index // len(ids)
            text = f"~{generation}:{number}:{time.monotonic_ns()}~"
            payload = encode(Token(text))
            events.append((keys[generation], number + 1, payload))
            posts.append((generation, payload))
        if due > said:
            if not (other and other.keeps_log):
                append(client, events)
            if other:
                other.send(posts)
        said = due
        time.sleep(TICK_SECONDS)
    if other:
        other.finish()
    print(json.dumps({"said": said, "seconds": time.monotonic() - began}), flush=True)


if __name__ == "__main__":
    main()
