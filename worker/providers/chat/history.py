"""The messages of any history in the one form that every upstream takes, the strictest chat template included. Pure.

The law of the form:
- At most one system message, and it is the first: all instructions, also those of developers, joined by blank lines.
- Then a user, and the roles alternate. Messages of one side that follow each other are joined by a blank line; messages
  of users with different names stay apart. Blank messages do not exist.
- Each call of a tool has its output directly behind its message, in the order of the calls, and each output its call.
  An id names one call; arguments are a JSON object; a function's name is one that the request offers, or a valid one.
- A tool's output is followed by the assistant. The last message is a user's or a tool's; the assistant's own text may
  be the last one where the client sent it as the last one, for an upstream that continues it.
- Where a role is missing, a message with an ellipsis takes its place.

The form of a form is itself, and equal histories have equal forms: an upstream's cache of prompts finds the prefix.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace

import orjson

from worker.providers.base import ChatMessage, ToolCall

# The text of a message that only keeps the roles in order.
PLACEHOLDER = "…"
_BLANK_LINE = "\n\n"
_INSTRUCTIONS = ("system", "developer")
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_NO_NAME = "unknown"
_NO_ID = "call"

# The number of a message, and the number of a call in it.
_Key = tuple[int, int]


def normal(messages: Sequence[ChatMessage], offered: Collection[str] = ()) -> tuple[ChatMessage, ...]:
    """The messages in the form; ``offered`` are the names of the functions that the request offers."""
    instructions = [m.content for m in messages if m.role in _INSTRUCTIONS and m.content.strip()]
    spoken = [m for m in messages if m.role not in _INSTRUCTIONS]
    continues = bool(messages) and messages[-1].role == "assistant" and bool(messages[-1].content.strip())
    ordered = _alternating(_joined(_complete(spoken, _Ids(), offered)), continues=continues)
    system = [ChatMessage("system", _BLANK_LINE.join(instructions))] if instructions else []
    return (*system, *ordered)


class _Ids:
    """Gives ids to calls: each its own id, unless an earlier call has it."""

    def __init__(self) -> None:
        self._given: set[str] = set()

    def give(self, wanted: str) -> str:
        """The id of a call whose upstream named it so."""
        base = given = (wanted.strip() and wanted) or _NO_ID
        number = 1
        while given in self._given:
            number += 1
            given = f"{base}-{number}"
        self._given.add(given)
        return given


def _complete(spoken: Sequence[ChatMessage], ids: _Ids, offered: Collection[str]) -> Iterator[ChatMessage]:
    """The messages with text or answered calls, each call's output behind it."""
    outputs = _outputs(spoken)
    for n, message in enumerate(spoken):
        if message.role == "tool":
            continue
        answered = [m for m in range(len(message.tool_calls)) if (n, m) in outputs]
        calls = [_sound(message.tool_calls[m], ids, offered) for m in answered]
        if not calls and message.is_blank:
            continue
        content = message.content if message.content.strip() else ""
        yield replace(message, content=content, tool_calls=tuple(calls), tool_call_id=None)
        for m, call in zip(answered, calls, strict=True):
            yield ChatMessage("tool", outputs[n, m], tool_call_id=call.call_id)


def _outputs(spoken: Sequence[ChatMessage]) -> dict[_Key, str]:
    """The output of each call that has one. An output belongs to the newest call that lacks one: ids are reused."""
    lacking: dict[str | None, list[_Key]] = {}
    outputs: dict[_Key, str] = {}
    for n, message in enumerate(spoken):
        if message.role == "tool":
            if keys := lacking.get(message.tool_call_id):
                newest = max(number for number, _ in keys)
                key = min(key for key in keys if key[0] == newest)
                keys.remove(key)
                outputs[key] = message.content
            continue
        for m, call in enumerate(message.tool_calls):
            lacking.setdefault(call.call_id, []).append((n, m))
    return outputs


def _sound(call: ToolCall, ids: _Ids, offered: Collection[str]) -> ToolCall:
    name = call.name
    if name not in offered and not _NAME.fullmatch(name):
        name = re.sub(r"[^a-zA-Z0-9_-]", "_", name)[:64] or _NO_NAME
    return replace(call, call_id=ids.give(call.call_id), name=name, arguments=readable(call.arguments))


def readable(arguments: str) -> str:
    """Arguments as a JSON object; those of another form are its only value, as text."""
    if not arguments.strip():
        return "{}"
    try:
        if isinstance(orjson.loads(arguments), dict):
            return arguments
    except ValueError:
        pass
    return orjson.dumps({"invalid_arguments": arguments}).decode()


def _joined(messages: Iterable[ChatMessage]) -> Iterator[ChatMessage]:
    """The messages; those of one side that follow each other are one."""
    held: ChatMessage | None = None
    for message in messages:
        if held is not None and _is_one(held, message):
            held = _together(held, message)
            continue
        if held is not None:
            yield held
        held = message
    if held is not None:
        yield held


def _is_one(first: ChatMessage, second: ChatMessage) -> bool:
    if first.role != second.role or first.tool_calls:
        return False
    return first.role == "assistant" or (first.role == "user" and first.name == second.name)


def _together(first: ChatMessage, second: ChatMessage) -> ChatMessage:
    content = _BLANK_LINE.join(text for text in (first.content, second.content) if text)
    reasoning = _BLANK_LINE.join(text for text in (first.reasoning, second.reasoning) if text)
    name = first.name if first.name == second.name else None
    parts = (*first.all_parts, *second.all_parts) if first.parts or second.parts else ()
    return replace(second, content=content, reasoning=reasoning, name=name, parts=parts)


def _alternating(messages: Iterable[ChatMessage], *, continues: bool) -> Iterator[ChatMessage]:
    """The messages with placeholders where a role is missing; ``continues``: the assistant's text may be the last."""
    last = "system"
    for message in messages:
        if last == "tool" and message.role == "user":
            yield ChatMessage("assistant", PLACEHOLDER)
        elif last == "system" and message.role == "assistant":
            yield ChatMessage("user", PLACEHOLDER)
        yield message
        last = message.role
    if last == "system" or (last == "assistant" and not continues):
        yield ChatMessage("user", PLACEHOLDER)
