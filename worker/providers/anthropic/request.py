"""A prompt as the JSON body of Anthropic's Messages API. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from app.domain.answer_format import AnswerFormat
from worker.providers.anthropic.abilities import Abilities
from worker.providers.base import ChatMessage, Prompt, ToolCall
from worker.providers.chat.parameters import ChatParameters
from worker.providers.chat.request import CONTINUE_INSTRUCTION
from worker.providers.parts import Part

JSON_INSTRUCTION = "Answer with one JSON object and nothing else."
# A message that has no text at all; the API refuses an empty one.
NO_TEXT = "(no text)"
_SAMPLING = ("temperature", "top_p", "top_k")
_EFFORTS = {"minimal": "low"}
# Tokens for thinking, by effort, for a model that does not choose them itself.
_BUDGETS = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16_384, "xhigh": 24_576, "max": 30_000}
LEAST_BUDGET = 1024
# The longest title of a document that the API takes.
MOST_TITLE_CHARS = 255
_ID = re.compile(r"[^a-zA-Z0-9_-]")

Block = dict[str, Any]


def request_body(prompt: Prompt, abilities: Abilities) -> dict[str, Any]:
    """The JSON object to post. A prefix is continued as ``is_prefilled`` says."""
    given = ChatParameters.of(prompt.parameters)
    turns = _turns(prompt.messages)
    body = dict(given.rest)
    if not abilities.samples:
        for name in _SAMPLING:
            body.pop(name, None)
    body |= {"model": prompt.model, "stream": True, "messages": turns}
    body["max_tokens"] = min(given.max_tokens or abilities.max_tokens, abilities.max_tokens)
    _add_thinking(body, given, abilities)
    if system := _system(prompt, body.get("system")):
        body["system"] = system
    if given.stop:
        body["stop_sequences"] = list(given.stop)
    if given.user:
        body["metadata"] = {"user_id": given.user}
    _add_tools(body, given, prompt.messages)
    _add_format(body, prompt.answer_format)
    if prompt.prefix:
        _add_prefix(turns, prompt.prefix, is_prefilled(prompt, abilities))
    return body


def is_prefilled(prompt: Prompt, abilities: Abilities) -> bool:
    """True when the model goes on from the prefix itself. Neither thinking nor a JSON format goes with that."""
    given = ChatParameters.of(prompt.parameters)
    kind = given.rest.get("thinking")
    thinks = (given.effort or "none") != "none" or given.thinking_tokens or (
        isinstance(kind, dict) and kind.get("type") != "disabled"
    )  # fmt: skip
    return abilities.prefills and not thinks and prompt.answer_format is None


def _system(prompt: Prompt, given: Any) -> str | list[Any]:
    """The system prompt. ``given`` is one that the parameters have, in the API's own form."""
    texts = [message.content for message in prompt.messages if message.role == "system" and message.content.strip()]
    if prompt.answer_format is not None and prompt.answer_format.schema is None:
        texts.append(JSON_INSTRUCTION)
    if isinstance(given, list):
        return [*given, *({"type": "text", "text": text} for text in texts)]
    return "\n\n".join([*([given] if isinstance(given, str) and given.strip() else []), *texts])


def _turns(messages: Sequence[ChatMessage]) -> list[dict[str, Any]]:
    """The messages without those of the system; the roles alternate, and the user begins."""
    turns: list[dict[str, Any]] = []
    ids = _Ids()
    for message in messages:
        if message.role == "system":
            continue
        role = "assistant" if message.role == "assistant" else "user"
        blocks = _blocks(message, ids)
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        elif blocks:
            if role == "assistant" and not turns:
                turns.append({"role": "user", "content": [_text(NO_TEXT)]})
            turns.append({"role": role, "content": blocks})
    if not turns or (turns[-1]["role"] == "assistant" and messages[-1].role != "assistant"):
        turns.append({"role": "user", "content": [_text(NO_TEXT)]})
    return turns


def _blocks(message: ChatMessage, ids: _Ids) -> list[Block]:
    if message.role == "tool":
        return [{"type": "tool_result", "tool_use_id": ids.of(message.tool_call_id or ""), "content": message.content}]
    calls = [block for call in message.tool_calls for block in _call(call, ids)]
    text = [_part(part) for part in message.all_parts if not isinstance(part, str) or part.strip()]
    # Thoughts come before everything else of the turn that they belong to.
    first = 0
    while first < len(calls) and calls[first]["type"] != "tool_use":
        first += 1
    return [*calls[:first], *text, *calls[first:]]


def _part(part: Part) -> Block:
    if isinstance(part, str):
        return _text(part)
    source = {"type": "base64", "media_type": part.media_type, "data": part.base64}
    if part.is_image:
        return {"type": "image", "source": source}
    return {"type": "document", "source": source, "title": part.filename[:MOST_TITLE_CHARS]}


def _call(call: ToolCall, ids: _Ids) -> list[Block]:
    """A call behind the thoughts that the model had before it, exactly as they came."""
    own = (call.extra or {}).get("anthropic")
    thoughts = own.get("thinking") if isinstance(own, Mapping) else None
    use = {"type": "tool_use", "id": ids.of(call.call_id), "name": call.name, "input": _input(call.arguments)}
    return [*(thoughts if isinstance(thoughts, list) else ()), use]


class _Ids:
    """Ids of calls in the form that the API takes: other upstreams give ids with dots and colons."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def of(self, call_id: str) -> str:
        if call_id not in self._known:
            wanted = _ID.sub("_", call_id)[:64] or "call"
            taken = set(self._known.values())
            number = 0
            while (own := f"{wanted}_{number}" if number else wanted) in taken:
                number += 1
            self._known[call_id] = own
        return self._known[call_id]


def _input(arguments: str) -> dict[str, Any]:
    """The arguments as an object. What the model wrote instead of one stays readable."""
    if not arguments.strip():
        return {}
    try:
        parsed = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return {"arguments": arguments}
    return parsed if isinstance(parsed, dict) else {"arguments": parsed}


def _text(text: str) -> Block:
    return {"type": "text", "text": text}


def _add_prefix(turns: list[dict[str, Any]], prefix: str, is_prefill: bool) -> None:
    text = prefix.rstrip()  # the API refuses white space at the end
    if text:
        if turns[-1]["role"] == "assistant":
            turns[-1]["content"].append(_text(text))
        else:
            turns.append({"role": "assistant", "content": [_text(text)]})
    if not is_prefill:
        if turns[-1]["role"] == "user":
            turns[-1]["content"].append(_text(CONTINUE_INSTRUCTION))
        else:
            turns.append({"role": "user", "content": [_text(CONTINUE_INSTRUCTION)]})


def _add_thinking(body: dict[str, Any], given: ChatParameters, abilities: Abilities) -> None:
    """Map the effort of reasoning. A ``thinking`` of the API's own form takes precedence."""
    effort, budget = given.effort, given.thinking_tokens
    if effort not in (None, "none") and abilities.adapts and budget is None:
        body["output_config"] = {"effort": _EFFORTS.get(effort, effort), **_mapping(body.get("output_config"))}
    if "thinking" not in body and (effort or budget):
        if effort == "none":
            body["thinking"] = {"type": "disabled"}
        elif abilities.adapts and budget is None:
            body["thinking"] = {"type": "adaptive", "display": "summarized"}
        else:
            body["thinking"] = _budget(budget or _BUDGETS.get(effort or "", _BUDGETS["medium"]), body["max_tokens"])
    if _mapping(body.get("thinking")).get("type") == "enabled" and _lacks_thoughts(body["messages"]):
        body["thinking"] = {"type": "disabled"}


def _budget(tokens: int, max_tokens: int) -> dict[str, Any]:
    """A budget of thinking below the limit of the answer; no thinking where the limit leaves no room for any."""
    tokens = min(max(tokens, LEAST_BUDGET), max(LEAST_BUDGET, max_tokens // 2))
    return {"type": "enabled", "budget_tokens": tokens} if tokens < max_tokens else {"type": "disabled"}


def _lacks_thoughts(turns: list[dict[str, Any]]) -> bool:
    """True in the middle of a tool loop that began without thoughts: another upstream, or another setting, began it."""
    if len(turns) < 2 or any(block["type"] != "tool_result" for block in turns[-1]["content"]):
        return False
    return bool(turns[-2]["content"][0]["type"] not in ("thinking", "redacted_thinking"))


def _add_tools(body: dict[str, Any], given: ChatParameters, messages: Sequence[ChatMessage]) -> None:
    tools = [*map(_tool, given.functions), *given.tools]
    choice = given.choice
    if not tools and (names := _called(messages)):
        # The API wants each tool that was called described.
        tools = [{"name": name, "input_schema": {"type": "object"}} for name in names]
        choice = "none"
    if not tools:
        return
    body["tools"] = tools
    kinds = {"required": "any", "function": "tool"}
    wanted: dict[str, Any] | None = None
    if choice is not None:
        wanted = {"type": kinds.get(choice, choice)}
        if given.chosen:
            wanted["name"] = given.chosen
    if given.parallel is False and choice != "none":
        wanted = {**(wanted or {"type": "auto"}), "disable_parallel_tool_use": True}
    if wanted is not None:
        body["tool_choice"] = wanted


def _tool(function: Mapping[str, Any]) -> dict[str, Any]:
    tool: dict[str, Any] = {"name": function.get("name")}
    if function.get("description"):
        tool["description"] = function["description"]
    tool["input_schema"] = function.get("parameters") or {"type": "object", "properties": {}}
    if function.get("strict") is True:
        tool["strict"] = True
    return tool


def _called(messages: Iterable[ChatMessage]) -> list[str]:
    return list(dict.fromkeys(call.name for message in messages for call in message.tool_calls))


def _add_format(body: dict[str, Any], wanted: AnswerFormat | None) -> None:
    if wanted is not None and wanted.schema is not None:
        form = {"type": "json_schema", "schema": closed(wanted.schema)}
        body["output_config"] = {**_mapping(body.get("output_config")), "format": form}


def closed(schema: Any) -> Any:
    """The schema with ``additionalProperties`` false in each object that leaves it open: the API demands it."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, Mapping):
        return schema
    whole = {
        name: value if name in ("enum", "const", "default", "examples") else closed(value)
        for name, value in schema.items()
    }
    kind = whole.get("type")
    is_object = kind == "object" or (isinstance(kind, list) and "object" in kind)
    return {**whole, "additionalProperties": False} if is_object and "additionalProperties" not in whole else whole


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
