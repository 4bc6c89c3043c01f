"""The JSON export of a conversation in LibreChat: messages in a list, or each with its followers as ``children``."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from app.domain.other_exports.message_tree import (
    MISSING_FILE,
    MISSING_IMAGE,
    KeptConversation,
    Node,
    UnreadableExport,
    dict_in,
    dicts_in,
    line_of,
    moment,
    ordered,
    text_of,
)

LONGEST_PROMPT = 8000


def read(value: dict[str, Any]) -> KeptConversation:
    """The conversation. Raises UnreadableExport."""
    messages = value.get("messagesTree") or value.get("messages")
    if not isinstance(messages, list):
        raise UnreadableExport("It has no messages (messages, messagesTree).")
    nodes: dict[str, Node] = {}
    for number, (message, parent) in enumerate(_walk(messages)):
        nodes.setdefault(_id(message) or f"message {number}", _node(message, parent))
    begun = min((at for node in nodes.values() if (at := moment(node.at))), default=datetime.now(UTC))
    kept = ordered(nodes, next(reversed(nodes), None), begun)
    if not kept:
        raise UnreadableExport("It has no message with text.")
    prompt = text_of(dict_in(value, "options").get("promptPrefix"))
    return KeptConversation(
        source="librechat",
        id=line_of(value.get("conversationId"), 100) or "",
        title=line_of(value.get("title")),
        created_at=begun,
        messages=kept,
        system_prompt=prompt if 0 < len(prompt) <= LONGEST_PROMPT else None,
    )


def _walk(messages: list[Any]) -> Iterator[tuple[dict[str, Any], str | None]]:
    """Each message with the id of the one it follows: as the message names it, the tree has it, or the list's order."""
    named = any("parentMessageId" in one for one in dicts_in(messages))
    waiting: list[tuple[dict[str, Any], str | None]] = []
    before: str | None = None
    for one in dicts_in(messages):
        waiting.append((one, None if named else before))
        before = _id(one)
    waiting.reverse()
    while waiting:
        message, parent = waiting.pop()
        yield message, parent or _id(message, "parentMessageId")
        children = list(dicts_in(message.get("children")))
        waiting += [(child, _id(message)) for child in reversed(children)]


def _id(message: dict[str, Any], name: str = "messageId") -> str | None:
    found = message.get(name)
    return found if isinstance(found, str) and found else None


def _node(message: dict[str, Any], parent: str | None) -> Node:
    if message.get("error") is True:
        # Its text is the error.
        return Node(parent)
    by_user = message.get("isCreatedByUser")
    user = by_user if isinstance(by_user, bool) else str(message.get("sender")).lower() == "user"
    parts = [*_parts(message.get("content"))]
    text = text_of(message.get("text")) or "\n\n".join(said for kind, said in parts if kind == "text" and said)
    text = "\n\n".join(filter(None, [text, *(MISSING_FILE for _ in dicts_in(message.get("files")))]))
    at = _seconds(message.get("createdAt"))
    if user:
        return Node(parent, "user", text, at=at)
    thoughts = "\n\n".join(said for kind, said in parts if kind == "think" and said)
    return Node(parent, "assistant", text, thoughts, line_of(message.get("model")), at)


def _parts(content: Any) -> Iterator[tuple[str, str]]:
    """Kind and text of each part of a message; a text is stored as it is, or under ``value``."""
    for part in dicts_in(content):
        match part.get("type"):
            case "text" | "think" as kind:
                said = part.get(kind)
                yield kind, text_of(said.get("value") if isinstance(said, dict) else said)
            case "image_file" | "image_url":
                yield "text", MISSING_IMAGE


def _seconds(value: Any) -> float | None:
    if not isinstance(value, str):
        return None
    try:
        at = datetime.fromisoformat(value)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
