"""The turns of a conversation as the messages of a request to a provider. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from app.domain import message_files
from app.domain.call_extra import from_wire
from app.services.history import Turn
from worker.providers.base import ChatMessage, ToolCall
from worker.providers.parts import FilePart, Part


def chat_messages(turns: Sequence[Turn], system: Iterable[str | None] = ()) -> tuple[ChatMessage, ...]:
    """The turns as they were said, behind the texts of ``system``; ``providers.chat.history`` brings them into form."""
    instructions = (ChatMessage("system", text) for text in system if text)
    return (*instructions, *(message for turn in turns for message in _messages(turn)))


def _messages(turn: Turn) -> Iterator[ChatMessage]:
    """The messages of one turn. Calls belong to the text and the reasoning of the assistant that they follow."""
    if turn.items is None:
        yield ChatMessage(turn.role, turn.content)
        return
    held: ChatMessage | None = None
    was_text = False
    for item in turn.items:
        # The texts of an answer around its reasoning, or around an item that was removed, are one text.
        joint = "\n\n" if was_text else ""
        was_text = bool(item) and _is_said(item)
        part = _part(item) if item else None
        if part is None:
            continue
        if held is not None and part.role == "assistant" and (part.tool_calls or not held.tool_calls):
            held = _longer(held, part, joint)
            continue
        if held is not None:
            yield held
        held = part if part.role == "assistant" else None
        if held is None:
            yield part
    if held is not None:
        yield held


def _longer(held: ChatMessage, part: ChatMessage, joint: str) -> ChatMessage:
    return ChatMessage(
        "assistant",
        held.content + (joint if held.content and part.content else "") + part.content,
        held.tool_calls + part.tool_calls,
        reasoning=held.reasoning + part.reasoning,
        name=held.name or part.name,
    )


def _part(item: dict[str, Any]) -> ChatMessage | None:
    """An item as a message of its own; None for an item that no provider receives."""
    match item.get("type", "message"):
        case "message":
            content = item["content"]
            return ChatMessage(item["role"], _text(content), name=item.get("name"), parts=_parts(content))
        case "reasoning":
            return ChatMessage("assistant", "", reasoning=_text(item["content"]))
        case "function_call":
            extra = from_wire(item.get("extra_content"))
            call = ToolCall(item["call_id"], item["name"], item["arguments"], extra)
            return ChatMessage("assistant", "", (call,))
        case "function_call_output":
            return ChatMessage("tool", _text(item["output"]), tool_call_id=item["call_id"])
    return None


def _is_said(item: dict[str, Any]) -> bool:
    return bool(item.get("type", "message") == "message" and item["role"] == "assistant")


def _text(content: str | list[dict[str, Any]] | None) -> str:
    """The text of a message or of a tool's output, stored as text or as parts."""
    if isinstance(content, str):
        return content
    return "".join(part.get("text") or part.get("refusal") or "" for part in content or ())


def _parts(content: str | list[dict[str, Any]] | None) -> tuple[Part, ...]:
    """The texts and files of a message with files; none for a message of text only."""
    if not isinstance(content, list) or not any(map(message_files.is_file, content)):
        return ()
    parts = [_file(part) if message_files.is_file(part) else part.get("text") for part in content]
    return tuple(part for part in parts if part)


def _file(part: dict[str, Any]) -> FilePart:
    return FilePart(
        file_id=part.get("file_id") or "",
        filename=part.get("filename") or "file",
        media_type=part.get("media_type") or "application/octet-stream",
        size=part.get("bytes") or 0,
        detail=part.get("detail") or "auto",
    )
