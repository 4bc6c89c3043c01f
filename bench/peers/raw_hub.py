"""The best Python peer: one subscription, raw ASGI on uvicorn. Tokens that arrive together are sent together."""

from __future__ import annotations

import asyncio
import os
from collections import defaultdict
from typing import Any

import redis.asyncio as redis

HEAD: dict[str, Any] = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"text/event-stream")],
}


class Reader:
    """The bytes that have not been sent to one client yet."""

    def __init__(self) -> None:
        self.waiting: list[bytes] = []
        self.news = asyncio.Event()

    def give(self, frame: bytes) -> None:
        self.waiting.append(frame)
        self.news.set()

    async def take(self) -> bytes:
        await self.news.wait()
        self.news.clear()
        waiting, self.waiting = self.waiting, []
        return b"".join(waiting)


readers: dict[bytes, set[Reader]] = defaultdict(set)


async def receive_tokens() -> None:
    channel = redis.Redis.from_url(os.environ["REDIS_URL"], socket_timeout=None).pubsub(ignore_subscribe_messages=True)
    await channel.psubscribe("bench:*")
    async for message in channel.listen():
        position, _, payload = message["data"].partition(b" ")
        frame = b"data: %b\nid: %b\n\n" % (payload, position)
        for reader in readers[message["channel"]]:
            reader.give(frame)


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await live(receive, send)
        return
    mine, reader = readers[b"bench:{%b}:live" % scope["path"][1:].encode()], Reader()
    mine.add(reader)
    try:
        await send(HEAD)
        await send({"type": "http.response.body", "body": b": hi\n\n", "more_body": True})
        while True:
            await send({"type": "http.response.body", "body": await reader.take(), "more_body": True})
    finally:
        mine.discard(reader)


async def live(receive: Any, send: Any) -> None:
    await receive()
    receiving = asyncio.create_task(receive_tokens())
    await send({"type": "lifespan.startup.complete"})
    await receive()
    receiving.cancel()
    await send({"type": "lifespan.shutdown.complete"})
