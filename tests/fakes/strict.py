"""The rules of the strictest chat templates and of OpenAI's validation, as one check of a request's messages.

It is written from the rules alone and imports no code of the service. Sources: the templates of Mistral and Gemma
(roles alternate, the first is the user), Qwen (one system message, at the beginning; a question of a user), Llama
(content is a text), Mistral's API (a tool's output is followed by an assistant), OpenAI's reference (outputs behind
their calls, names of functions), Anthropic (no blank text, ids of calls are unique).
"""

from __future__ import annotations

import json
import re
from typing import Any

_FIELDS = {
    "system": {"role", "content"},
    "user": {"role", "content", "name"},
    "assistant": {"role", "content", "name", "tool_calls", "reasoning_content"},
    "tool": {"role", "content", "tool_call_id"},
}
_FUNCTION = re.compile(r"[a-zA-Z0-9_-]{1,64}")


class Refused(ValueError):
    """The reason why a strict upstream refuses the messages."""


def check(messages: Any) -> None:
    """Raise Refused for the first rule that the messages of a request break."""
    _require(isinstance(messages, list) and messages, "messages must not be empty")
    for n, message in enumerate(messages):
        _check_shape(n, message)
    spoken = messages[1:] if messages[0]["role"] == "system" else messages
    _require(all(message["role"] != "system" for message in spoken), "System message must be at the beginning")
    _require(spoken, "No user query found in messages")
    _require(spoken[0]["role"] == "user", "Conversation roles must alternate user/assistant, beginning with the user")
    _check_order(spoken)
    _require(spoken[-1]["role"] in ("user", "tool"), "Expected last role user or tool")


def check_returned(messages: list[dict[str, Any]], field: str) -> None:
    """Raise Refused unless each tool call, or each message with tool calls, has a field that the upstream gave."""
    for message in messages:
        calls = message.get("tool_calls") or []
        if field == "extra_content":
            _require(all(field in call for call in calls), "Function call is missing a thought_signature")
        elif calls:
            _require(field in message, f"The {field} in the thinking mode must be passed back to the API.")


def check_unknown(messages: list[dict[str, Any]], field: str) -> None:
    """Raise Refused for the first message or tool call that has a field this upstream does not know."""
    for n, message in enumerate(messages):
        parts = [message, *(message.get("tool_calls") or [])]
        _require(all(field not in part for part in parts), f"'messages.{n}' : property '{field}' is unsupported")


def _require(condition: Any, reason: str) -> None:
    if not condition:
        raise Refused(reason)


def _check_shape(n: int, message: Any) -> None:
    place = f"messages[{n}]"
    _require(isinstance(message, dict), f"{place} must be an object")
    role = message.get("role")
    _require(role in _FIELDS, f"{place}.role {role!r} is unknown")
    unknown = set(message) - _FIELDS[role]
    _require(not unknown, f"{place} has extra fields: {sorted(unknown)}")
    content = message.get("content")
    _require(isinstance(content, str), f"{place}.content must be a string")
    if role in ("system", "user") or (role == "assistant" and not message.get("tool_calls")):
        _require(content.strip(), f"{place}.content must not be blank")
    if "name" in message:
        _require(isinstance(message["name"], str) and message["name"], f"{place}.name must be a string")
    if "tool_calls" in message:
        _require(message["tool_calls"], f"{place}.tool_calls must not be empty")
        for call in message["tool_calls"]:
            _check_call(place, call)


def _check_call(place: str, call: Any) -> None:
    _require(isinstance(call.get("id"), str) and call["id"], f"{place}: a tool call needs an id")
    _require(call.get("type") == "function", f"{place}: the type of a tool call must be function")
    _require(set(call) <= {"id", "type", "function", "extra_content"}, f"{place}: extra fields in a tool call")
    function = call["function"]
    name = function.get("name")
    _require(isinstance(name, str) and _FUNCTION.fullmatch(name), f"{place}: {name!r} is no name of a function")
    try:
        arguments = json.loads(function["arguments"], parse_constant=_no_constant)
    except (ValueError, TypeError, RecursionError):
        raise Refused(f"{place}: arguments are not valid JSON") from None
    _require(isinstance(arguments, dict), f"{place}: arguments must be an object")


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def _check_order(spoken: list[dict[str, Any]]) -> None:
    seen: set[str] = set()
    owed: list[str] = []
    before: dict[str, Any] = {"role": "beginning"}
    for message in spoken:
        role, former = message["role"], before["role"]
        if role == "tool":
            _require(owed, "messages with role 'tool' must be a response to a preceding message with 'tool_calls'")
            _require(message.get("tool_call_id") == owed.pop(0), "tool_call_id must answer the calls in their order")
        else:
            _require(not owed, "'tool_calls' must be followed by tool messages responding to each 'tool_call_id'")
        if role == "user":
            apart = former == "user" and before.get("name") != message.get("name")
            _require(former in ("beginning", "assistant") or apart, f"Unexpected role 'user' after role {former!r}")
        elif role == "assistant":
            _require(former in ("user", "tool"), f"Unexpected role 'assistant' after role {former!r}")
            owed = [call["id"] for call in message.get("tool_calls", ())]
            _require(len(set(owed)) == len(owed) and not seen & set(owed), "ids of tool calls must be unique")
            seen |= set(owed)
        before = message
    _require(not owed, "'tool_calls' must be followed by tool messages responding to each 'tool_call_id'")
