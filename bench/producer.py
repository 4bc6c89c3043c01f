"""Publishes tokens for many generations at a steady rate, as a worker does, from a process of its own.

    python -m bench.producer '{"redis_url": …, "namespace": …, "ids": […], "rate": 50, "seconds": 5}'

For every design it appends to real logs and publishes the tokens, as the product's outbox does when it is in step, so
that relays do not differ in what Redis keeps. With "publish_port" it also posts each token to Nchan.
Prints a line of JSON with the number of tokens.
"""

from __future__ import annotations

import json
import socket
import sys
import time
from threading import Thread

import redis

from app.domain.events import Snapshot, Token, encode
from app.eventlog.log import Keys, RedisLog, publish_command, xadd_command

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


class Posts:
    """One connection to Nchan. Requests are written together; replies are read and dropped."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        Thread(target=self._discard, daemon=True).start()

    def send(self, posts: list[tuple[int, bytes]]) -> None:
        """Post each text to its generation."""
        head = b"POST /publish/%d HTTP/1.1\r\nHost: bench\r\nContent-Length: %d\r\n\r\n%b"
        self._socket.sendall(b"".join(head % (generation, len(text), text) for generation, text in posts))

    def _discard(self) -> None:
        while self._socket.recv(1 << 20):
            pass


def main() -> None:
    plan = json.loads(sys.argv[1])
    client = redis.Redis.from_url(plan["redis_url"], socket_timeout=30)
    ids, rate, seconds = plan["ids"], plan["rate"], plan["seconds"]
    keys = opened(client, plan["namespace"], ids)
    nchan = Posts(plan["publish_port"]) if plan.get("publish_port") else None
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
            append(client, events)
            if nchan:
                nchan.send(posts)
        said = due
        time.sleep(TICK_SECONDS)
    print(json.dumps({"said": said, "seconds": time.monotonic() - began}), flush=True)


if __name__ == "__main__":
    main()
