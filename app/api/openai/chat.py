"""The route for chat completions. Each request contains its whole conversation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Response

from app.api import file_intake, streams
from app.api.auth.caller import Caller
from app.api.bodies import WITH_FILES
from app.api.errors import InvalidFields
from app.api.found_files import FoundFile
from app.api.json_response import respond
from app.api.openai import clients, delivery, ids, items, shapes
from app.api.openai.bodies import ChatBody, ChatHeaders
from app.api.openai.chat_chunks import ChatTranslator, completion
from app.api.openai.failures import failure
from app.api.openai.first_event import respond_at_first_event
from app.api.openai.unknown_fields import unknown_fields
from app.api.routing import EVENT_STREAM, Answer, Routes
from app.api.waiting import respond_after
from app.api.web_process import WebProcess, web
from app.domain.call_extra import FIELD
from app.domain.commands import StartGeneration
from app.domain.cursor import START, Cursor
from app.domain.errors import StoreDown
from app.domain.events import Entry
from app.domain.transcript import Transcript
from app.relay.event_stream import EventStream
from app.relay.stream_connection import StreamRequest
from app.relay.stream_wait import SILENCE, StreamWait
from app.store.generations import Generation

routes = Routes("chat", __name__, "/v1", "OpenAI-compatible: chat completions", refusal="OpenAIError")

# Parameters that this service reads. Each other one, except the ignored, goes to the upstream unchanged.
_OURS = {"model", "messages", "stream", "stream_options", "metadata", "n", "store"}
_IGNORED = {
    "logprobs", "top_logprobs", "modalities", "prediction", "service_tier", "safety_identifier",
    "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "moderation", "web_search_options",
}  # fmt: skip


@routes.route_for(
    "post",
    "/chat/completions",
    access="user",
    limit="generations",
    answers=(
        Answer(200, "The completion, or its chunks", shapes.OpenAICompletion),
        Answer(200, "The completion, or its chunks", content_type=EVENT_STREAM),
    ),
    refusals=(404, 502, 504),
    body_kind=WITH_FILES,
)
def create_chat_completion(caller: Caller, header: ChatHeaders, body: ChatBody) -> Response:
    """Generate a completion. Its messages are stored as a new conversation, which the native API can stream.

    Lists, search and feeds show the conversation with `store: true` or `X-Unbroken-Listed: 1` only.
    """
    process = web()
    files: list[FoundFile] = []
    command = _command(process, caller, body, header, files)
    with streams.place_for(process, caller) as place:
        with file_intake.placed(files):
            row = clients.begin(process, caller.user, command, header.retries)
        left = clients.leaving(process, caller.user, row.id, command, header.retries)
        if not body.stream:
            return _whole(process, caller, place, row, left)
        include_usage = bool((body.stream_options or {}).get("include_usage"))

        def stream() -> Response:
            chunks = ChatTranslator(_base(row), include_usage=include_usage)
            opening = delivery.GREETING + chunks.opening()
            request = StreamRequest(row.id, START, render=chunks.render)
            return streams.follow(process, caller, place, request, opening, left=left)

        return respond_at_first_event(process, caller, place, row, stream, left)


def _whole(process: WebProcess, caller: Caller, place: str, row: Generation, left: Callable[[], None]) -> Response:
    """The whole completion when the generation has ended: its status depends on the end. No thread waits."""
    entries: list[Entry] = []

    def keep(cursor: Cursor, payload: bytes) -> bytes:
        # The log may be deleted soon after its end, so the entries are kept here.
        entries.append(Entry(cursor, payload))
        return b""

    body = EventStream(
        process.live.hub,
        streams.for_caller(StreamRequest(row.id, START, render=keep, heartbeat=SILENCE), caller),
        release=lambda: process.live.quota.release(caller.user.id, place),
    )
    wait = StreamWait(body, "end")

    def finish() -> Response:
        if not wait.complete:
            process.resources.generations.authorise(caller.user, row.id)
            raise StoreDown(
                "The connection to the running answer was lost. Repeat the request with its key to get the answer."
            )
        return _ended(row, Transcript.of(entries))

    return respond_after(wait, finish, left)


def _ended(row: Generation, said: Transcript) -> Response:
    assert said.done is not None, "a complete stream ends with done"
    if said.done.status == "completed":
        return respond(completion(_base(row), said))
    refusal = failure(said.done.error)
    return respond(refusal.body, refusal.status, refusal.headers)


def _base(row: Generation) -> dict[str, Any]:
    return {"id": ids.completion(row.id), "created": int(row.created_at.timestamp()), "model": row.model}


def _command(
    process: WebProcess, caller: Caller, body: ChatBody, header: ChatHeaders, files: list[FoundFile]
) -> StartGeneration:
    """The command of a request; its files are taken in, and added to ``files``."""
    unknown = unknown_fields(body, passed=process.settings.pass_unknown_parameters)
    known = set(ChatBody.model_fields) - _OURS - _IGNORED
    given = {**body.model_dump(exclude_none=True, include=known), **unknown}
    wanted = [item for n, message in enumerate(body.messages) for item in _items(message, f"messages[{n}]")]
    parsed = [one for item in wanted for one in items.parse([item[1]], item[0], single=True, files=files)]
    file_intake.take_in(process, caller.user, files)
    said = items.said(parsed)
    if not said:
        raise InvalidFields(
            [("messages", "must have a message with content, with tool calls, or with a tool's output")]
        )
    return StartGeneration(
        message=said[-1].content,
        model=body.model,
        idempotency_key=header.scoped_key("chat"),
        metadata=dict(body.metadata or {}),
        parameters=given,
        said=said,
        request={"surface": "chat", "messages": len(said), "echo": {}},
        listed=header.listed == "1" or bool(body.store),
    )


def _items(message: Any, place: str) -> list[tuple[str, Any]]:
    """A message of this protocol as items, each with the place that an error names."""
    if not isinstance(message, dict):
        raise InvalidFields([(place, "must be an object")])
    role, content = message.get("role"), message.get("content")
    if role == "tool":
        output = "" if content is None else content
        return [(place, {"type": "function_call_output", "call_id": message.get("tool_call_id"), "output": output})]
    if role == "assistant" and content is None:
        refusal = message.get("refusal")
        content = [{"type": "refusal", "refusal": refusal}] if refusal else None
    # An answer without text or calls, such as one of reasoning only, has nothing to be sent on.
    silent = role == "assistant" and content is None
    calls = message.get("tool_calls") or []
    if not isinstance(calls, list):
        raise InvalidFields([(f"{place}.tool_calls", "must be a list")])
    shown = {"role": role, "content": content, "name": message.get("name")}
    said = [(place, shown)] if content or not (calls or silent) else []
    thoughts = message.get("reasoning_content")
    if role == "assistant" and isinstance(thoughts, str) and thoughts:
        said.insert(0, (place, {"type": "reasoning", "content": [{"type": "reasoning_text", "text": thoughts}]}))
    return said + [(f"{place}.tool_calls[{n}]", _call(call)) for n, call in enumerate(calls)]


def _call(call: Any) -> dict[str, Any]:
    function = call.get("function") if isinstance(call, dict) else None
    function = function if isinstance(function, dict) else {}
    call = call if isinstance(call, dict) else {}
    told = {"name": function.get("name"), "arguments": function.get("arguments"), FIELD: call.get(FIELD)}
    return {"type": "function_call", "call_id": call.get("id"), **told}
