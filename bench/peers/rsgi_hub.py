"""The raw hub on granian's own interface, RSGI. Tokens that arrive together are sent together."""

from __future__ import annotations

from asyncio import AbstractEventLoop, Task
from typing import Any

from bench.peers.raw_hub import Reader, readers, receive_tokens

HEAD = [("content-type", "text/event-stream")]


class Hub:
    receiving: Task[None]

    def __rsgi_init__(self, loop: AbstractEventLoop) -> None:
        self.receiving = loop.create_task(receive_tokens())

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        mine, reader = readers[b"bench:{%b}:live" % scope.path[1:].encode()], Reader()
        mine.add(reader)
        try:
            stream = protocol.response_stream(200, HEAD)
            await stream.send_bytes(b": hi\n\n")
            while True:
                await stream.send_bytes(await reader.take())
        finally:
            mine.discard(reader)


app = Hub()
