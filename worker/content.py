"""Messages in spans, for operators that have chosen to record them. Pure.

The form is that of `gen_ai.input.messages` and `gen_ai.output.messages` in the conventions for generative AI.
"""

from __future__ import annotations

from typing import Any

import orjson

from app.telemetry import names
from app.telemetry.spans import Attributes
from worker.providers.base import ChatMessage, Prompt

# The longest content of one attribute. Of a longer conversation the newest messages are recorded.
MOST_CHARS = 65_536


def prompt_content(prompt: Prompt) -> Attributes:
    """The newest messages of a prompt that fit."""
    kept: list[bytes] = []
    left = MOST_CHARS
    for message in reversed(prompt.messages):
        encoded = orjson.dumps(_message(message))
        left -= len(encoded)
        if left < 0:
            break
        kept.append(encoded)
    return {
        names.INPUT_MESSAGES: "[" + b",".join(reversed(kept)).decode() + "]",
        names.OMITTED: len(prompt.messages) - len(kept),
    }


def answer_content(text: str, finish_reason: str) -> Attributes:
    """The text of an answer, cut at the longest."""
    parts = [{"type": "text", "content": text[:MOST_CHARS]}]
    whole = [{"role": "assistant", "parts": parts, "finish_reason": finish_reason}]
    return {names.OUTPUT_MESSAGES: orjson.dumps(whole).decode()}


def tool_content(arguments: str | None, result: str | None) -> Attributes:
    """The arguments and the result of a tool call, each cut at the longest."""
    return {
        names.TOOL_CALL_ARGUMENTS: (arguments or "")[:MOST_CHARS],
        names.TOOL_CALL_RESULT: (result or "")[:MOST_CHARS],
    }


def _message(message: ChatMessage) -> dict[str, Any]:
    parts: list[dict[str, Any]] = []
    if message.tool_call_id is not None:
        parts.append({"type": "tool_call_response", "id": message.tool_call_id, "response": message.content})
    elif message.content:
        parts.append({"type": "text", "content": message.content})
    for call in message.tool_calls:
        parts.append({"type": "tool_call", "id": call.call_id, "name": call.name, "arguments": call.arguments})
    return {"role": message.role, "parts": parts}
