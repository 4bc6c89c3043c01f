"""Five hundred connections follow one conversation while its answers are made and web processes come and go."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest

from app.domain.commands import ChangeConversation
from app.services.generation_start import Started
from tests.stack import Stack, Web, until

READERS = 500
GENERATIONS = 50


@dataclass
class Crowd:
    """Readers of one feed. A reader that lost its connection goes to ``web``. ``top`` is the feed's last number."""

    token: str
    conversation_id: str
    web: Web
    top: int = 10**9
    connects: int = 0
    said: dict[int, set[str]] = field(default_factory=dict)

    async def follow(self) -> list[int]:
        """The numbers that one reader received, in order, over all its connections."""
        ids: list[int] = []
        while not ids or ids[-1] < self.top:
            with suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
                await self._connection(ids)
            await asyncio.sleep(0.05)
        return ids

    async def _connection(self, ids: list[int]) -> None:
        where = urlsplit(self.web.url)
        reader, writer = await asyncio.open_connection(where.hostname, where.port)
        last = f"Last-Event-ID: {ids[-1]}\r\n" if ids else ""
        path = f"/api/v1/conversations/{self.conversation_id}/events"
        head = f"GET {path} HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {self.token}\r\n{last}\r\n"
        try:
            writer.write(head.encode())
            status = (await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)[1]
            if status != b"200":
                return
            self.connects += 1
            async for number, data in events(reader):
                ids.append(number)
                # The data of a replayed and of a live event of one number have to be equal.
                self.said.setdefault(number, set()).add(data)
                if number >= self.top:
                    return
        finally:
            writer.close()


async def events(reader: asyncio.StreamReader) -> AsyncIterator[tuple[int, str]]:
    """The numbered events of a chunked body, until it breaks."""
    buffer = b""
    while True:
        async with asyncio.timeout(60):
            size = int(await reader.readuntil(b"\r\n"), 16)
            buffer += (await reader.readexactly(size + 2))[:-2]
        while b"\n\n" in buffer:
            block, _, buffer = buffer.partition(b"\n\n")
            lines = [line for line in block.split(b"\n") if not line.startswith(b":")]
            if lines[-1].startswith(b"id: "):
                yield int(lines[-1][4:]), lines[-2].removeprefix(b"data: ").decode()


def run(stack: Stack, crowd: Crowd, play: Callable[[], Awaitable[None]]) -> list[list[int]]:
    """Run ``play`` while all readers follow, until each of them has received ``crowd.top``."""

    async def all_of_it() -> list[list[int]]:
        async with asyncio.timeout(400):
            following = [asyncio.create_task(crowd.follow()) for _ in range(READERS)]
            while crowd.connects < READERS:
                await asyncio.sleep(0.05)
            await play()
            return list(await asyncio.gather(*following))

    return asyncio.run(all_of_it())


@pytest.mark.slow
def test_five_hundred_readers_of_fifty_answers_get_every_number_once_whatever_happens_to_the_web(stack: Stack) -> None:
    stack.worker(60)
    first, second = (stack.web(MAX_STREAMS_PER_USER=5000, MAX_STREAMS=5000) for _ in range(2))
    begun = stack.start("Let us begin", model="offline-fast")
    crowd = Crowd(stack.token(), begun.conversation.id, first)
    started: list[Started] = [begun]

    async def ask(count: int) -> None:
        for n in range(count):
            started.append(await asyncio.to_thread(ask_one, n))
            await asyncio.sleep(0.05)

    def ask_one(n: int) -> Started:
        # One in five begins another conversation, whose changes must not appear in this feed.
        where: dict[str, Any] = {"conversation_id": begun.conversation.id, "on_busy": "enqueue"} if n % 5 else {}
        return stack.start(f"And then? {n}", model="offline-fast", **where)

    async def play() -> None:
        await ask(GENERATIONS // 3)
        crowd.web = second
        first.kill()
        await ask(GENERATIONS // 3)
        while crowd.connects < 2 * READERS:
            await asyncio.sleep(0.05)
        crowd.web = await asyncio.to_thread(lambda: stack.web(MAX_STREAMS_PER_USER=5000, MAX_STREAMS=5000))
        await asyncio.to_thread(second.terminate)
        await ask(GENERATIONS - 2 * (GENERATIONS // 3) - 1)
        for one in started:
            await asyncio.to_thread(stack.finished, one.generation.id)
        await asyncio.to_thread(name_it)

    def name_it() -> None:
        """Make the last change. ``crowd.top`` has its number before the change is made."""
        conversations, conversation_id = stack.resources.conversations, begun.conversation.id
        until(lambda: conversations.get(stack.user, conversation_id).title, what="a title")
        crowd.top = conversations.get(stack.user, conversation_id).feed_seq + 1
        conversations.change(stack.user, conversation_id, ChangeConversation(title="The end"))

    read = run(stack, crowd, play)
    here = [one for one in started if one.conversation.id == begun.conversation.id]
    assert len(started) == GENERATIONS
    # Question, answer and its end for each generation, and two titles.
    assert crowd.top == 3 * len(here) + 2
    assert [ids for ids in read if ids != list(range(1, crowd.top + 1))] == []
    assert crowd.connects >= 3 * READERS
    assert [number for number, said in crowd.said.items() if len(said) != 1] == []
    kinds = [json.loads(said.pop())["type"] for _, said in sorted(crowd.said.items())]
    assert kinds.count("message.updated") == len(here)
    assert kinds.count("conversation.updated") == 2
