"""A real HTTP server that keeps background runs as OpenAI's Responses API does. It imports no code of the service.

It serves ``POST /v1/responses``, ``GET /v1/responses/{id}`` (as an object, or as a stream with ``starting_after``),
``POST /v1/responses/{id}/cancel`` and ``GET /v1/models``. A run goes on without its connections, until its end or its
cancel. ``runs`` and ``requests`` are the log.

    with FakeResponses() as upstream:
        ...  # upstream.base_url, upstream.runs, upstream.requests

The course of a run is the object ``{"fake": {…}}`` in its last user message; its fields are those of ``Course``. Token
12 of run 7 is ``k7.12 ``.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

from aiohttp import web

from tests.fakes.serving import ThreadedServer

_FAULTS = ("cut_after", "end_after", "junk_after")


@dataclass(frozen=True)
class Course:
    """The course of one run. "After n" counts the tokens of the run; a connection of the run meets it once."""

    tokens: int = 60
    rate: float = 100.0  # tokens a second
    reasoning: int = 0  # tokens of a summary before the text
    calls: tuple[dict[str, Any], ...] = ()  # function calls behind the text: {"name", "arguments"}
    rounds: int = 1  # they are made while the request has fewer outputs of calls than this
    created_held: bool = False  # the POST has no response while the server is held
    first_delay: float = 0.0  # seconds between the run's beginning and its first token
    end_delay: float = 0.0  # seconds between the last token and the end
    cut_after: int | None = None  # reset the first connection
    end_after: int | None = None  # end the body of the first connection without an end of the run
    junk_after: int | None = None  # an event that is no JSON, instead of the right one, on the first connection
    refuse_reads: int = 0  # so many GETs of the run are answered 503
    no_stream: bool = False  # a GET with stream=true is answered with the object
    fail_after: int | None = None  # the run fails
    error_code: str = "server_error"
    incomplete: str | None = None  # the run ends as incomplete, for this reason
    usage: bool = True
    numbers: bool = True  # events carry a sequence_number
    bare_end: bool = False  # the finished run has no output
    honours_key: bool = False  # the upstream has one run for each Idempotency-Key


class Request(NamedTuple):
    """One request that the server has received."""

    method: str
    path: str
    query: dict[str, str]
    run: str
    status: int


@dataclass(eq=False)
class Run:
    """One run. ``events`` are the payloads, ``said`` the text so far; ``posts`` counts the POSTs that led to it."""

    id: str
    number: int
    body: dict[str, Any]
    course: Course
    key: str | None
    events: list[dict[str, Any]] = field(default_factory=list)
    places: list[int] = field(default_factory=list)  # the number of tokens before each event
    said: str = ""
    tokens: int = 0
    status: str = "queued"
    posts: int = 1
    output: list[dict[str, Any]] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)

    @property
    def is_over(self) -> bool:
        return self.status not in ("queued", "in_progress")

    def response(self, **more: Any) -> dict[str, Any]:
        whole = {"id": self.id, "object": "response", "created_at": 1, "status": self.status, "background": True}
        return {**whole, "model": self.body.get("model"), "output": [], "error": None, "usage": None, **more}

    def final(self) -> dict[str, Any]:
        """The object of the run as it is now."""
        course = self.course
        more: dict[str, Any] = {"output": [] if course.bare_end else list(self.output)}
        if self.status == "failed":
            more["error"] = {"code": course.error_code, "message": "The fake run failed as it was told."}
        if self.status == "incomplete":
            more["incomplete_details"] = {"reason": course.incomplete}
        if self.is_over and course.usage:
            more["usage"] = {
                "input_tokens": 11,
                "input_tokens_details": {"cached_tokens": 3},
                "output_tokens": self.tokens,
                "output_tokens_details": {"reasoning_tokens": course.reasoning},
                "total_tokens": 11 + self.tokens,
            }
        return self.response(**more)

    def add(self, kind: str, **fields_: Any) -> None:
        number = {"sequence_number": len(self.events)} if self.course.numbers else {}
        self.events.append({"type": f"response.{kind}", **number, **fields_})
        self.places.append(self.tokens)


class Server:
    """The application and its memory."""

    run_class = Run

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self.requests: list[Request] = []
        self.by_key: dict[str, Run] = {}
        self.forgotten: set[str] = set()
        self.held = False
        self._changed = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()

    def application(self) -> web.Application:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.add_routes(
            [
                web.post("/v1/responses", self._create),
                web.get("/v1/responses/{id}", self._get),
                web.post("/v1/responses/{id}/cancel", self._cancel),
                web.get("/v1/models", self._models),
            ]
        )
        return app

    async def _models(self, request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "fake", "object": "model"}]})

    async def _create(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        course = _course(body)
        key = request.headers.get("Idempotency-Key") if course.honours_key else None
        run = self.by_key.get(key) if key else None
        if run is None:
            number = len(self.runs)
            run = self.run_class(f"resp_{number}_{id(self):x}", number, body, course, key)
            self.runs.append(run)
            if key:
                self.by_key[key] = run
            self._start(run)
        else:
            run.posts += 1
        self._note(request, run, 200)
        while run.course.created_held and self.held:
            await asyncio.sleep(0.02)
        if not body.get("stream"):
            return web.json_response(run.final())
        return await self._stream(request, run, -1)

    async def _get(self, request: web.Request) -> web.StreamResponse:
        run = self._found(request)
        if run is None:
            return self._missing(request)
        if run.faults["refuse_reads"] < run.course.refuse_reads:
            run.faults["refuse_reads"] += 1
            self._note(request, run, 503)
            return web.json_response({"error": {"message": "Not now.", "type": "server_error"}}, status=503)
        self._note(request, run, 200)
        if request.query.get("stream") != "true" or run.course.no_stream:
            return web.json_response(run.final())
        return await self._stream(request, run, self._after(request, run))

    def _after(self, request: web.Request, run: Run) -> int:
        """The place of the event that the client has read last."""
        return int(request.query.get("starting_after", -1))

    async def _cancel(self, request: web.Request) -> web.Response:
        run = self._found(request)
        if run is None:
            return self._missing(request)
        self._note(request, run, 200)
        if not run.is_over:
            await self._set(run, "cancelled")
        return web.json_response(run.final())

    def _found(self, request: web.Request) -> Run | None:
        wanted = request.match_info["id"]
        return next((run for run in self.runs if run.id == wanted and wanted not in self.forgotten), None)

    def _missing(self, request: web.Request) -> web.Response:
        self.requests.append(Request(request.method, request.path, dict(request.query), request.match_info["id"], 404))
        error = {"message": "Response not found.", "type": "invalid_request_error", "code": None, "param": None}
        return web.json_response({"error": error}, status=404)

    def _note(self, request: web.Request, run: Run, status: int) -> None:
        self.requests.append(Request(request.method, request.path, dict(request.query), run.id, status))

    # --- a run

    def _start(self, run: Run) -> None:
        run.add("created", response=run.response())
        run.add("queued", response=run.response())
        task = asyncio.ensure_future(self._play(run))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _play(self, run: Run) -> None:
        course = run.course
        await asyncio.sleep(course.first_delay)
        await self._set(run, "in_progress")
        if course.reasoning:
            await self._reason(run)
        await self._speak(run)
        if run.is_over:
            return
        calls = course.calls if _outputs(run.body) < course.rounds else ()
        for number, call in enumerate(calls):
            await self._call(run, number, call)
        while self.held and not calls and not run.is_over:
            await asyncio.sleep(0.02)
        await asyncio.sleep(course.end_delay)
        if not run.is_over:
            await self._set(run, "incomplete" if course.incomplete else "completed")

    async def _reason(self, run: Run) -> None:
        place = {"item_id": f"rs_{run.number}", "output_index": 0, "summary_index": 0}
        item = {"id": place["item_id"], "type": "reasoning", "summary": []}
        await self._tell(run, "output_item.added", output_index=0, item=item)
        said = ""
        for index in range(run.course.reasoning):
            said += f"thought {index} "
            await self._tell(run, "reasoning_summary_text.delta", **place, delta=f"thought {index} ")
            await asyncio.sleep(1 / run.course.rate)
        whole = {**item, "summary": [{"type": "summary_text", "text": said}], "encrypted_content": f"E{run.number}"}
        await self._tell(run, "reasoning_summary_text.done", **place, text=said)
        run.output.append({**whole, "status": "completed"})
        await self._tell(run, "output_item.done", output_index=0, item=run.output[-1])

    async def _speak(self, run: Run) -> None:
        course = run.course
        index = len(run.output)
        place = {"item_id": f"msg_{run.number}", "output_index": index, "content_index": 0}
        item = {"id": place["item_id"], "type": "message", "role": "assistant", "status": "in_progress", "content": []}
        if course.tokens:
            await self._tell(run, "output_item.added", output_index=index, item=item)
            run.output.append(item)
        due = time.monotonic()
        for number in range(course.tokens):
            if number == course.fail_after:
                await self._set(run, "failed")
            if run.is_over:
                return
            delta = f"k{run.number}.{number} "
            run.said += delta
            run.tokens += 1
            part = {"type": "output_text", "text": run.said, "annotations": [], "logprobs": []}
            run.output[index] = {**item, "content": [part]}
            await self._tell(run, "output_text.delta", **place, delta=delta, logprobs=[])
            due += 1 / course.rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        if course.tokens:
            run.output[index] = {**run.output[index], "status": "completed"}
            await self._tell(run, "output_text.done", **place, text=run.said, logprobs=[])
            await self._tell(run, "output_item.done", output_index=index, item=run.output[index])

    async def _call(self, run: Run, number: int, call: dict[str, Any]) -> None:
        index, arguments = len(run.output), json.dumps(call.get("arguments", {}))
        item = {"id": f"fc_{run.number}_{number}", "type": "function_call", "call_id": f"call_{run.number}_{number}"}
        item |= {"name": call["name"], "arguments": "", "status": "in_progress"}
        await self._tell(run, "output_item.added", output_index=index, item=item)
        for begin in range(0, len(arguments), 3):
            delta = arguments[begin : begin + 3]
            await self._tell(run, "function_call_arguments.delta", item_id=item["id"], output_index=index, delta=delta)
            await asyncio.sleep(1 / run.course.rate)
        run.output.append({**item, "arguments": arguments, "status": "completed"})
        await self._tell(run, "output_item.done", output_index=index, item=run.output[-1])

    async def _set(self, run: Run, status: str) -> None:
        run.status = status
        if status == "cancelled":  # OpenAI has no event for it: the stream ends
            async with self._changed:
                self._changed.notify_all()
        else:
            await self._tell(run, status, response=run.final() if run.is_over else run.response())

    async def _tell(self, run: Run, kind: str, **fields_: Any) -> None:
        run.add(kind, **fields_)
        async with self._changed:
            self._changed.notify_all()

    # --- a connection

    async def _stream(self, request: web.Request, run: Run, after: int) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        position = after + 1
        while True:
            while position < len(run.events):
                event = run.events[position]
                fault = self._fault(run, run.places[position]) if position else None
                if fault == "cut_after":
                    assert request.transport is not None
                    await asyncio.sleep(0.05)  # what was written before has to arrive
                    request.transport.abort()
                    return response
                if fault == "end_after":
                    await response.write_eof()
                    return response
                data = b"{junk" if fault == "junk_after" else json.dumps(event).encode()
                await response.write(
                    b"event: %b\ndata: %b\n\n" % (str(event.get("type") or event["event_type"]).encode(), data)
                )
                position += 1
            if run.is_over:
                await response.write_eof()
                return response
            async with self._changed:
                while position >= len(run.events) and not run.is_over:
                    await self._changed.wait()

    def _fault(self, run: Run, tokens: int) -> str | None:
        for name in _FAULTS:
            place = getattr(run.course, name)
            if place is not None and tokens >= place and not run.faults[name]:
                run.faults[name] += 1
                return name
        return None

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()


def _course(body: dict[str, Any]) -> Course:
    known = {field_.name for field_ in fields(Course)}
    for item in reversed(body["input"]):
        said = item.get("content")
        if isinstance(said, list) and said:  # a list of contents, as Gemini has it
            said = said[0].get("text")
        if isinstance(said, str) and '"fake"' in said:
            given = json.loads(said)["fake"]
            course = {name: value for name, value in given.items() if name in known}
            return Course(**course)
    return Course()


def _outputs(body: dict[str, Any]) -> int:
    return sum(item.get("type") in ("function_call_output", "function_result") for item in body["input"])


@dataclass
class FakeResponses(ThreadedServer):
    """The server in a thread of its own."""

    port: int = 0
    prefix = "/v1"
    server_class = Server

    def service(self) -> Server:
        return self.server_class()

    @property
    def runs(self) -> list[Run]:
        return self.server.runs

    @property
    def requests(self) -> list[Request]:
        return self.server.requests

    def of(self, marker: str) -> list[Run]:
        """The runs whose last user message contains the text."""
        return [run for run in self.runs if marker in json.dumps(run.body["input"])]

    def reads(self, run: Run) -> list[Request]:
        return [request for request in self.requests if request.run == run.id and request.method == "GET"]

    def cancels(self, run: Run) -> list[Request]:
        return [request for request in self.requests if request.run == run.id and request.path.endswith("/cancel")]

    def hold(self) -> None:
        """From now on no run ends, unless it has calls to make. It still sends its tokens."""
        self.server.held = True

    def go_on(self) -> None:
        """End the effect of ``hold``."""
        self.server.held = False

    def forget(self, run: Run) -> None:
        """Delete a run, as after its time."""
        self.server.forgotten.add(run.id)
