"""A conversation of ``conversations.json`` in ChatGPT's data export: a tree of nodes under ``mapping``."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from app.domain.other_exports.message_tree import (
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

# Marks of citations, which ChatGPT's page replaces by links; the export has no links for them.
_CITATIONS = re.compile(r"\ue200[^\ue200\ue201]*\ue201|【\d+†[^】]{0,200}】")
_IMAGES = frozenset({"image_asset_pointer"})


def read(value: dict[str, Any]) -> KeptConversation:
    """The conversation. Raises UnreadableExport."""
    mapping = value.get("mapping")
    if not isinstance(mapping, dict):
        raise UnreadableExport("It has no messages (mapping).")
    nodes = {id_: _node(entry) for id_, entry in mapping.items() if isinstance(entry, dict)}
    begun = moment(value.get("create_time")) or datetime.now(UTC)
    newest = value.get("current_node")
    messages = ordered(nodes, newest if isinstance(newest, str) else None, begun)
    if not messages:
        raise UnreadableExport("It has no message with text.")
    return KeptConversation(
        source="chatgpt",
        id=line_of(value.get("conversation_id") or value.get("id"), 100) or "",
        title=line_of(value.get("title")),
        created_at=min(begun, messages[0].created_at),
        messages=messages,
        archived=value.get("is_archived") is True,
        pinned=value.get("is_starred") is True,
    )


def _node(entry: dict[str, Any]) -> Node:
    parent = entry.get("parent")
    parent = parent if isinstance(parent, str) else None
    message = dict_in(entry, "message")
    metadata, content = dict_in(message, "metadata"), dict_in(message, "content")
    at, role = message.get("create_time"), dict_in(message, "author").get("role")
    if metadata.get("is_visually_hidden_from_conversation") is True:
        return Node(parent)
    if role == "user":
        return Node(parent, "user", _text(content), at=at)
    if role == "assistant" and content.get("content_type") == "thoughts":
        return Node(parent, reasoning=_thoughts(content))
    # A message to another recipient is a call of a tool.
    if role == "assistant" and message.get("recipient", "all") in ("all", None):
        text = _CITATIONS.sub("", _text(content))
        return Node(parent, "assistant", text, model=line_of(metadata.get("model_slug")), at=at)
    if role == "tool" and MISSING_IMAGE in (text := _text(content, images_only=True)):
        return Node(parent, "assistant", text, at=at)
    return Node(parent)


def _text(content: dict[str, Any], *, images_only: bool = False) -> str:
    """The text of a message. Files leave a note in their place."""
    match content.get("content_type"):
        case "text" | "multimodal_text":
            parts = content.get("parts")
            found = [_part(part, images_only) for part in parts] if isinstance(parts, list) else []
            return "\n\n".join(filter(None, found))
        case "code" if not images_only:
            language = line_of(content.get("language"), 40) or ""
            return f"```{'' if language == 'unknown' else language}\n{text_of(content.get('text'))}\n```"
    return ""


def _part(part: Any, images_only: bool) -> str:
    if isinstance(part, dict):
        if part.get("content_type") in _IMAGES:
            return MISSING_IMAGE
        # Such as the transcription of something said.
        part = part.get("text")
    return "" if images_only else text_of(part)


def _thoughts(content: dict[str, Any]) -> str:
    found = (text_of(one.get("content")) or text_of(one.get("summary")) for one in dicts_in(content.get("thoughts")))
    return "\n\n".join(filter(None, found))
