"""A fake of Anthropic's Messages API, as strict about requests as the real one: see ``tests/fakes/native.py``.

A model whose name begins with ``old`` continues a last assistant message; every other refuses one. A model whose name
begins with ``manual`` has no adaptive thinking. A model with ``small`` in its name writes 4096 tokens at most.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import orjson
from aiohttp import web

from tests.fakes.native import (
    Asked,
    Behaviour,
    Call,
    Dialect,
    Event,
    FakeServer,
    Refusal,
    main,
    pieces,
    signature,
    words,
)

MODELS = ("fake", "old-fake", "manual-fake")
VERSIONS = ("2023-06-01", "2026-10-21")
_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_FIELDS = {
    "model", "max_tokens", "messages", "system", "stream", "temperature", "top_p", "top_k", "stop_sequences",
    "metadata", "tools", "tool_choice", "thinking", "output_config", "service_tier", "cache_control", "container",
}  # fmt: skip
_BLOCKS: dict[str, tuple[set[str], set[str]]] = {  # role, fields beside the type
    "text": ({"user", "assistant"}, {"text", "cache_control", "citations"}),
    "image": ({"user"}, {"source", "cache_control"}),
    "document": ({"user"}, {"source", "title", "context", "citations", "cache_control"}),
    "tool_use": ({"assistant"}, {"id", "name", "input", "cache_control"}),
    "tool_result": ({"user"}, {"tool_use_id", "content", "is_error", "cache_control"}),
    "thinking": ({"assistant"}, {"thinking", "signature"}),
    "redacted_thinking": ({"assistant"}, {"data"}),
    "server_tool_use": ({"assistant"}, {"id", "name", "input"}),
    "web_search_tool_result": ({"assistant"}, {"tool_use_id", "content"}),
}
_ID = re.compile(r"[a-zA-Z0-9_-]+")


def _demand(condition: object, message: str) -> None:
    if not condition:
        raise Refusal(400, "invalid_request_error", message)


class Anthropic(Dialect):
    """The API. With ``api_key`` it demands one."""

    ping = b'event: ping\ndata: {"type": "ping"}\n\n'

    def __init__(self, api_key: str | None = None) -> None:
        self._api_key = api_key

    def routes(self, answer: Any) -> list[web.RouteDef]:
        return [web.post("/v1/messages", answer), web.get("/v1/models", self._models)]

    def check(self, request: web.Request, body: dict[str, Any]) -> Asked:
        self._authenticate(request)
        return check_body(body, request.headers.get("anthropic-version", ""))

    def events(self, call: Call, wish: Behaviour, asked: Asked) -> Iterator[Event]:
        form = _Form(call, wish)
        usage = form.usage(1)
        message = {**form.message(), "content": [], "stop_reason": None, "stop_sequence": None, "usage": usage}
        yield form.event("message_start", message=message)
        yield form.event("ping")
        for block in form.blocks(asked):
            yield from form.block(block)
        if wish.no_end:
            return
        reason = {"stop_reason": form.reason(asked), "stop_sequence": None}
        if reason["stop_reason"] == "refusal":
            reason |= {"stop_details": {"type": "refusal", "category": "cyber", "explanation": "Not this."}}
        yield form.event("message_delta", delta=reason, usage=form.usage(call.tokens_sent + call.thoughts_sent))
        yield form.event("message_stop")

    def document(self, call: Call, wish: Behaviour, asked: Asked) -> dict[str, Any]:
        form = _Form(call, wish)
        content = []
        for block in form.blocks(asked):
            parts = list(block.parts)
            if block.start["type"] == "text":
                call.tokens_sent = len(parts)
                content.append({**block.start, "text": "".join(parts)})
            elif block.start["type"] == "thinking":
                content.append({**block.start, "thinking": "".join(parts), "signature": block.signature})
            elif block.start["type"] == "tool_use":
                content.append({**block.start, "input": json.loads("".join(parts) or "{}")})
            else:
                content.append(block.start)
        usage = form.usage(call.tokens_sent)
        return {
            **form.message(),
            "content": content,
            "stop_reason": form.reason(asked),
            "stop_sequence": None,
            "usage": usage,
        }

    def error(self, status: int, kind: str | None, message: str) -> dict[str, Any]:
        return {
            "type": "error",
            "error": {"type": kind or _KINDS.get(status, "api_error"), "message": message},
            "request_id": "req_fake",
        }

    def error_event(self, wish: Behaviour) -> bytes:
        return _sse("error", {"type": "error", "error": {"type": wish.error_type or "overloaded_error", "message": wish.error_message}})  # fmt: skip  # noqa: E501

    def _authenticate(self, request: web.Request) -> None:
        given = request.headers.get("x-api-key") or request.headers.get("Authorization", "").removeprefix("Bearer ")
        if self._api_key is not None and given != self._api_key:
            raise Refusal(401, "authentication_error", f"invalid x-api-key {given}")

    async def _models(self, request: web.Request) -> web.Response:
        try:
            self._authenticate(request)
        except Refusal as refusal:
            return web.json_response(self.error(401, refusal.kind, refusal.message), status=401)
        data = [
            {"type": "model", "id": name, "display_name": name.title(), "created_at": "2026-01-01T00:00:00Z"}
            for name in MODELS
        ]
        return web.json_response({"data": data, "has_more": False, "first_id": MODELS[0], "last_id": MODELS[-1]})


@dataclass
class _Block:
    start: dict[str, Any]
    delta: str = ""  # the type of its deltas
    parts: Any = ()
    signature: str = ""


class _Form:
    """The parts of one answer."""

    def __init__(self, call: Call, wish: Behaviour) -> None:
        self._call = call
        self._wish = wish
        self._index = 0

    def message(self) -> dict[str, Any]:
        return {"id": f"msg_{self._call.number}", "type": "message", "role": "assistant", "model": self._call.model}

    def usage(self, output: int) -> dict[str, Any]:
        wish = self._wish
        asked = words(self._call.body.get("system")) + words(self._call.body["messages"])
        return {
            "input_tokens": asked,
            "cache_creation_input_tokens": wish.created,
            "cache_read_input_tokens": wish.cached,
            "cache_creation": {"ephemeral_5m_input_tokens": wish.created, "ephemeral_1h_input_tokens": 0},
            "output_tokens": output,
            "output_tokens_details": {"thinking_tokens": self._call.thoughts_sent},
            "service_tier": "standard",
        }

    def blocks(self, asked: Asked) -> Iterator[_Block]:
        wish, call = self._wish, self._call
        thought = ""
        if _thinks(call.body) and (wish.thoughts or wish.thought is not None):
            parts = (
                [wish.thought] if wish.thought is not None else [f"t{call.number}.{i} " for i in range(wish.thoughts)]
            )
            thought = signature("".join(parts))
            yield _Block({"type": "thinking", "thinking": "", "signature": ""}, "thinking_delta", parts, thought)
        yield _Block({"type": "text", "text": ""}, "text_delta", pieces(call, wish, asked.paused))
        if wish.pause_after is not None and not asked.paused:
            search = {"id": f"srvtoolu_{call.number}", "name": "web_search", "input": {}}
            yield _Block({"type": "server_tool_use", **search}, "input_json_delta", ['{"query":', ' "tides"}'])
        elif self.calls(asked):
            for number, tool in enumerate(wish.tool_calls):
                # The id says what has to come back with the call.
                name = f"toolu_{call.number}_{number}" + (f"_{thought[:32]}" if thought and number == 0 else "")
                start = {"type": "tool_use", "id": name, "name": tool["name"], "input": {}}
                arguments = json.dumps(tool["arguments"]) if tool.get("arguments") else ""
                third = max(1, len(arguments) // 3)
                parts = [arguments[:third], arguments[third : 2 * third], arguments[2 * third :]]
                yield _Block(start, "input_json_delta", ["", *parts])

    def calls(self, asked: Asked) -> bool:
        wish, body = self._wish, self._call.body
        if not wish.tool_calls or (body.get("tool_choice") or {}).get("type") == "none" or not body.get("tools"):
            return False
        told = sum(b["type"] == "tool_result" for m in body["messages"] for b in _content(m["content"]))
        return wish.tool_rounds is None or told < wish.tool_rounds

    def reason(self, asked: Asked) -> str:
        if self._wish.finish:
            return self._wish.finish
        if self._wish.pause_after is not None and not asked.paused:
            return "pause_turn"
        return "tool_use" if self.calls(asked) else "end_turn"

    def block(self, block: _Block) -> Iterator[Event]:
        wish, index = self._wish, self._index
        self._index += 1
        yield self.event("content_block_start", index=index, content_block=block.start)
        field = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "partial_json"}.get(
            block.delta
        )
        for part in block.parts:
            delta = {"type": block.delta, field: part}
            event = self.event("content_block_delta", index=index, delta=delta)
            is_text, is_thought = block.delta == "text_delta", block.delta == "thinking_delta"
            extra = (_sse("ping", {"type": "ping"}) if wish.pings else b"") + (_UNKNOWN if wish.unknown else b"")
            yield Event(extra + event.data, int(is_text), int(is_thought))
        if block.signature:
            yield self.event("content_block_delta", index=index, delta={"type": "signature_delta", "signature": block.signature})  # fmt: skip  # noqa: E501
        yield self.event("content_block_stop", index=index)

    @staticmethod
    def event(kind: str, **fields: Any) -> Event:
        return Event(_sse(kind, {"type": kind, **fields}))


def _sse(kind: str, body: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), orjson.dumps(body))


_UNKNOWN = (
    _sse("weather_update", {"type": "weather_update", "delta": {"text": "rain"}})
    + _sse("content_block_start", {"type": "content_block_start", "index": 90, "content_block": {"type": "mood", "text": "!"}})  # noqa: E501
    + _sse("content_block_delta", {"type": "content_block_delta", "index": 90, "delta": {"type": "mood_delta", "text": "!"}})  # noqa: E501
    + _sse("content_block_stop", {"type": "content_block_stop", "index": 90})
    + _sse("content_block_delta", {"type": "content_block_delta", "index": 0, "delta": {"type": "hue_delta", "text": "!"}})  # noqa: E501
)  # fmt: skip


# --- the rules of a request --------------------------------------------------------------------------------------


def check_body(body: dict[str, Any], version: str) -> Asked:
    """Read a request as strictly as the API does. Raises Refusal."""
    _demand(version, "anthropic-version: header is required")
    _demand(version in VERSIONS, f"anthropic-version: {version} is not a valid version")
    for name in body:
        _demand(name in _FIELDS, f"{name}: Extra inputs are not permitted")
    for name in ("model", "max_tokens", "messages"):
        _demand(name in body, f"{name}: Field required")
    for name in ("temperature", "top_p", "top_k"):
        _demand(name not in body or version != VERSIONS[1], f"{name}: Extra inputs are not permitted")
    _demand(0 <= body.get("temperature", 0) <= 1, "temperature: range: 0..1")
    most = 4096 if "small" in body["model"] else 64_000
    limit = body["max_tokens"]
    _demand(isinstance(limit, int) and limit > 0, "max_tokens: must be greater than or equal to 1")
    _demand(
        limit <= most,
        f"max_tokens: {limit} > {most}, which is the maximum allowed number of output tokens for {body['model']}",
    )
    _check_thinking(body)
    _check_tools(body)
    _check_format(body)
    messages = [_check_message(message, number) for number, message in enumerate(body["messages"])]
    _check_turns(messages)
    _check_calls(messages, body)
    return _asked(body, messages)


def _content(content: Any) -> list[dict[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _thinks(body: dict[str, Any]) -> bool:
    return bool((body.get("thinking") or {}).get("type") in ("enabled", "adaptive", "between_tools"))


def _check_thinking(body: dict[str, Any]) -> None:
    thinking = body.get("thinking")
    effort = (body.get("output_config") or {}).get("effort")
    _demand(effort in (None, "low", "medium", "high", "xhigh", "max"), "output_config.effort: unknown value")
    adaptive = thinking is not None and thinking.get("type") == "adaptive"
    manual = body["model"].startswith("manual")
    _demand(not (manual and adaptive), "adaptive thinking is not supported on this model")
    _demand(not (manual and effort), "This model does not support the effort parameter.")
    if thinking is None:
        return
    kind = thinking.get("type")
    _demand(kind in ("enabled", "adaptive", "disabled", "between_tools"), "thinking: Input tag is unknown")
    _demand(set(thinking) <= {"type", "budget_tokens", "display"}, "thinking: Extra inputs are not permitted")
    if kind == "enabled":
        budget = thinking.get("budget_tokens", 0)
        _demand(budget >= 1024, "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024")
        _demand(budget < body["max_tokens"], "`max_tokens` must be greater than `thinking.budget_tokens`")
    if kind in ("enabled", "adaptive"):
        _demand(body.get("temperature", 1) == 1, "`temperature` may only be set to 1 when thinking is enabled")
        forced = (body.get("tool_choice") or {}).get("type") in ("any", "tool")
        _demand(not forced, "Thinking may not be enabled when tool_choice forces tool use.")


def _check_tools(body: dict[str, Any]) -> None:
    for number, tool in enumerate(body.get("tools") or ()):
        if tool.get("type", "custom") != "custom":
            continue
        fields = {"type", "name", "description", "input_schema", "strict", "cache_control"}
        _demand(set(tool) <= fields, f"tools.{number}.custom: Extra inputs are not permitted")
        name_is_right = re.fullmatch(r"[a-zA-Z0-9_-]{1,128}", tool["name"])
        _demand(name_is_right, f"tools.{number}.custom.name: String should match pattern")
        _demand(
            tool["input_schema"].get("type") == "object", f"tools.{number}.custom.input_schema.type: Field required"
        )
    choice = body.get("tool_choice")
    if choice is not None:
        _demand(body.get("tools"), "tool_choice may only be specified while providing tools")
        _demand(choice.get("type") in ("auto", "any", "tool", "none"), "tool_choice: Input tag is unknown")
        allowed = {"type", "name"} if choice["type"] == "tool" else {"type"}
        allowed |= {"disable_parallel_tool_use"} if choice["type"] != "none" else set()
        _demand(set(choice) <= allowed, f"tool_choice.{choice['type']}: Extra inputs are not permitted")


def _check_format(body: dict[str, Any]) -> None:
    form = (body.get("output_config") or {}).get("format")
    if form is None:
        return
    _demand(set(form) == {"type", "schema"} and form["type"] == "json_schema", "output_config.format: wrong fields")

    def closed(schema: Any) -> bool:
        if isinstance(schema, list):
            return all(map(closed, schema))
        if not isinstance(schema, dict):
            return True
        is_closed = schema.get("type") != "object" or schema.get("additionalProperties") is False
        return is_closed and all(map(closed, schema.values()))

    _demand(
        closed(form["schema"]),
        "output_config.format.schema: For 'object' type, 'additionalProperties' must be explicitly set to false",
    )


def _check_message(message: dict[str, Any], number: int) -> dict[str, Any]:
    at = f"messages.{number}"
    _demand(set(message) == {"role", "content"}, f"{at}: Extra inputs are not permitted")
    role = message["role"]
    _demand(
        role in ("user", "assistant"), f'{at}: Unexpected role "{role}". The Messages API accepts user and assistant'
    )
    content = _content(message["content"])
    _demand(content, f"{at}: all messages must have non-empty content")
    for place, block in enumerate(content):
        kind = block["type"]
        _demand(kind in _BLOCKS, f"{at}.content.{place}: Input tag '{kind}' found using 'type' does not match")
        roles, fields = _BLOCKS[kind]
        _demand(role in roles, f"{at}.content.{place}: `{kind}` blocks can not be in {role} messages")
        _demand(set(block) <= {"type", *fields}, f"{at}.content.{place}.{kind}: Extra inputs are not permitted")
        if kind == "text":
            _demand(block["text"], f"{at}.content.{place}: text content blocks must be non-empty")
            _demand(
                block["text"].strip(), f"{at}.content.{place}: text content blocks must contain non-whitespace text"
            )
        if kind == "thinking":
            right = block.get("signature") == signature(block["thinking"])
            _demand(right, f"{at}.content.{place}: Invalid `signature` in `thinking` block")
        if kind in ("tool_use", "tool_result"):
            right = _ID.fullmatch(block.get("id") or block.get("tool_use_id"))
            _demand(right, f"{at}.content.{place}.{kind}.id: String should match pattern '^[a-zA-Z0-9_-]+$'")
        if kind == "tool_use":
            _demand(isinstance(block["input"], dict), f"{at}.content.{place}.input: Input should be a valid dictionary")
    return {"role": role, "content": content}


def _check_turns(messages: list[dict[str, Any]]) -> None:
    _demand(messages, "messages: at least one message is required")
    _demand(messages[0]["role"] == "user", "messages: first message must use the user role")
    for before, after in pairwise(messages):
        _demand(before["role"] != after["role"], "messages: roles must alternate between user and assistant")


def _check_calls(messages: list[dict[str, Any]], body: dict[str, Any]) -> None:
    """Each call is answered in the next message, before its text; a call's thought stands before it."""
    for number, message in enumerate(messages):
        before = messages[number - 1]["content"] if number else []
        called = [block["id"] for block in before if block["type"] == "tool_use"]
        told = [block["tool_use_id"] for block in message["content"] if block["type"] == "tool_result"]
        missing = (
            f"messages.{number}: `tool_use` ids were found without `tool_result` blocks immediately after: {called}"
        )
        _demand(set(called) <= set(told), missing)
        _demand(set(told) <= set(called), f"messages.{number}: unexpected `tool_use_id` found in `tool_result` blocks")
        first = [block["type"] for block in message["content"][: len(told)]]
        _demand(first == ["tool_result"] * len(told), f"messages.{number}: `tool_result` blocks must come first")
        _demand(len(set(told)) == len(told), f"messages.{number}: each tool_use must have a single result")
        thoughts = [b["signature"][:32] for b in message["content"] if b["type"] == "thinking"]
        for block in message["content"]:
            if block["type"] == "tool_use" and _thinks(body) and len(mark := block["id"].rpartition("_")[2]) == 32:
                _demand(
                    mark in thoughts,
                    f"messages.{number}.content.0.type: Expected `thinking` or `redacted_thinking`, found `tool_use`",
                )
    used = any(block["type"] in ("tool_use", "tool_result") for m in messages for block in m["content"])
    _demand(
        body.get("tools") or not used, "Requests which include `tool_use` or `tool_result` blocks must define tools"
    )
    manual = (body.get("thinking") or {}).get("type") == "enabled"
    if manual and len(messages) > 1 and messages[-1]["content"][-1]["type"] == "tool_result":
        starts = messages[-2]["content"][0]["type"]
        _demand(
            starts in ("thinking", "redacted_thinking"), "a final `assistant` message must start with a thinking block"
        )


def _asked(body: dict[str, Any], messages: list[dict[str, Any]]) -> Asked:
    prefix, paused, rest = "", False, messages
    last = messages[-1]
    if last["role"] == "assistant":
        paused = any(block["type"] == "server_tool_use" for block in last["content"])
        if not paused:
            refusal = (
                "This model does not support assistant message prefill. The conversation must end with a user message."
            )
            _demand(body["model"].startswith("old"), refusal)
            _demand(not _thinks(body), "Prefill is not supported when thinking is enabled")
            text = _texts(last)
            _demand(text == text.rstrip(), "messages: final assistant content cannot end with trailing whitespace")
        prefix, rest = _texts(last), messages[:-1]
    elif len(messages) > 2:
        instruction = last["content"][-1].get("text", "").lower()
        if "continue" in instruction and "exactly" in instruction:
            prefix, rest = _texts(messages[-2]), messages[:-2]
    texts = [_texts(message) for message in messages if message["role"] == "user"]
    return Asked(body["model"], texts, prefix, bool(body.get("stream")), [body["model"], rest], paused)


def _texts(message: dict[str, Any]) -> str:
    return "".join(block["text"] for block in message["content"] if block["type"] == "text")


@dataclass
class FakeAnthropic(FakeServer):
    """The fake as a thread."""

    def dialect(self) -> Dialect:
        return Anthropic(self.api_key)


if __name__ == "__main__":
    main(Anthropic)
