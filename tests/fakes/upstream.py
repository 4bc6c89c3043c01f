"""A real HTTP server that behaves like an OpenAI-compatible upstream, well or badly, as its caller chooses.

It serves ``POST /v1/chat/completions`` (streaming or not) and ``GET /v1/models``. It imports no code of the service.

In a test::

    with FakeUpstream() as upstream:
        ...  # upstream.base_url, upstream.calls, upstream.wait_until(lambda: upstream.calls[0].ended)

As a process: ``python -m tests.fakes.upstream --port 0 --log FILE`` prints ``port N``; then
``GET /fake/calls``, ``PUT /fake/defaults`` (a behaviour object), ``DELETE /fake/attempts`` (so that ``once``
counts anew), ``PUT /fake/enough`` (running calls end in order, later calls are short) and ``PUT /fake/go_on`` (running
calls send their next token now, also out of a stall) serve the test's side.

**Behaviour** of a call, later ones win: the server's defaults · the model name's query (``fake?tokens=80&rate=60``) ·
the last object ``{"fake": {…}}`` in the latest user message that has one. All fields are described at ``Behaviour``.

**Tokens carry their origin**: token 12 of this server's call 7 is ``k7.12 ``. Some have other characters behind the
number, and the last character is a space or a line feed. ``TOKEN`` finds them.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from itertools import islice, takewhile
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import orjson
from aiohttp import web

from tests.fakes import strict
from tests.fakes.serving import ThreadedServer, serve_for_ever

TOKEN = re.compile(r"k(\d+)\.(\d+)[^\sk]*\s")
MODELS = ("fake", "fake-large", "fake/with-slash")
# The most tokens of a call that begins after ``PUT /fake/enough``.
ENOUGH = 20
# Signs that break careless code: two to four bytes in UTF-8, outside the BMP, joined, right-to-left, combining.
DECORATIONS = ("é", "日本", "🙂", "👩\u200d🚀", "שלום", "n\u0303", "<b>&amp;", '"\\"')

_FAULTS = frozenset(
    {
        "status",
        "cut_after",
        "stall_after",
        "error_after",
        "no_finish",
        "first_delay",
        "header_delay",
        "drip_bytes_per_s",
    }
)


@dataclass(frozen=True)
class Behaviour:
    """The course of one call. "After n" counts the tokens of this call. None and False switch a fault off."""

    tokens: int = 80
    rate: float = 50.0  # tokens a second; 0 = as fast as the socket takes them
    batch: int = 1  # tokens per write
    text: str | None = None  # send this, in chunks of `piece` characters, instead of tokens
    piece: int = 4
    refuse: bool = False  # the text is sent as a refusal
    corrected: str | None = None  # in the place of `text` when messages follow the one with this behaviour
    # before the first token
    header_delay: float = 0.0  # seconds until the status line
    held: bool = False  # while the server's defaults have it: calls that are not refused get no status line
    first_delay: float = 0.0  # seconds between headers and first token
    status: int | None = None  # refuse with this status
    retry_after: float | str | None = None
    error_code: str | None = None  # the error object's `code`
    error_message: str = "The fake upstream was told to refuse."
    html: bool = False  # the refusal is a web page
    echo_key: bool = False  # the refusal quotes the Authorization header
    # in the middle
    cut_after: int | None = None  # reset the connection
    stall_after: int | None = None  # send nothing more, keep the connection (for `stall_for` seconds)
    stall_for: float | None = None
    error_after: int | None = None  # report an error inside the stream, in this form:
    error_form: str = "object"  # object · text · line · event · openrouter
    garbage_after: int | None = None  # a data line that is not JSON
    no_finish: bool = False  # end cleanly without finish_reason and [DONE]
    cut_at_end: bool = False  # reset the connection instead of [DONE]
    linger: float = 0.3  # seconds before a reset, which takes along what the client has not read yet
    # shape
    finish: str = "stop"
    usage: bool | str = True  # True: own chunk, if the request wants it · "choices": in the finish chunk · False: never
    done: bool = True  # send [DONE]
    reasoning: int = 0  # reasoning tokens before the answer
    reasoning_field: str = "reasoning_content"  # reasoning_content · reasoning · both · details
    # {"name", "arguments" (object or text), "id"?, "extra_content"?} after the text, in four deltas
    tool_call: dict[str, Any] | None = None
    tool_rounds: int | None = None  # it is made while the request has fewer results of tools than this
    keepalive: bool = False  # comments between the tokens, and empty choices
    crlf: bool = False
    nul_at: int | None = None  # this token carries a NUL
    surrogate_at: int | None = None  # this token carries half a surrogate pair
    split_pair_at: int | None = None  # this token and the next carry one emoji, half each
    bad_utf8_at: int | None = None  # this token carries a byte that is not UTF-8
    split_utf8: bool = False  # writes end inside characters
    drip_bytes_per_s: float | None = None
    # what it demands of the prompt
    strict: bool = False  # refuse messages that break the rules of `strict.py`
    wants_back: str | None = None  # refuse tool calls that come back without this field
    knows_not: str | None = None  # refuse messages that have this field
    # going on
    continue_: str = "right"  # given a prefix: right · restart (from token 0) · overlap (repeats three tokens first)
    # exact (a `text` goes on behind the prefix; otherwise it is sent whole)
    once: bool = False  # faults only in the first call of this conversation
    times: int | None = None  # faults only in the first so many calls of this conversation

    @cached_property
    def interrupted(self) -> bool:
        places = (self.cut_after, self.stall_after, self.error_after, self.garbage_after)
        return any(place is not None for place in places)

    @cached_property
    def damaged(self) -> bool:
        places = (self.nul_at, self.surrogate_at, self.bad_utf8_at, self.split_pair_at)
        return any(place is not None for place in places)

    def without_faults(self) -> Behaviour:
        defaults = Behaviour()
        return replace(self, **{name: getattr(defaults, name) for name in _FAULTS})


_NAMES = {("continue" if f.name == "continue_" else f.name): f.name for f in fields(Behaviour)}


@dataclass
class Call:
    """The record of one request. ``end`` is None while it runs, then ``finished``, ``truncated``, ``error``,
    ``refused``, ``cut`` or ``client_disconnected``. Times are time.time(); ``first_index`` is above 0 for a call
    that continued a prefix of ``prefix_chars`` characters."""

    number: int
    conversation: str  # equal for all attempts at one answer
    attempt: int
    model: str
    body: dict[str, Any]
    headers: dict[str, str]
    authorized: bool
    peer: str  # address and port of the client's end, which identify the connection
    started: float
    first_index: int = 0
    prefix_chars: int = 0
    reasoning_sent: int = 0
    tokens_sent: int = 0
    first_token_at: float | None = None
    ended: float | None = None
    end: str | None = None
    status: int = 200
    enough: bool = False  # no more tokens: the call ends in order

    @property
    def text(self) -> str:
        """The text of the tokens that were sent; faults in their bytes are no part of it."""
        return "".join(token(self.number, i) for i in range(self.first_index, self.first_index + self.tokens_sent))


def token(call: int, index: int) -> str:
    """Token ``index`` of call ``call``. It depends on these two numbers only."""
    decoration = DECORATIONS[index // 9 % len(DECORATIONS)] if index % 9 == 8 else ""
    return f"k{call}.{index}{decoration}" + ("\n" if index % 16 == 15 else " ")


def call_text(call: int, first: int, last: int) -> str:
    """Tokens ``first`` up to, not including, ``last``."""
    return "".join(token(call, index) for index in range(first, last))


# --- reading the request ---------------------------------------------------------------------------------------


class Request(NamedTuple):
    body: dict[str, Any]
    prefix: str
    behaviour: Behaviour
    conversation: str


def understand(body: dict[str, Any], defaults: Behaviour) -> Request:
    """The request as a value, read from its body. Raises ValueError for an unknown field of a behaviour."""
    messages, prefix = _without_continuation(list(body["messages"]))
    wishes = dict(_from_model(str(body.get("model", ""))))
    wishes.update(_from_messages(messages))
    behaviour = _apply(defaults, wishes)
    if behaviour.corrected is not None and not any(_text(m).find('{"fake"') >= 0 for m in messages[-1:]):
        behaviour = replace(behaviour, text=behaviour.corrected)
    identity = json.dumps([body.get("model"), messages], sort_keys=True).encode()
    return Request(body, prefix, behaviour, hashlib.sha256(identity).hexdigest()[:16])


def _without_continuation(messages: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], str]:
    """The conversation proper and the prefix: a last assistant message, perhaps with an instruction behind it."""
    if len(messages) > 1 and messages[-1]["role"] == "assistant":
        return messages[:-1], messages[-1].get("content") or ""
    if len(messages) > 2 and messages[-1]["role"] == "user" and messages[-2]["role"] == "assistant":
        instruction = _text(messages[-1]).lower()
        if "continue" in instruction and "exactly" in instruction:
            return messages[:-2], messages[-2].get("content") or ""
    return messages, ""


def _from_model(model: str) -> Iterator[tuple[str, Any]]:
    for name, value in parse_qsl(model.partition("?")[2]):
        try:
            yield name, json.loads(value)
        except ValueError:
            yield name, value


def _from_messages(messages: list[dict[str, Any]]) -> dict[str, Any]:
    for message in reversed(messages):
        at = _text(message).rfind('{"fake"') if message["role"] == "user" else -1
        if at >= 0:
            wishes: dict[str, Any] = json.JSONDecoder().raw_decode(_text(message)[at:])[0]["fake"]
            return wishes
    return {}


def _text(message: dict[str, Any]) -> str:
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content)


def _apply(defaults: Behaviour, wishes: dict[str, Any]) -> Behaviour:
    unknown = [name for name in wishes if name not in _NAMES and name != "key"]
    if unknown:
        raise ValueError(f"unknown fields of a fake behaviour: {unknown}")
    return replace(defaults, **{_NAMES[name]: value for name, value in wishes.items() if name != "key"})


# --- the response as a script of steps, without side effects ---------------------------------------------------


class Step(NamedTuple):
    """``wait`` seconds after the step before was due: send ``data``, which has ``tokens`` in it, then maybe ``end``."""

    data: bytes = b""
    wait: float = 0.0
    tokens: int = 0
    reasoning: int = 0
    end: str | None = None


def script(call: Call, wish: Behaviour) -> Iterator[Step]:
    """The streamed answer, step by step, until a step with an end."""
    steps = _shape(call, wish)
    if wish.split_utf8:
        steps = _split_inside_characters(steps)
    if wish.drip_bytes_per_s:
        steps = _drip(steps, wish.drip_bytes_per_s)
    return steps


def _shape(call: Call, wish: Behaviour) -> Iterator[Step]:
    pause = wish.batch / wish.rate if wish.rate else 0.0
    chunk = _Chunks(call, wish)
    yield Step(chunk.delta({"role": "assistant", "content": ""}))
    wait = wish.first_delay
    for index in range(wish.reasoning):
        yield Step(chunk.delta(_reasoning(wish.reasoning_field, f"r{call.number}.{index} ")), wait, reasoning=1)
        wait = pause
    sent = 0
    pieces = _pieces(call, wish)
    while True:
        fault = _fault(wish, sent, chunk)
        if fault is not None:
            yield from fault
            if fault[-1].end:
                return
        batch = list(islice(pieces, _until_fault(wish, sent)))
        if not batch:
            break
        extra = b": keep-alive\n\n" + chunk.empty() if wish.keepalive else b""
        yield Step(extra + b"".join(map(chunk.content, batch)), wait, tokens=len(batch))
        sent += len(batch)
        wait = pause
    if wish.tool_call and _wants_tools(call, wish):
        for delta in _tool_deltas(wish.tool_call):
            yield Step(chunk.delta({"tool_calls": [delta]}), wait)
    if wish.no_finish:
        yield Step(wait=wait, end="truncated")
        return
    yield Step(chunk.finish(sent))
    if wish.cut_at_end:
        yield Step(wait=wish.linger, end="cut")
        return
    yield Step(chunk.last(sent) + (chunk.line(b"[DONE]") if wish.done else b""), end="finished")


def _until_fault(wish: Behaviour, sent: int) -> int:
    """The number of tokens of the next write, so that it ends at the next fault."""
    limits = [
        n - sent for n in (wish.cut_after, wish.stall_after, wish.error_after, wish.garbage_after) if n is not None
    ]
    return min([wish.batch, *[n for n in limits if n > 0]])


def _fault(wish: Behaviour, sent: int, chunk: _Chunks) -> list[Step] | None:
    if not wish.interrupted:
        return None
    if sent == wish.cut_after:
        return [Step(wait=wish.linger, end="cut")]
    if sent == wish.error_after:
        return [Step(chunk.error(wish)), Step(chunk.line(b"[DONE]"), end="error")]
    if sent == wish.garbage_after:
        return [Step(chunk.line(b'{"choices": [{"delta": {"cont'))]
    if sent == wish.stall_after:
        return [Step(wait=86_400.0 if wish.stall_for is None else wish.stall_for)]
    return None


def _pieces(call: Call, wish: Behaviour) -> Iterator[str]:
    if wish.text is not None:
        text = wish.text[call.prefix_chars :] if wish.continue_ == "exact" else wish.text
        pieces = (text[i : i + wish.piece] for i in range(0, len(text), wish.piece))
    else:
        indexes = range(call.first_index, max(wish.tokens, call.first_index))
        pieces = (token(call.number, index) for index in indexes)
    yield from takewhile(lambda _: not call.enough, pieces)


def _reasoning(form: str, text: str) -> dict[str, Any]:
    details = [{"type": "reasoning.text", "text": text}]
    forms: dict[str, dict[str, Any]] = {
        "reasoning_content": {"reasoning_content": text},
        "reasoning": {"reasoning": text},
        "both": {"reasoning": text, "reasoning_content": text, "reasoning_details": details},
        "details": {"reasoning_details": details},
    }
    return forms[form]


def _wants_tools(call: Call, wish: Behaviour) -> bool:
    told = sum(message.get("role") == "tool" for message in call.body["messages"])
    return wish.tool_rounds is None or told < wish.tool_rounds


def _tool_deltas(tool: dict[str, Any]) -> Iterator[dict[str, Any]]:
    arguments = _arguments(tool)
    head = {"name": tool["name"], "arguments": ""}
    extra = {"extra_content": tool["extra_content"]} if "extra_content" in tool else {}
    yield {"index": 0, "id": tool.get("id", "call_fake"), "type": "function", "function": head, **extra}
    third = max(1, len(arguments) // 3)
    for part in (arguments[:third], arguments[third : 2 * third], arguments[2 * third :]):
        yield {"index": 0, "function": {"arguments": part}}


def _arguments(tool: dict[str, Any]) -> str:
    arguments = tool.get("arguments", {})
    return arguments if isinstance(arguments, str) else json.dumps(arguments)


class _Chunks:
    """The data lines of one call. Their common parts are built once."""

    def __init__(self, call: Call, wish: Behaviour) -> None:
        self._call = call
        self._wish = wish
        self._newline = b"\r\n" if wish.crlf else b"\n"
        head = {"id": f"chatcmpl-{call.number}", "object": "chat.completion.chunk", "created": int(call.started)}
        self._head = orjson.dumps({**head, "model": call.model, "system_fingerprint": "fp_fake"})[:-1]
        self._before = b"data: " + self._head + b',"choices":[{"index":0,"delta":{"content":'
        self._after = b'},"logprobs":null,"finish_reason":null}]}' + self._newline * 2
        self._index = 0
        asked = (call.body.get("stream_options") or {}).get("include_usage")
        self._own_usage = wish.usage is True and bool(asked)

    def line(self, data: bytes) -> bytes:
        return b"data: " + data + self._newline * 2

    def content(self, text: str) -> bytes:
        if self._wish.refuse:
            return self.delta({"refusal": text})
        encoded = orjson.dumps(text)
        wish, index = self._wish, self._index
        self._index += 1
        if not wish.damaged:
            return self._before + encoded + self._after
        if index == wish.nul_at:
            encoded = encoded[:-1] + b'\\u0000"'
        elif index == wish.surrogate_at:
            encoded = encoded[:-1] + b'\\ud83d"'
        elif index == wish.bad_utf8_at:
            encoded = encoded[:-1] + b'\xff"'
        if wish.split_pair_at is not None:
            if index == wish.split_pair_at:
                encoded = encoded[:-1] + b'\\ud83d"'
            elif index == wish.split_pair_at + 1:
                encoded = b'"\\ude42' + encoded[1:]
        return self._before + encoded + self._after

    def delta(self, delta: dict[str, Any]) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}
        return self._chunk({"choices": [choice]})

    def empty(self) -> bytes:
        return self._chunk({"choices": []})

    def finish(self, sent: int) -> bytes:
        fields: dict[str, Any] = {"choices": [{"index": 0, "delta": {}, "finish_reason": self._wish.finish}]}
        if self._wish.usage == "choices":
            fields["usage"] = usage(self._call, sent)
        return self._chunk(fields)

    def last(self, sent: int) -> bytes:
        return self._chunk({"choices": [], "usage": usage(self._call, sent)}) if self._own_usage else b""

    def error(self, wish: Behaviour) -> bytes:
        error = {"message": wish.error_message, "type": "server_error", "param": None, "code": wish.error_code or 502}
        if wish.error_form == "text":
            return self.line(orjson.dumps({"error": wish.error_message}))
        if wish.error_form == "line":
            return b"error: " + orjson.dumps(error) + self._newline * 2
        if wish.error_form == "event":
            return b"event: error" + self._newline + self.line(orjson.dumps(error))
        if wish.error_form == "openrouter":
            choice = {"index": 0, "delta": {"content": ""}, "finish_reason": "error", "native_finish_reason": "error"}
            return self._chunk({"error": error, "choices": [choice]})
        return self.line(orjson.dumps({"error": error}))

    def _chunk(self, fields: dict[str, Any]) -> bytes:
        return self.line(self._head + b"," + orjson.dumps(fields)[1:])


def usage(call: Call, sent: int) -> dict[str, Any]:
    asked = sum(len(_text(message).split()) for message in call.body["messages"])
    told = sent + call.reasoning_sent
    return {
        "prompt_tokens": asked,
        "completion_tokens": told,
        "total_tokens": asked + told,
        "completion_tokens_details": {"reasoning_tokens": call.reasoning_sent},
    }


def _split_inside_characters(steps: Iterator[Step]) -> Iterator[Step]:
    """The steps with every write cut inside its character of several bytes; the rest follows a moment later."""
    for step in steps:
        at = next((i + 1 for i, byte in enumerate(step.data) if byte >= 0xC0), None)
        if at is None:
            yield step
            continue
        yield Step(step.data[:at], step.wait)
        yield step._replace(data=step.data[at:], wait=0.003)


def _drip(steps: Iterator[Step], rate: float) -> Iterator[Step]:
    for step in steps:
        for i in range(len(step.data) - 1):
            yield Step(step.data[i : i + 1], 1 / rate)
        yield step._replace(data=step.data[-1:], wait=step.wait + 1 / rate)


# --- sending it ------------------------------------------------------------------------------------------------


class _Sender:
    """Plays a script on a connection, by timers instead of tasks: five hundred of them share a core.

    It writes HTTP chunks itself, one ``write`` per step, and is awaited through ``finished`` (the script's end).
    """

    HIGH_WATER = 256 * 1024

    def __init__(self, transport: asyncio.Transport, call: Call, steps: Iterator[Step]) -> None:
        self._transport = transport
        self._call = call
        self._steps = steps
        self._loop = asyncio.get_running_loop()
        self._due = self._loop.time()
        self._timer: asyncio.Handle | None = None
        self._step: Step | None = None
        self.finished: asyncio.Future[str] = self._loop.create_future()

    def start(self) -> None:
        self._play()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def go_on(self) -> None:
        """End the present wait."""
        if self._timer is not None and not self.finished.done():
            self._timer.cancel()
            self._due = self._loop.time()
            self._play()

    def _play(self) -> None:
        """Play all steps that are due, at most fifty in one turn of the loop."""
        now = self._loop.time()
        for _ in range(50):
            step = self._step or next(self._steps)
            self._step = None
            if step.wait:
                # A late step is made up for by the next ones; the time that a client has before an end is kept.
                self._due = max(self._due, now if step.end else now - 1.0) + step.wait
            if self._due > now + 0.0005:
                self._step = step._replace(wait=0.0)
                self._timer = self._loop.call_at(self._due, self._play)
                return
            if self._transport.is_closing():
                return
            self._send(step)
            if step.end:
                self.finished.set_result(step.end)
                return
        busy = self._transport.get_write_buffer_size() > self.HIGH_WATER
        self._timer = self._loop.call_later(0.005 if busy else 0, self._play)

    def _send(self, step: Step) -> None:
        call = self._call
        if step.data:
            self._transport.write(b"%x\r\n%b\r\n" % (len(step.data), step.data))
        if step.tokens:
            call.tokens_sent += step.tokens
            if call.first_token_at is None:
                call.first_token_at = time.time()
        call.reasoning_sent += step.reasoning


class Server:
    """The aiohttp application and its memory of calls."""

    def __init__(self, *, defaults: dict[str, Any] | None = None, api_key: str | None = None, log: str | None = None):
        self.defaults = _apply(Behaviour(), defaults or {})
        self.calls: list[Call] = []
        self._api_key = api_key
        self._attempts: Counter[str] = Counter()
        self._senders: set[_Sender] = set()
        self._log = open(log, "a", encoding="utf-8", buffering=1) if log else None  # noqa: SIM115

    def application(self) -> web.Application:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.add_routes(
            [
                web.post("/v1/chat/completions", self._completions),
                web.post("/v1/embeddings", self._embeddings),
                web.get("/v1/models", self._models),
                web.get("/fake/calls", self._list_calls),
                web.delete("/fake/attempts", self._forget_attempts),
                web.put("/fake/defaults", self._set_defaults),
                web.put("/fake/enough", self._say_no_more),
                web.put("/fake/go_on", self._go_on),
            ]
        )
        return app

    async def _embeddings(self, request: web.Request) -> web.Response:
        """One vector a text; its first number is the length of the text. The model's query says what goes wrong."""
        body = orjson.loads(await request.read())
        wish = _apply(self.defaults, dict(_from_model(str(body["model"]))))
        if not self._may(request):
            return _refusal(401, "Incorrect API key provided", "invalid_api_key")
        await asyncio.sleep(wish.header_delay)
        if wish.status is not None:
            return _refusal(wish.status, wish.error_message, wish.error_code)
        if wish.text is not None:
            return web.Response(text=wish.text)
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        size = body.get("dimensions") or 3
        vectors = [
            {"object": "embedding", "index": n, "embedding": [float(len(str(text))), *[0.25] * size]}
            for n, text in enumerate(texts)
        ]
        usage = {"prompt_tokens": 7 * len(texts), "total_tokens": 7 * len(texts)}
        sent = {key: value for key, value in body.items() if key != "input"}
        made = {"object": "list", "data": vectors, "model": body["model"], "sent": sent}
        if wish.usage:
            made["usage"] = usage
        return web.json_response(made)

    async def _completions(self, request: web.Request) -> web.StreamResponse:
        if not self._may(request):
            key = request.headers.get("Authorization", "nothing")
            return _refusal(401, f"Incorrect API key provided: {key}", "invalid_api_key")
        try:
            wanted = understand(orjson.loads(await request.read()), self.defaults)
        except (ValueError, KeyError, TypeError) as error:
            return _refusal(400, f"{type(error).__name__}: {error}", "invalid_request")
        call, wish = self._begin(request, wanted)
        try:
            response = await self._answer(request, call, wish)
        except asyncio.CancelledError:
            self._end(call, "client_disconnected")
            raise
        except ConnectionError:
            self._end(call, "client_disconnected")
            raise asyncio.CancelledError from None
        return response

    async def _answer(self, request: web.Request, call: Call, wish: Behaviour) -> web.StreamResponse:
        try:
            _check_prompt(call, wish)
        except strict.Refused as reason:
            call.status = 400
            self._end(call, "refused")
            return _refusal(400, str(reason), None)
        if wish.header_delay:
            await asyncio.sleep(wish.header_delay)
        if wish.status is not None:
            call.status = wish.status
            self._end(call, "refused")
            return _told_refusal(request, wish)
        while self.defaults.held:
            await asyncio.sleep(0.02)
        if not call.body.get("stream"):
            return await self._document(call, wish)
        headers = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"}
        response = web.StreamResponse(headers=headers)
        response.enable_chunked_encoding()
        await response.prepare(request)
        transport = request.transport
        if transport is None:
            raise ConnectionResetError
        sender = _Sender(transport, call, script(call, wish))
        self._senders.add(sender)
        try:
            sender.start()
            end = await sender.finished
        finally:
            self._senders.discard(sender)
            sender.stop()
        self._end(call, end)
        if end == "cut":
            transport.abort()
            raise ConnectionResetError
        await response.write_eof()
        return response

    async def _document(self, call: Call, wish: Behaviour) -> web.Response:
        pieces = list(_pieces(call, wish))
        await asyncio.sleep(wish.first_delay + (len(pieces) / wish.rate if wish.rate else 0))
        call.tokens_sent = len(pieces)
        message: dict[str, Any] = {"role": "assistant", "content": "".join(pieces), "refusal": None}
        if wish.tool_call:
            function = {"name": wish.tool_call["name"], "arguments": _arguments(wish.tool_call)}
            message["tool_calls"] = [{"id": "call_fake", "type": "function", "function": function}]
        self._end(call, "finished")
        return web.json_response(
            {
                "id": f"chatcmpl-{call.number}",
                "object": "chat.completion",
                "created": int(call.started),
                "model": call.model,
                "choices": [{"index": 0, "message": message, "finish_reason": wish.finish, "logprobs": None}],
                "usage": usage(call, len(pieces)),
            }
        )

    def _begin(self, request: web.Request, wanted: Request) -> tuple[Call, Behaviour]:
        wish = wanted.behaviour
        attempt = self._attempts[wanted.conversation]
        self._attempts[wanted.conversation] += 1
        if attempt >= (1 if wish.once else sys.maxsize if wish.times is None else wish.times):
            wish = wish.without_faults()
        headers = {name: value for name, value in request.headers.items() if name.lower() != "authorization"}
        call = Call(
            number=len(self.calls),
            conversation=wanted.conversation,
            attempt=attempt,
            model=str(wanted.body.get("model")),
            body=wanted.body,
            headers=headers,
            authorized="Authorization" in request.headers,
            peer=str(request.transport and request.transport.get_extra_info("peername")),
            started=time.time(),
            first_index=_first_index(wanted),
            prefix_chars=len(wanted.prefix),
        )
        self.calls.append(call)
        self._write("begin", call)
        return call, wish

    def _end(self, call: Call, end: str) -> None:
        if call.end is None:
            call.ended = time.time()
            call.end = end
            self._write("end", call)

    def _write(self, event: str, call: Call) -> None:
        if self._log is None:
            return
        record = {"event": event, **asdict(call)}
        if event == "end":
            del record["body"], record["headers"]
        self._log.write(json.dumps(record) + "\n")

    async def _models(self, request: web.Request) -> web.Response:
        if not self._may(request):
            return _refusal(401, "Incorrect API key provided.", "invalid_api_key")
        models = [{"id": name, "object": "model", "created": 0, "owned_by": "fake"} for name in MODELS]
        return web.json_response({"object": "list", "data": models})

    def _may(self, request: web.Request) -> bool:
        return self._api_key is None or request.headers.get("Authorization") == f"Bearer {self._api_key}"

    async def _list_calls(self, request: web.Request) -> web.Response:
        return web.json_response([asdict(call) for call in self.calls])

    async def _forget_attempts(self, request: web.Request) -> web.Response:
        self._attempts.clear()
        return web.json_response({})

    async def _set_defaults(self, request: web.Request) -> web.Response:
        self.defaults = _apply(Behaviour(), await request.json())
        return web.json_response({})

    async def _say_no_more(self, request: web.Request) -> web.Response:
        self.defaults = replace(self.defaults, text=None, tokens=ENOUGH, rate=0, held=False)
        for call in self.calls:
            call.enough = call.enough or call.end is None
        return web.json_response({})

    async def _go_on(self, request: web.Request) -> web.Response:
        for sender in [*self._senders]:
            sender.go_on()
        return web.json_response({})

    def close(self) -> None:
        if self._log is not None:
            self._log.close()
            self._log = None


def _check_prompt(call: Call, wish: Behaviour) -> None:
    """Raise Refused for a prompt that this call does not take."""
    if wish.strict:
        strict.check(call.body["messages"])
    if wish.wants_back is not None:
        strict.check_returned(call.body["messages"], wish.wants_back)
    if wish.knows_not is not None:
        strict.check_unknown(call.body["messages"], wish.knows_not)


def _first_index(wanted: Request) -> int:
    """The first token's index: behind the prefix (``right``), three tokens before that (``overlap``), or 0."""
    wish = wanted.behaviour
    if not wanted.prefix or wish.continue_ == "restart":
        return 0
    found = TOKEN.findall(wanted.prefix)
    following = int(found[-1][1]) + 1 if found else 0
    return max(0, following - 3) if wish.continue_ == "overlap" else following


def _told_refusal(request: web.Request, wish: Behaviour) -> web.Response:
    message = wish.error_message
    if wish.echo_key:
        message += f" You sent {request.headers.get('Authorization')}."
    headers = {} if wish.retry_after is None else {"Retry-After": str(wish.retry_after)}
    status = wish.status or 500
    if wish.html:
        page = f"<html><head><title>{status}</title></head><body><h1>Bad Gateway</h1>{message}</body></html>"
        return web.Response(status=status, text=page, content_type="text/html", headers=headers)
    return _refusal(status, message, wish.error_code, headers)


def _refusal(status: int, message: str, code: str | None, headers: dict[str, str] | None = None) -> web.Response:
    error = {"message": message, "type": "invalid_request_error" if status < 500 else "server_error", "code": code}
    return web.json_response({"error": {**error, "param": None}}, status=status, headers=headers)


@dataclass
class FakeUpstream(ThreadedServer):
    """The server in a thread of its own. ``defaults`` are fields of a behaviour; with ``api_key`` it demands one."""

    defaults: dict[str, Any] = field(default_factory=dict)
    api_key: str | None = None
    log: str | None = None
    port: int = 0
    prefix = "/v1"

    def service(self) -> Server:
        return Server(defaults=self.defaults, api_key=self.api_key, log=self.log)

    @property
    def calls(self) -> list[Call]:
        calls: list[Call] = self.server.calls
        return calls


def main() -> None:
    parser = argparse.ArgumentParser(description="A fake OpenAI-compatible upstream")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--log", help="JSON lines: one when a call begins, one when it ends")
    parser.add_argument("--defaults", type=json.loads, default={}, help="a behaviour, as JSON")
    parser.add_argument("--api-key")
    arguments = parser.parse_args()
    server = Server(defaults=arguments.defaults, api_key=arguments.api_key, log=arguments.log)
    serve_for_ever(server, arguments.host, arguments.port)


if __name__ == "__main__":
    main()
