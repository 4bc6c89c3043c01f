"""A request of the Responses API: what of it goes to the upstream, and what of it is told again. Pure."""

from __future__ import annotations

from typing import Any

from app.api.errors import InvalidFields
from app.api.openai import ids
from app.store.generations import Generation

# Fields of the response that repeat the request, with what they are when nothing was asked for.
_ECHOED: dict[str, Any] = {
    "instructions": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "temperature": None,
    "top_p": None,
    "tool_choice": "auto",
    "tools": [],
    "previous_response_id": None,
    "max_output_tokens": None,
    "reasoning": {"effort": None, "summary": None},
    "text": {"format": {"type": "text"}},
    "truncation": "disabled",
    "user": None,
    "safety_identifier": None,
    "prompt_cache_key": None,
}
_FORMATS = ("text", "json_object", "json_schema")


def echo(body: dict[str, Any]) -> dict[str, Any]:
    """What of a request the response repeats: only what was given. ``parameters`` has found no fault with it."""
    given = {name: body[name] for name in _ECHOED if body.get(name) is not None}
    if "tools" in given:
        given["tools"] = [_tool_echo(tool) for tool in given["tools"]]
    if "text" in given:
        given["text"] = {**given["text"], "format": given["text"].get("format") or {"type": "text"}}
    return given


def parameters(body: dict[str, Any]) -> dict[str, Any]:
    """The same request in the names of chat completions, which upstreams speak. Raises InvalidFields."""
    wanted: dict[str, Any] = {
        "instructions": body.get("instructions"),
        "temperature": body.get("temperature"),
        "top_p": body.get("top_p"),
        # The older name: every upstream knows it.
        "max_tokens": body.get("max_output_tokens"),
        "user": body.get("user"),
        "reasoning_effort": (body.get("reasoning") or {}).get("effort"),
        "verbosity": (body.get("text") or {}).get("verbosity"),
        "response_format": _response_format(body.get("text") or {}),
    }
    if tools := body.get("tools"):
        wanted["tools"] = [_tool(tool, f"tools[{n}]") for n, tool in enumerate(tools)]
        wanted["tool_choice"] = _tool_choice(body.get("tool_choice"))
        wanted["parallel_tool_calls"] = body.get("parallel_tool_calls")
    return {name: value for name, value in wanted.items() if value is not None}


def base(row: Generation, request: dict[str, Any]) -> dict[str, Any]:
    """The response object without what the log decides: the same whenever it is made."""
    given = request.get("echo", {})
    conversation = request.get("conversation", not request)
    return {
        "id": ids.response(row.id),
        "object": "response",
        "created_at": int(row.created_at.timestamp()),
        "status": None,
        "background": request.get("background", True),
        "error": None,
        "incomplete_details": None,
        "model": row.model,
        "output": [],
        **{name: given.get(name, value) for name, value in _ECHOED.items()},
        "metadata": row.metadata,
        "conversation": {"id": ids.conversation(row.conversation_id)} if conversation else None,
        "store": True,
        "usage": None,
    }


def _tool(tool: Any, place: str) -> dict[str, Any]:
    if not isinstance(tool, dict):
        raise InvalidFields([(place, "must be an object")])
    if tool.get("type") != "function":
        raise InvalidFields([(f"{place}.type", "only tools of type 'function' are supported here")])
    if not isinstance(tool.get("name"), str) or not tool["name"]:
        raise InvalidFields([(f"{place}.name", "must be a string")])
    names = ("name", "description", "parameters", "strict")
    return {"type": "function", "function": {n: tool[n] for n in names if tool.get(n) is not None}}


def _tool_echo(tool: dict[str, Any]) -> dict[str, Any]:
    return {"type": "function", "description": None, "parameters": None, "strict": None, **tool}


def _tool_choice(choice: Any) -> Any:
    if isinstance(choice, str) or choice is None:
        if choice not in (None, "auto", "none", "required"):
            raise InvalidFields([("tool_choice", "must be auto, none, required, or a function")])
        return choice
    if isinstance(choice, dict) and choice.get("type") == "function" and isinstance(choice.get("name"), str):
        return {"type": "function", "function": {"name": choice["name"]}}
    raise InvalidFields([("tool_choice", "must be auto, none, required, or a function")])


def _response_format(text: dict[str, Any]) -> dict[str, Any] | None:
    wanted = text.get("format")
    if wanted is None:
        return None
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    if kind not in _FORMATS:
        raise InvalidFields([("text.format.type", f"must be one of {', '.join(_FORMATS)}")])
    if kind == "text":
        return None
    if kind == "json_object":
        return {"type": kind}
    if not isinstance(wanted.get("name"), str) or not isinstance(wanted.get("schema"), dict):
        raise InvalidFields([("text.format", "a json_schema needs a name and a schema")])
    names = ("name", "schema", "strict", "description")
    return {"type": kind, "json_schema": {n: wanted[n] for n in names if wanted.get(n) is not None}}
