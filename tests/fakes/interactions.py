"""A real HTTP server that keeps background runs as Gemini's Interactions does. It imports no code of the service.

It serves ``POST /v1beta/interactions``, ``GET /v1beta/interactions/{id}`` (as an object, or as a stream with
``last_event_id``), ``POST /v1beta/interactions/{id}/cancel`` and ``GET /v1beta/models``. Runs, their courses and the
log are those of the fake of Responses.

    with FakeInteractions() as upstream:
        ...  # upstream.base_url, upstream.runs, upstream.requests
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from tests.fakes.responses import FakeResponses, Run, Server


@dataclass(eq=False)
class Interaction(Run):
    """One run, with the events of Gemini."""

    def response(self, **more: Any) -> dict[str, Any]:
        return {"id": self.id, "object": "interaction", "status": self.state, "model": self.body.get("model"), **more}

    @property
    def state(self) -> str:
        """The status on the wire: a run with calls waits for their results."""
        has_calls = any(step["type"] == "function_call" for step in self.output)
        return "requires_action" if self.status == "completed" and has_calls else self.status

    def final(self) -> dict[str, Any]:
        """The object of the run as it is now; it begins with the request."""
        steps = [] if self.course.bare_end else [*self.body["input"], *self.output]
        return self.response(steps=steps, **self.bill())

    def bill(self) -> dict[str, Any]:
        if not (self.is_over and self.course.usage):
            return {}
        thought = self.course.reasoning
        counts = {"total_input_tokens": 11, "total_cached_tokens": 3, "total_thought_tokens": thought}
        return {"usage": {**counts, "total_output_tokens": self.tokens, "total_tool_use_tokens": 0}}

    def event_id(self, place: int) -> str:
        return f"ev/{self.number}+{place * 7919 % 65_536:x}="

    def add(self, kind: str, **fields_: Any) -> None:
        named = {"event_id": self.event_id(len(self.events))} if self.course.numbers else {}
        self.events.append({"event_type": kind, **named, **fields_})
        self.places.append(self.tokens)


class InteractionsServer(Server):
    """The application and its memory."""

    run_class = Interaction

    def application(self) -> web.Application:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.add_routes(
            [
                web.post("/v1beta/interactions", self._create),
                web.get("/v1beta/interactions/{id}", self._get),
                web.post("/v1beta/interactions/{id}/cancel", self._cancel),
                web.get("/v1beta/models", self._models),
            ]
        )
        return app

    async def _models(self, request: web.Request) -> web.Response:
        return web.json_response({"models": [{"name": "models/fake"}]})

    def _after(self, request: web.Request, run: Run) -> int:
        assert isinstance(run, Interaction)
        last = request.query.get("last_event_id")
        return next((n for n in range(len(run.events)) if run.event_id(n) == last), -1)

    def _start(self, run: Run) -> None:
        run.add("interaction.created", interaction=run.response())
        task = asyncio.ensure_future(self._play(run))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _set(self, run: Run, status: str) -> None:
        run.status = status
        assert isinstance(run, Interaction)
        if status == "failed":
            await self._tell(run, "error", error={"code": run.course.error_code, "message": "It failed as told."})
        if run.is_over and status != "cancelled":
            await self._tell(run, "interaction.completed", interaction=run.response(**run.bill()))
        else:
            await self._tell(run, "interaction.status_update", interaction_id=run.id, status=run.state)

    async def _delta(self, run: Run, index: int, kind: str, **fields_: Any) -> None:
        await self._tell(run, "step.delta", index=index, delta={"type": kind, **fields_})

    async def _end(self, run: Run, index: int, step: dict[str, Any]) -> None:
        run.output.append(step)
        await self._tell(run, "step.stop", index=index)

    async def _reason(self, run: Run) -> None:
        await self._tell(run, "step.start", index=0, step={"type": "thought"})
        said = ""
        for index in range(run.course.reasoning):
            said += f"thought {index} "
            await self._delta(run, 0, "thought_summary", content={"type": "text", "text": f"thought {index} "})
            await asyncio.sleep(1 / run.course.rate)
        await self._delta(run, 0, "thought_signature", signature=f"U{run.number}")
        summary = [{"type": "text", "text": said}]
        await self._end(run, 0, {"type": "thought", "signature": f"U{run.number}", "summary": summary})

    async def _speak(self, run: Run) -> None:
        course, index = run.course, len(run.output)
        if course.tokens:
            await self._tell(run, "step.start", index=index, step={"type": "model_output"})
        due = time.monotonic()
        for number in range(course.tokens):
            if number == course.fail_after:
                await self._set(run, "failed")
            if run.is_over:
                return
            delta = f"k{run.number}.{number} "
            run.said += delta
            run.tokens += 1
            await self._delta(run, index, "text", text=delta)
            due += 1 / course.rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        if course.tokens:
            await self._end(run, index, {"type": "model_output", "content": [{"type": "text", "text": run.said}]})

    async def _call(self, run: Run, number: int, call: dict[str, Any]) -> None:
        index, arguments = len(run.output), call.get("arguments", {})
        step = {"type": "function_call", "id": f"call_{run.number}_{number}", "name": call["name"]}
        await self._tell(run, "step.start", index=index, step={**step, "arguments": {}})
        text = json.dumps(arguments)
        for begin in range(0, len(text), 3):
            await self._delta(run, index, "arguments_delta", arguments=text[begin : begin + 3])
            await asyncio.sleep(1 / run.course.rate)
        await self._end(run, index, {**step, "arguments": arguments})


@dataclass
class FakeInteractions(FakeResponses):
    """The server in a thread of its own."""

    prefix = ""
    server_class = InteractionsServer
