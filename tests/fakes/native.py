"""The common part of the fake servers of Anthropic's and Gemini's own APIs: behaviour, calls, streaming, faults.

The two are ``FakeAnthropic`` (``tests/fakes/anthropic.py``) and ``FakeGemini`` (``tests/fakes/gemini.py``). They are
strict: a request that the real API refuses is refused, with the real error. They import no code of the service.

In a test::

    with FakeAnthropic(api_key="key") as server:
        ...  # server.base_url, server.calls, server.wait_until(lambda: server.calls[0].end)

As a process: ``python -m tests.fakes.anthropic --port 0`` prints ``port N``; ``GET /fake/calls``,
``PUT /fake/defaults`` (a behaviour object) and ``DELETE /fake/attempts`` serve the test's side.

**Behaviour** of a call, later ones win: the server's defaults · the model name's query (``fake?tokens=80&rate=60``) ·
the object ``{"fake": {…}}`` in the latest text of the user that has one. Tokens carry their origin, as in
``tests/fakes/upstream.py``: token 12 of call 7 is ``k7.12 ``. ``first_number`` is the number of a server's first call.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import sys
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import orjson
from aiohttp import web

from tests.fakes.serving import ThreadedServer, serve_for_ever
from tests.fakes.upstream import TOKEN, call_text, token

__all__ = ["TOKEN", "call_text", "token"]

_FAULTS = ("status", "cut_after", "cut_at_event", "stall_after", "error_after", "no_end", "first_delay", "header_delay")


@dataclass(frozen=True)
class Behaviour:
    """The course of one call. "After n" counts the tokens of this call. None and False switch a fault off."""

    tokens: int = 40
    rate: float = 0.0  # tokens a second; 0 = as fast as the socket takes them
    text: str | None = None  # send this, in pieces of `piece` characters, instead of tokens
    piece: int = 4
    thoughts: int = 0  # pieces of a thought before the answer
    thought: str | None = None  # the whole thought, in one piece
    tool_calls: list[dict[str, Any]] = field(default_factory=list)  # [{"name", "arguments"}] behind the text
    tool_rounds: int | None = None  # they are made while the request has fewer results of tools than this
    finish: str | None = None  # the API's own reason, instead of the usual one
    cached: int = 0  # input tokens that came from the cache
    created: int = 0  # input tokens that went into the cache
    pause_after: int | None = None  # pause (or ask for a continuation) after so many tokens, once
    pings: bool = False  # signs of life between the tokens
    unknown: bool = False  # events, blocks and fields that nobody knows, between the tokens
    crlf: bool = False
    # faults
    header_delay: float = 0.0
    first_delay: float = 0.0
    status: int | None = None  # refuse with this status
    retry_after: float | None = None
    error_type: str | None = None  # the API's name of the error
    error_message: str = "The fake server was told to refuse."
    cut_after: int | None = None  # reset the connection
    cut_at_event: int | None = None  # reset it before this event of the stream
    stall_after: int | None = None  # send nothing more (for `stall_for` seconds), except pings
    stall_for: float = 86_400.0
    error_after: int | None = None  # report an error inside the stream
    no_end: bool = False  # end without the end mark
    linger: float = 0.05  # seconds before a reset, in which the client reads what was sent
    # going on
    continue_: str = "right"  # given a prefix: right · restart (from token 0) · overlap (repeats three tokens first)
    once: bool = False  # faults only in the first call of this conversation
    times: int | None = None  # faults only in the first so many calls of this conversation

    def without_faults(self) -> Behaviour:
        defaults = Behaviour()
        return replace(self, **{name: getattr(defaults, name) for name in _FAULTS})


_NAMES = {("continue" if f.name == "continue_" else f.name): f.name for f in fields(Behaviour)}


@dataclass
class Call:
    """The record of one request. ``end`` is None while it runs, then ``finished``, ``truncated``, ``error``,
    ``refused``, ``cut`` or ``client_disconnected``; ``refusal`` is the message of a refusal."""

    number: int
    conversation: str
    attempt: int
    model: str
    body: dict[str, Any]
    headers: dict[str, str]
    started: float
    first_index: int = 0
    prefix: str = ""
    tokens_sent: int = 0
    thoughts_sent: int = 0
    events_sent: int = 0
    ended: float | None = None
    end: str | None = None
    status: int = 200
    refusal: str = ""

    @property
    def text(self) -> str:
        """The text of the tokens that were sent."""
        return call_text(self.number, self.first_index, self.first_index + self.tokens_sent)


class Asked(NamedTuple):
    """A request as a value. ``texts``: the user's, in order; ``identity`` tells conversations apart."""

    model: str
    texts: Sequence[str]
    prefix: str
    streams: bool
    identity: Any
    paused: bool = False  # it goes on with a pause of an earlier call


class Event(NamedTuple):
    """A part of the stream. ``tokens``: of the answer in it."""

    data: bytes
    tokens: int = 0
    thoughts: int = 0


class Refusal(Exception):
    """The API refuses the request: ``kind`` is its name of the error."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.message = message


class Dialect(ABC):
    """One API. ``ping`` is its sign of life in a stream."""

    ping: bytes = b": alive\n\n"

    @abstractmethod
    def routes(self, answer: Any) -> list[web.RouteDef]:
        """The API's routes; ``answer`` serves those that answer."""

    @abstractmethod
    def check(self, request: web.Request, body: dict[str, Any]) -> Asked:
        """Read a request as strictly as the API does. Raises Refusal."""

    @abstractmethod
    def events(self, call: Call, wish: Behaviour, asked: Asked) -> Iterator[Event]:
        """The whole stream of an answer."""

    @abstractmethod
    def document(self, call: Call, wish: Behaviour, asked: Asked) -> dict[str, Any]:
        """An answer that is not streamed."""

    @abstractmethod
    def error(self, status: int, kind: str | None, message: str) -> dict[str, Any]:
        """The body of an error."""

    @abstractmethod
    def error_event(self, wish: Behaviour) -> bytes:
        """An error inside a stream."""


class Server:
    """The application and its memory of calls."""

    def __init__(self, dialect: Dialect, defaults: dict[str, Any] | None = None, first_number: int = 0) -> None:
        self.defaults = apply(Behaviour(), defaults or {})
        self.calls: list[Call] = []
        self._dialect = dialect
        self._first = first_number
        self._attempts: Counter[str] = Counter()

    def close(self) -> None:
        """Nothing is open: calls end with the connections of their clients."""

    def application(self) -> web.Application:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.add_routes(self._dialect.routes(self._answer))
        app.add_routes(
            [
                web.get("/fake/calls", self._list_calls),
                web.put("/fake/defaults", self._set_defaults),
                web.delete("/fake/attempts", self._forget_attempts),
            ]
        )
        return app

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        try:
            try:
                body = orjson.loads(raw)
            except orjson.JSONDecodeError as error:
                raise Refusal(400, "invalid_request_error", f"The body is not JSON: {error}") from error
            try:
                asked = self._dialect.check(request, body)
            except (KeyError, TypeError, AttributeError, IndexError) as error:
                raise Refusal(400, "invalid_request_error", f"{type(error).__name__}: {error}") from error
            wish = self._wish(asked)
        except Refusal as refusal:
            call = self._record(request, raw, None, Behaviour())
            call.refusal = refusal.message
            return self._refuse(call, refusal)
        call = self._record(request, raw, asked, wish)
        if call.attempt >= (1 if wish.once else sys.maxsize if wish.times is None else wish.times):
            wish = wish.without_faults()
        if wish.header_delay:
            await asyncio.sleep(wish.header_delay)
        if wish.status is not None:
            refusal = Refusal(wish.status, wish.error_type or "", wish.error_message)
            return self._refuse(call, refusal, wish.retry_after)
        if not asked.streams:
            await asyncio.sleep(wish.first_delay)
            call.end = "finished"
            return web.json_response(self._dialect.document(call, wish, asked))
        try:
            return await self._stream(request, call, wish, asked)
        except (asyncio.CancelledError, ConnectionError):
            self._end(call, "client_disconnected")
            raise asyncio.CancelledError from None

    async def _stream(self, request: web.Request, call: Call, wish: Behaviour, asked: Asked) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        end = "finished"
        for number, event in enumerate(self._dialect.events(call, wish, asked)):
            fault = _fault(wish, number, call.tokens_sent, event)
            if fault == "cut":
                self._end(call, "cut")
                await asyncio.sleep(wish.linger)
                if request.transport is not None:
                    request.transport.abort()
                raise ConnectionResetError
            if fault == "error":
                await response.write(self._dialect.error_event(wish))
                end = "error"
                break
            if fault == "stall":
                await self._stall(response, wish)
            if event.tokens:
                first = not call.tokens_sent
                pause = 1 / wish.rate if wish.rate else 0.0
                if pause or first:
                    await asyncio.sleep((wish.first_delay if first else 0.0) + pause)
            await response.write(event.data.replace(b"\n", b"\r\n") if wish.crlf else event.data)
            call.events_sent += 1
            call.tokens_sent += event.tokens
            call.thoughts_sent += event.thoughts
        await response.write_eof()
        self._end(call, "truncated" if wish.no_end and end == "finished" else end)
        return response

    async def _stall(self, response: web.StreamResponse, wish: Behaviour) -> None:
        end = time.monotonic() + wish.stall_for
        while (left := end - time.monotonic()) > 0:
            if wish.pings:
                await response.write(self._dialect.ping)
            await asyncio.sleep(min(left, 0.2) if wish.pings else left)

    def _wish(self, asked: Asked) -> Behaviour:
        wishes: dict[str, Any] = {}
        for name, value in parse_qsl(asked.model.partition("?")[2]):
            try:
                wishes[name] = json.loads(value)
            except ValueError:
                wishes[name] = value
        for text in reversed(asked.texts):
            if (at := text.find('{"fake"')) >= 0:
                wishes.update(json.JSONDecoder().raw_decode(text[at:])[0]["fake"])
                break
        return apply(self.defaults, wishes)

    def _record(self, request: web.Request, raw: bytes, asked: Asked | None, wish: Behaviour) -> Call:
        identity = json.dumps(asked.identity if asked else raw.decode("utf-8", "replace"), sort_keys=True)
        conversation = hashlib.sha256(identity.encode()).hexdigest()[:16]
        try:
            body = orjson.loads(raw)
        except orjson.JSONDecodeError:
            body = {}
        secret = ("authorization", "x-api-key", "x-goog-api-key")
        call = Call(
            number=self._first + len(self.calls),
            conversation=conversation,
            attempt=self._attempts[conversation],
            model=asked.model if asked else "",
            body=body,
            headers={name.lower(): value for name, value in request.headers.items() if name.lower() not in secret},
            started=time.time(),
            first_index=_first_index(asked.prefix, wish) if asked else 0,
            prefix=asked.prefix if asked else "",
        )
        self._attempts[conversation] += 1
        self.calls.append(call)
        return call

    def _refuse(self, call: Call, refusal: Refusal, retry_after: float | None = None) -> web.Response:
        call.status = refusal.status
        self._end(call, "refused")
        headers = {} if retry_after is None else {"retry-after": str(retry_after)}
        body = self._dialect.error(refusal.status, refusal.kind or None, refusal.message)
        return web.json_response(body, status=refusal.status, headers=headers)

    @staticmethod
    def _end(call: Call, end: str) -> None:
        if call.end is None:
            call.ended, call.end = time.time(), end

    async def _list_calls(self, _: web.Request) -> web.Response:
        return web.json_response([asdict(call) for call in self.calls])

    async def _set_defaults(self, request: web.Request) -> web.Response:
        self.defaults = apply(Behaviour(), await request.json())
        return web.json_response({})

    async def _forget_attempts(self, _: web.Request) -> web.Response:
        self._attempts.clear()
        return web.json_response({})


def apply(defaults: Behaviour, wishes: dict[str, Any]) -> Behaviour:
    known = {name: value for name, value in wishes.items() if name in _NAMES}
    unknown = [name for name in wishes if name not in _NAMES and name != "key"]
    if unknown:
        raise Refusal(400, "invalid_request_error", f"unknown fields of a fake behaviour: {unknown}")
    return replace(defaults, **{_NAMES[name]: value for name, value in known.items()})


def pieces(call: Call, wish: Behaviour, paused: bool) -> Iterator[str]:
    """The text of an answer, piece by piece."""
    if wish.text is not None:
        yield from (wish.text[i : i + wish.piece] for i in range(0, len(wish.text), wish.piece))
        return
    last = wish.tokens
    if wish.pause_after is not None and not paused:
        last = min(last, wish.pause_after)
    for index in range(call.first_index, max(last, call.first_index)):
        yield token(call.number, index)


def signature(*parts: Any) -> str:
    """The signature of a thought or a call: 64 characters that depend on it alone."""
    return hashlib.sha256(json.dumps(["fake signature", *parts], sort_keys=True).encode()).hexdigest()


def words(value: Any) -> int:
    """The number of words in all texts of a request's part."""
    if isinstance(value, str):
        return len(value.split())
    if isinstance(value, list):
        return sum(map(words, value))
    return sum(map(words, value.values())) if isinstance(value, dict) else 0


def _first_index(prefix: str, wish: Behaviour) -> int:
    if not prefix or wish.continue_ == "restart":
        return 0
    found = TOKEN.findall(prefix + " ")
    following = int(found[-1][1]) + 1 if found else 0
    return max(0, following - 3) if wish.continue_ == "overlap" else following


def _fault(wish: Behaviour, number: int, sent: int, event: Event) -> str | None:
    if number == wish.cut_at_event or (sent == wish.cut_after and (event.tokens or sent)):
        return "cut"
    if sent == wish.error_after and (event.tokens or sent):
        return "error"
    return "stall" if sent == wish.stall_after and (event.tokens or sent) else None


@dataclass
class FakeServer(ThreadedServer):
    """A server in a thread of its own. ``defaults`` are fields of a behaviour; with ``api_key`` it demands one."""

    defaults: dict[str, Any] = field(default_factory=dict)
    api_key: str | None = None
    first_number: int = 0
    port: int = 0

    def dialect(self) -> Dialect:
        """The API that this server speaks."""
        raise NotImplementedError

    def service(self) -> Server:
        return Server(self.dialect(), self.defaults, self.first_number)

    @property
    def calls(self) -> list[Call]:
        return self.server.calls


def main(dialect: Callable[[str | None], Dialect]) -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(description="A fake server of a provider's own API")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--defaults", type=json.loads, default={}, help="a behaviour, as JSON")
    parser.add_argument("--api-key")
    parser.add_argument("--first-number", type=int, default=0)
    arguments = parser.parse_args()
    server = Server(dialect(arguments.api_key), arguments.defaults, arguments.first_number)
    serve_for_ever(server, "127.0.0.1", arguments.port)
