"""A prompt as the JSON body of a request to OpenAI's Responses API. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from app.domain.answer_format import AnswerFormat
from worker.providers.base import ChatMessage, Prompt, ToolCall
from worker.providers.chat.request import CONTINUE_INSTRUCTION
from worker.providers.parts import Part

# The service sets these itself.
_RESERVED = frozenset(
    {"model", "messages", "input", "instructions", "stream", "stream_options", "background", "store", "n"}
    | {"previous_response_id", "conversation", "response_format"}
)
_LIMITS = ("max_output_tokens", "max_completion_tokens", "max_tokens")
_NOT_SENT = _RESERVED | frozenset({*_LIMITS, "reasoning_effort"})
_ENCRYPTED = "reasoning.encrypted_content"
# The key of Tool.extra under which the reasoning items before a call are kept.
EXTRA = "openai"


def request_body(prompt: Prompt, *, background: bool, continuation: str = "instruction") -> dict[str, Any]:
    """The JSON object to post. ``background``: the run is stored upstream and goes on without its connection.

    Parameters have the names of chat completions; those with another name or form here are translated, all others are
    sent as they are.
    """
    given = {name: value for name, value in prompt.parameters.items() if value is not None}
    body = {name: value for name, value in given.items() if name not in _NOT_SENT}
    body |= _translated(given)
    system, messages = _split(prompt.messages)
    if system:
        body["instructions"] = system
    body |= {"model": prompt.model, "input": [item for message in messages for item in _items(message)]}
    body |= {"background": background, "stream": True, "store": background}
    if prompt.prefix:
        body["input"].append({"role": "assistant", "content": prompt.prefix})
        if continuation == "instruction":
            body["input"].append({"role": "user", "content": CONTINUE_INSTRUCTION})
    if "tools" in body:
        # Reasoning comes back with the results of its calls, also when the upstream has deleted the run.
        body["include"] = list(dict.fromkeys([*_list(body.get("include")), _ENCRYPTED]))
    text = {**_object(body.get("text")), **_text_format(prompt.answer_format)}
    if verbosity := body.pop("verbosity", None):
        text["verbosity"] = verbosity
    if text:
        body["text"] = text
    return body


def _translated(given: dict[str, Any]) -> dict[str, Any]:
    """The parameters that have another name or form in the Responses API."""
    fields: dict[str, Any] = {}
    if limits := [given[name] for name in _LIMITS if name in given]:
        fields["max_output_tokens"] = limits[0]
    if isinstance(given.get("tools"), list):
        fields["tools"] = [_flat(tool) for tool in given["tools"]]
    if "tool_choice" in given:
        fields["tool_choice"] = _flat(given["tool_choice"])
    if "reasoning_effort" in given:
        fields["reasoning"] = {
            "summary": "auto",
            **_object(given.get("reasoning")),
            "effort": given["reasoning_effort"],
        }
    return fields


def _flat(tool: Any) -> Any:
    """A function of chat completions, whose fields lie one level higher here. Anything else is left as it is."""
    if isinstance(tool, dict) and isinstance(tool.get("function"), dict):
        return {**{name: value for name, value in tool.items() if name != "function"}, **tool["function"]}
    return tool


def _split(messages: Iterable[ChatMessage]) -> tuple[str, list[ChatMessage]]:
    """The text of the system messages at the beginning, and the messages behind them."""
    rest = list(messages)
    system: list[str] = []
    while rest and rest[0].role == "system":
        system.append(rest.pop(0).content)
    return "\n\n".join(system), rest


def _items(message: ChatMessage) -> Iterator[dict[str, Any]]:
    """The input items of one message, in the order in which the model gave them."""
    if message.role == "tool":
        yield {"type": "function_call_output", "call_id": message.tool_call_id, "output": message.content}
        return
    calls = [item for call in message.tool_calls for item in (*_reasoning(call), _call(call))]
    content = [_part(part) for part in message.parts] if message.files else message.text
    text = [{"role": message.role, "content": content}] if content or not calls else []
    if message.tool_calls and not _kept(message.tool_calls[0]).get("behind_text"):
        before = len(_reasoning(message.tool_calls[0]))
        yield from (*calls[:before], *text, *calls[before:])
    else:
        yield from (*text, *calls)


def _part(part: Part) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "input_text", "text": part}
    if part.is_image:
        return {"type": "input_image", "image_url": part.data_url, "detail": part.detail}
    return {"type": "input_file", "filename": part.filename, "file_data": part.data_url}


def _call(call: ToolCall) -> dict[str, Any]:
    return {"type": "function_call", "call_id": call.call_id, "name": call.name, "arguments": call.arguments}


def _reasoning(call: ToolCall) -> list[dict[str, Any]]:
    """The reasoning items that an OpenAI upstream gave before a call, unchanged."""
    return [item for item in _list(_kept(call).get("reasoning")) if isinstance(item, dict)]


def _kept(call: ToolCall) -> dict[str, Any]:
    return _object(_object(call.extra).get(EXTRA))


def _text_format(wanted: AnswerFormat | None) -> dict[str, Any]:
    if wanted is None:
        return {}
    if wanted.schema is None:
        return {"format": {"type": "json_object"}}
    fields = {"type": "json_schema", "name": wanted.name, "schema": wanted.schema, "strict": wanted.strict}
    if wanted.description is not None:
        fields["description"] = wanted.description
    return {"format": fields}


def _object(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else []
