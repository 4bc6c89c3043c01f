"""A prompt as the JSON body of a chat completions request. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from app.domain.answer_format import wire
from worker.providers.base import ChatMessage, Prompt, ToolCall
from worker.providers.parts import Part

# The service sets these itself. With `n` the upstream would charge for answers that nobody reads.
_RESERVED = frozenset({"model", "messages", "stream", "stream_options", "n"})

CONTINUE_INSTRUCTION = (
    "Your answer above was cut off. Continue it exactly from where it stops, as if there had been no break: begin with "
    "the very next character, even in the middle of a word, a table or a code block. Repeat nothing of it, and do not "
    "mention the interruption."
)
REASONING_FIELD = "reasoning_content"
CONTINUATIONS = frozenset({"prefill", "vllm", "instruction", "none"})


def request_body(
    prompt: Prompt,
    *,
    continuation: str = "instruction",
    include_usage: bool = True,
    reasoning_field: str = REASONING_FIELD,
) -> dict[str, Any]:
    """The JSON object to post. ``continuation`` is the form of a prefix; OpenAICompatible describes each.

    ``reasoning_field`` is the name under which the upstream receives the reasoning of earlier messages; empty for an
    upstream that refuses it.
    """
    body: dict[str, Any] = {
        name: value for name, value in prompt.parameters.items() if name not in _RESERVED and value is not None
    }
    body["model"] = prompt.model
    body["messages"] = _messages(prompt.messages, reasoning_field)
    body["stream"] = True
    if prompt.answer_format is not None and not prompt.prefix:
        # An upstream would make the rest of a text a whole JSON value.
        body["response_format"] = wire(prompt.answer_format)
    if include_usage:
        body["stream_options"] = {"include_usage": True}
    if prompt.prefix:
        body["messages"].append({"role": "assistant", "content": prompt.prefix})
        if continuation == "vllm":
            body |= {"continue_final_message": True, "add_generation_prompt": False}
        elif continuation == "instruction":
            body["messages"].append({"role": "user", "content": CONTINUE_INSTRUCTION})
    return body


def _messages(messages: Sequence[ChatMessage], reasoning_field: str) -> list[dict[str, Any]]:
    """The messages as JSON objects.

    An upstream that wants reasoning back wants the field in each message with tool calls, also where it is empty.
    """
    shown = [_message(message) for message in messages]
    if reasoning_field and any(message.reasoning for message in messages):
        for message, fields in zip(messages, shown, strict=True):
            if message.reasoning or message.tool_calls:
                fields[reasoning_field] = message.reasoning
    return shown


def _message(message: ChatMessage) -> dict[str, Any]:
    content = [_part(part) for part in message.parts] if message.files else message.text
    fields: dict[str, Any] = {"role": message.role, "content": content}
    if message.tool_calls:
        fields["tool_calls"] = [_call(call) for call in message.tool_calls]
    if message.name is not None:
        fields["name"] = message.name
    if message.tool_call_id is not None:
        fields["tool_call_id"] = message.tool_call_id
    return fields


def _part(part: Part) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    if part.is_image:
        # Servers beside OpenAI's know the address only; `auto` is the default.
        detail = {} if part.detail == "auto" else {"detail": part.detail}
        return {"type": "image_url", "image_url": {"url": part.data_url, **detail}}
    return {"type": "file", "file": {"filename": part.filename, "file_data": part.data_url}}


def _call(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments}
    fields: dict[str, Any] = {"id": call.call_id, "type": "function", "function": function}
    extra = (call.extra or {}).get("extra_content")
    return fields if extra is None else {**fields, "extra_content": extra}
