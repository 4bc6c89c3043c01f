"""A conversation's turns as the messages a provider is sent. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from app.services.history import Turn
from worker.providers.base import ChatMessage, ToolCall

# Few upstreams know a developer; to them it is the system that speaks.
_ROLES = {"developer": "system"}


def chat_messages(turns: Sequence[Turn], system: Iterable[str | None] = ()) -> tuple[ChatMessage, ...]:
    """The turns as messages, behind what ``system`` says first.

    A tool call nobody has answered is left out: upstreams refuse a conversation with one in it.
    """
    answered = {item["call_id"] for turn in turns for item in _items(turn) if _is(item, "function_call_output")}
    said = [message for turn in turns for message in _messages(turn, answered)]
    return (*(ChatMessage("system", text) for text in system if text), *said)


def _messages(turn: Turn, answered: set[str]) -> Iterator[ChatMessage]:
    """The messages of one turn. Calls belong to the text of the assistant they follow."""
    if turn.items is None:
        yield ChatMessage(turn.role, turn.content)
        return
    text, calls = "", list[ToolCall]()
    for item in _items(turn):
        if _is(item, "function_call"):
            if item["call_id"] in answered:
                calls.append(ToolCall(item["call_id"], item["name"], item["arguments"]))
            continue
        if _is(item, "message") and item["role"] == "assistant" and not calls:
            text += _text(item["content"])
            continue
        yield from _assistant(text, calls)
        text, calls = "", []
        if _is(item, "function_call_output"):
            yield ChatMessage("tool", _text(item["output"]), tool_call_id=item["call_id"])
        elif item["role"] == "assistant":
            text = _text(item["content"])
        else:
            yield ChatMessage(_ROLES.get(item["role"], item["role"]), _text(item["content"]))
    yield from _assistant(text, calls)


def _items(turn: Turn) -> list[dict[str, Any]]:
    """What it consists of, without what was taken out and what the model only thought."""
    return [item for item in turn.items or () if item and not _is(item, "reasoning")]


def _assistant(text: str, calls: list[ToolCall]) -> Iterator[ChatMessage]:
    if text or calls:
        yield ChatMessage("assistant", text, tuple(calls))


def _is(item: dict[str, Any], kind: str) -> bool:
    return bool(item.get("type", "message") == kind)


def _text(content: str | list[dict[str, Any]]) -> str:
    """The text of a message or of a tool's output, whichever way it is stored."""
    if isinstance(content, str):
        return content
    return "".join(part.get("text") or part.get("refusal") or "" for part in content)
