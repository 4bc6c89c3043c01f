"""The usual better design: one subscription in the process, a queue for each client, Starlette on uvicorn."""

from __future__ import annotations

import asyncio
import os
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import redis.asyncio as redis
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

readers: dict[bytes, set[asyncio.Queue[bytes]]] = defaultdict(set)


async def receive_tokens() -> None:
    channel = redis.Redis.from_url(os.environ["REDIS_URL"], socket_timeout=None).pubsub(ignore_subscribe_messages=True)
    await channel.psubscribe("bench:*")
    async for message in channel.listen():
        position, _, payload = message["data"].partition(b" ")
        frame = b"data: %b\nid: %b\n\n" % (payload, position)
        for queue in readers[message["channel"]]:
            queue.put_nowait(frame)


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    receiving = asyncio.create_task(receive_tokens())
    yield
    receiving.cancel()


async def stream(request: Request) -> StreamingResponse:
    queue: asyncio.Queue[bytes] = asyncio.Queue(1000)
    channel = b"bench:{%d}:live" % request.path_params["generation"]

    async def events() -> AsyncIterator[bytes]:
        readers[channel].add(queue)
        try:
            yield b": hi\n\n"
            while True:
                yield await queue.get()
        finally:
            readers[channel].discard(queue)

    return StreamingResponse(events(), media_type="text/event-stream")


app = Starlette(routes=[Route("/{generation:int}", stream)], lifespan=lifespan)
