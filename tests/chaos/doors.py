"""Clients of the other protocols: OpenAI's Responses and chat completions, the AI SDK, feeds. Bare bytes, no SDK.

The clients follow answers that were started over the native API. A chat completion cannot be followed by an id: its
client sends a message of its own, and repeats the request with its key until it has seen the end.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from contextlib import suppress
from typing import Any

from tests.chaos.history import BROKEN, CLEAN, LEFT, REFUSED, Asked, Connection, Frame, Reading, Reply
from tests.chaos.http import EventParser, Exchange, Unanswered
from tests.chaos.load import API, TERMINAL, USERS, Load, Reader, canary

RESPONSE_ENDS = (b'"response.completed"', b'"response.incomplete"', b'"response.failed"')
SDK_ENDS = (b'{"type":"finish"', b'{"type":"abort"', b'{"type":"error"')


class ResponsesReader(Reader):
    """``GET /v1/responses/{id}?stream=true``. The reader hangs up now and then and resumes after its last number."""

    def __init__(self, load: Load, asked: Asked, rng: random.Random) -> None:
        super().__init__(load, asked.generation or "", asked.user, "responses", rng)
        self.stays = (2.0, 6.0)

    def _request(self) -> tuple[str, dict[str, str]]:
        behind = "" if self.cursor == "0-0" else f"&starting_after={self.cursor}"
        return f"/v1/responses/resp_{self.reading.generation.replace('-', '')}?stream=true{behind}", {}

    def _is_end(self, payload: bytes) -> bool:
        return any(end in payload[:60] for end in RESPONSE_ENDS)


class SdkReader(Reader):
    """``GET /api/chat/{id}/stream`` of the AI SDK: each connection begins at the first chunk."""

    def __init__(self, load: Load, asked: Asked, rng: random.Random) -> None:
        super().__init__(load, asked.generation or "", asked.user, "aisdk", rng)
        self.stays = (3.0, 9.0)
        self._conversation = asked.conversation

    def _request(self) -> tuple[str, dict[str, str]]:
        return f"/api/chat/{self._conversation}/stream", {}

    def _is_end(self, payload: bytes) -> bool:
        return payload.startswith(SDK_ENDS)


class ChatAsker:
    """``POST /v1/chat/completions`` with a key, repeated until one stream has come to its end."""

    def __init__(self, load: Load, asked: Asked, rng: random.Random) -> None:
        self._load = load
        self._rng = rng
        self._asked = Asked(f"{asked.tag}0000", asked.user, f"{asked.key} chat")
        # Only a configured model has tools.
        self._asked.wishes = {name: wish for name, wish in asked.wishes.items() if not name.startswith("tool_")}
        self.reading = Reading(f"chat client of {self._asked.tag}", "chat", "", asked.user)
        load.history.asked.append(self._asked)

    async def run(self) -> None:
        while not self.reading.finished:
            connection = Connection(time.time(), "0-0")
            self.reading.connections.append(connection)
            await self._send(connection)
            connection.ended = time.time()
            await asyncio.sleep(self._rng.uniform(0.1, 0.4))

    async def _send(self, connection: Connection) -> None:
        asked, service = self._asked, self._load.service
        said = f"{asked.tag} {canary(asked.user)} {json.dumps({'fake': asked.wishes})}"
        body = {"model": service.model, "stream": True, "messages": [{"role": "user", "content": said}]}
        headers = {**service.headers(asked.user), "Content-Type": "application/json", "Idempotency-Key": asked.key}
        headers["X-Unbroken-Listed"] = "1"  # so that the user's feed tells its end
        connection.end = REFUSED
        with suppress(Unanswered):
            exchange = await Exchange.begin(
                self._rng.choice(service.addresses), "POST", "/v1/chat/completions", headers, json.dumps(body).encode()
            )
            try:
                connection.status = exchange.head.status
                if connection.status == 200:
                    await self._read(exchange, connection)
                else:
                    connection.end = str(connection.status)
            finally:
                exchange.close()

    async def _read(self, exchange: Exchange, connection: Connection) -> None:
        parser, hang_up = EventParser(), time.time() + self._rng.uniform(3, 25)
        async for data in exchange.body(self._load.plan.silence):
            for _, payload in parser.feed(data):
                connection.frames.append(Frame(time.time(), None, payload))
                self._learn(payload)
            if time.time() > hang_up:
                connection.end = LEFT
                return
        connection.end = CLEAN if exchange.complete else BROKEN
        self.reading.finished = connection.end == CLEAN

    def _learn(self, payload: bytes) -> None:
        """Take the generation's id from the first chunk."""
        if self._asked.generation or not payload.startswith(b"{"):
            return
        digits = str(json.loads(payload).get("id", "")).removeprefix("chatcmpl-")
        if len(digits) == 32:
            parts = (digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])
            self._asked.generation = self.reading.generation = "-".join(parts)
            self._asked.replies.append(Reply(time.time(), 200, {"generation": {"id": self._asked.generation}}))


class FeedReader:
    """``GET /api/v1/feed?generations=live`` of one user, with positions kept across connections."""

    def __init__(self, load: Load, user: str) -> None:
        self.reading = Reading(f"feed of {user}", "feed", "", user)
        self._load = load
        self._user = user
        self._rng = random.Random(f"{load.history.seed} feed {user}")
        self._seq: int | None = None
        self._positions: dict[str, str] = {}
        self._ended: set[str] = set()

    @property
    def complete(self) -> bool:
        """True when the feed has reported the end of every answer of its user."""
        mine = {a.generation for a in self._load.history.asked if a.user == self._user and a.generation}
        return mine <= self._ended

    async def run(self) -> None:
        while self._seq is None:
            page = await self._load._call(self._user, "GET", "/conversations?limit=1", None, self._rng)
            self._seq = page.body["feed_seq"] if page.status == 200 else None
            await asyncio.sleep(0.2)
        while True:
            connection = Connection(time.time(), str(self._seq))
            self.reading.connections.append(connection)
            with suppress(Unanswered):
                await self._follow(connection)
            connection.ended = time.time()
            await asyncio.sleep(self._rng.uniform(0.05, 0.3))

    async def _follow(self, connection: Connection) -> None:
        service = self._load.service
        after = ",".join(f"{generation}:{cursor}" for generation, cursor in [*self._positions.items()][-50:])
        path = f"{API}/feed?generations=live&from_seq={self._seq}" + (f"&after={after}" if after else "")
        headers = {**service.headers(self._user), "Accept": "text/event-stream"}
        connection.end = REFUSED
        exchange = await Exchange.begin(self._rng.choice(service.addresses), "GET", path, headers)
        try:
            connection.status = exchange.head.status
            connection.end = BROKEN if connection.status == 200 else str(connection.status)
            if connection.status == 200:
                await self._read(exchange, connection)
        finally:
            exchange.close()

    async def _read(self, exchange: Exchange, connection: Connection) -> None:
        parser, hang_up = EventParser(), time.time() + self._rng.uniform(4, 15)
        async for data in exchange.body(self._load.plan.silence):
            for identity, payload in parser.feed(data):
                connection.frames.append(Frame(time.time(), identity, payload))
                self._note(identity, json.loads(payload))
            if time.time() > hang_up:
                connection.end = LEFT
                return
        connection.end = CLEAN if exchange.complete else BROKEN

    def _note(self, identity: str | None, event: dict[str, Any]) -> None:
        if identity is not None:
            self._seq = int(identity)
        generation = event.get("generation_id")
        if generation and event.get("cursor"):
            self._positions.pop(generation, None)
            if event["type"] != "done":
                self._positions[generation] = event["cursor"]
        elif generation and identity is not None and event.get("status") in TERMINAL:
            self._ended.add(generation)


OTHERS = (ResponsesReader, SdkReader)
__all__ = ["OTHERS", "USERS", "ChatAsker", "FeedReader", "ResponsesReader", "SdkReader"]
