"""Chat completions: every request has the whole conversation in it, and gets one answer."""

from __future__ import annotations

from typing import Any

from flask import Response

from app.api import render, streams
from app.api.errors import InvalidFields
from app.api.identity import Caller
from app.api.openai import form, ids, items, serving, shapes
from app.api.openai.bodies import ChatBody, OnceHeaders
from app.api.openai.translate_chat import ChatTranslator, completion
from app.api.process import WebProcess, web
from app.api.routing import EVENT_STREAM, Answer, Routes
from app.domain.commands import StartGeneration
from app.domain.cursor import START, Cursor
from app.domain.errors import StoreDown
from app.domain.events import Done, Entry
from app.domain.transcript import Transcript
from app.relay.stream import EventStream, StreamBroken
from app.store.generations import Generation

routes = Routes("chat", __name__, "/v1", "OpenAI-compatible: chat completions", refusal="OpenAIError")

# Ours to act on; everything else that is given goes to the upstream as it is.
_OURS = {"model", "messages", "stream", "stream_options", "metadata", "n"}
_IGNORED = {
    "logprobs", "top_logprobs", "modalities", "prediction", "store", "service_tier", "safety_identifier",
    "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "moderation", "web_search_options",
}  # fmt: skip
# How an answer that failed is answered, by our code; everything else is a 500.
_STATUS = {"upstream_rate_limited": 429, "upstream_quota": 429, "upstream_rejected": 400, "context_length": 400}


@routes.route_for(
    "post",
    "/chat/completions",
    access="user",
    limit="generations",
    answers=(
        Answer(200, "The answer, or its chunks", shapes.OpenAICompletion),
        Answer(200, "The answer, or its chunks", content_type=EVENT_STREAM),
    ),
    refusals=(404,),
)
def create_chat_completion(caller: Caller, header: OnceHeaders, body: ChatBody) -> Response:
    """Answer a conversation. It is kept as a new one, and can be followed natively while it is answered."""
    process = web()
    command = _command(process, body, header.scoped_key("chat"))
    with streams.place_for(process, caller) as place:
        row = process.begin(caller.user, command).generation
        if not body.stream:
            return _whole(process, caller, place, row)
        include_usage = bool((body.stream_options or {}).get("include_usage"))
        telling = ChatTranslator(_base(row), include_usage=include_usage)
        opening = serving.GREETING + telling.opening()
        return streams.follow(process, caller, place, row.id, START, opening, render=telling.render)


def _whole(process: WebProcess, caller: Caller, place: str, row: Generation) -> Response:
    """Wait for the end, then say it. The status has to be known first, so this thread waits."""
    said = Transcript.of(_awaited(process, caller, place, row))
    assert said.done is not None, "nothing else ends a stream well"
    if said.done.status == "completed":
        return render.answer(completion(_base(row), said))
    return _failed(said.done)


def _failed(done: Done) -> Response:
    told = done.error or {"code": "cancelled", "message": "The generation was cancelled."}
    status = _STATUS.get(told["code"], 500)
    # What could be tried again has been, by the worker.
    headers = {"x-should-retry": "false"}
    return render.answer(form.error_body(told["message"], status, None, told["code"]), status, headers)


def _awaited(process: WebProcess, caller: Caller, place: str, row: Generation) -> list[Entry]:
    """The whole log, as it is heard: when it has ended, it may be gone. Raises NotFound, StoreDown."""
    live = process.live
    heard: list[Entry] = []

    def keep(cursor: Cursor, payload: bytes) -> bytes:
        heard.append(Entry(cursor, payload))
        return b""

    body = EventStream(
        live.hub,
        row.id,
        START,
        expires_at=caller.expires_at,
        render=keep,
        release=lambda: live.places.leave(caller.user.id, place),
    )
    try:
        for _ in body:
            pass
    except StreamBroken:
        process.resources.generations.authorise(caller.user, row.id)
        raise StoreDown("The answer could not be awaited; it is being made, and the same key finds it.") from None
    return heard


def _base(row: Generation) -> dict[str, Any]:
    return {"id": ids.completion(row.id), "created": int(row.created_at.timestamp()), "model": row.model}


def _command(process: WebProcess, body: ChatBody, key: str | None) -> StartGeneration:
    given = body.model_dump(exclude_none=True, exclude=_OURS | _IGNORED)
    longest = process.settings.max_message_chars
    wanted = [item for n, message in enumerate(body.messages) for item in _items(message, f"messages[{n}]")]
    parsed = [one for item in wanted for one in items.parse([item[1]], item[0], longest, single=True)]
    said = items.said(parsed)
    return StartGeneration(
        message=said[-1].content,
        model=body.model,
        idempotency_key=key,
        metadata=dict(body.metadata or {}),
        parameters=given,
        said=said,
        request={"surface": "chat", "messages": len(said), "echo": {}},
    )


def _items(message: Any, place: str) -> list[tuple[str, Any]]:
    """A message of this protocol as items, each with the place a complaint would name."""
    if not isinstance(message, dict):
        raise InvalidFields([(place, "must be an object")])
    role, content = message.get("role"), message.get("content")
    if role == "tool":
        output = {"type": "function_call_output", "call_id": message.get("tool_call_id"), "output": content}
        return [(place, output)]
    calls = message.get("tool_calls") or []
    if not isinstance(calls, list):
        raise InvalidFields([(f"{place}.tool_calls", "must be a list")])
    said = [(place, {"role": role, "content": content})] if content or not calls else []
    return said + [(f"{place}.tool_calls[{n}]", _call(call)) for n, call in enumerate(calls)]


def _call(call: Any) -> dict[str, Any]:
    function = call.get("function") if isinstance(call, dict) else None
    function = function if isinstance(function, dict) else {}
    told = {"name": function.get("name"), "arguments": function.get("arguments")}
    return {"type": "function_call", "call_id": call.get("id") if isinstance(call, dict) else None, **told}
