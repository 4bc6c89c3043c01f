"""A request of the Responses API as parameters of the upstream, and as fields that the response repeats. Pure."""

from __future__ import annotations

from typing import Any

from app.api.answer_format import as_response_format
from app.api.errors import InvalidFields
from app.api.openai import ids
from app.store.generations import Generation

# Fields of the response that repeat the request, with their values when the request has none.
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


def echo(body: dict[str, Any]) -> dict[str, Any]:
    """The fields of a request that the response repeats, without those the request lacks.

    ``parameters`` must have accepted the request.
    """
    given = {name: body[name] for name in _ECHOED if body.get(name) is not None}
    if "tools" in given:
        given["tools"] = [_tool_echo(tool) for tool in given["tools"]]
    if "text" in given:
        given["text"] = {**given["text"], "format": _format_echo(given["text"].get("format") or {"type": "text"})}
    return given


def parameters(body: dict[str, Any]) -> dict[str, Any]:
    """A request as parameters of chat completions, which upstreams accept. Raises InvalidFields."""
    wanted: dict[str, Any] = {
        "instructions": body.get("instructions"),
        "temperature": body.get("temperature"),
        "top_p": body.get("top_p"),
        # Each upstream knows this older name.
        "max_tokens": body.get("max_output_tokens"),
        "user": body.get("user"),
        "reasoning_effort": (body.get("reasoning") or {}).get("effort"),
        "verbosity": (body.get("text") or {}).get("verbosity"),
        "response_format": _response_format((body.get("text") or {}).get("format")),
    }
    if tools := body.get("tools"):
        wanted["tools"] = [_tool(tool, f"tools[{n}]") for n, tool in enumerate(tools)]
        wanted["tool_choice"] = _tool_choice(body.get("tool_choice"))
        wanted["parallel_tool_calls"] = body.get("parallel_tool_calls")
    return {name: value for name, value in wanted.items() if value is not None}


def base(row: Generation, request: dict[str, Any]) -> dict[str, Any]:
    """The response object without the fields that the log decides. It never changes for a generation."""
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
        raise InvalidFields([(f"{place}.type", "only tools of type 'function' are supported")])
    if not isinstance(tool.get("name"), str) or not tool["name"]:
        raise InvalidFields([(f"{place}.name", "must be a string")])
    names = ("name", "description", "parameters", "strict")
    return {"type": "function", "function": {n: tool[n] for n in names if tool.get(n) is not None}}


def _tool_echo(tool: dict[str, Any]) -> dict[str, Any]:
    return {"type": "function", "description": None, "parameters": None, "strict": None, **tool}


def _tool_choice(choice: Any) -> Any:
    if isinstance(choice, str) or choice is None:
        if choice not in (None, "auto", "none", "required"):
            raise InvalidFields([("tool_choice", "must be auto, none, required, a function, or allowed_tools")])
        return choice
    if isinstance(choice, dict) and choice.get("type") == "function" and isinstance(choice.get("name"), str):
        return {"type": "function", "function": {"name": choice["name"]}}
    if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
        return _allowed_tools(choice)
    raise InvalidFields([("tool_choice", "must be auto, none, required, a function, or allowed_tools")])


def _allowed_tools(choice: dict[str, Any]) -> dict[str, Any]:
    """A choice among some of the functions, in the form of chat completions."""
    mode, tools = choice.get("mode"), choice.get("tools")
    if mode not in ("auto", "required"):
        raise InvalidFields([("tool_choice.mode", "must be auto or required")])
    if not isinstance(tools, list) or not tools:
        raise InvalidFields([("tool_choice.tools", "must be a list of functions")])
    allowed = [_tool(tool, f"tool_choice.tools[{n}]") for n, tool in enumerate(tools)]
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": allowed}}


def _response_format(wanted: dict[str, Any] | None) -> dict[str, Any] | None:
    return None if wanted is None else as_response_format(wanted)


def _format_echo(wanted: dict[str, Any]) -> dict[str, Any]:
    return {"description": None, "strict": False, **wanted} if wanted["type"] == "json_schema" else wanted
