"""Our ids in the form of OpenAI: a prefix and the digits. Pure functions both ways, so no id is stored twice."""

from __future__ import annotations

import re
from typing import NamedTuple

from app.domain.errors import NotFound
from app.domain.webhook_event import response_id

_ID = re.compile(r"([a-z]+)_([0-9a-f]{8})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{12})")
_ITEM = re.compile(r"(msg|rs|fc|fco)_([0-9a-f]{32})([0-9a-f]{3,5})")

# Type of an item → prefix of its id.
PREFIXES = {"message": "msg", "reasoning": "rs", "function_call": "fc", "function_call_output": "fco"}


class ItemId(NamedTuple):
    """The id of an item, taken apart: its message, and its index in that message."""

    message_id: str
    place: int


def response(generation_id: str) -> str:
    """The id of a response: resp_…"""
    return response_id(generation_id)


def conversation(conversation_id: str) -> str:
    """The id of a conversation: conv_…"""
    return f"conv_{conversation_id.replace('-', '')}"


def completion(generation_id: str) -> str:
    """The id of a chat completion: chatcmpl-…"""
    return f"chatcmpl-{generation_id.replace('-', '')}"


def webhook_endpoint(endpoint_id: str) -> str:
    """The id of a webhook endpoint: we_…"""
    return f"we_{endpoint_id.replace('-', '')}"


def item(kind: str, message_id: str, index: int) -> str:
    """The id of item ``index`` of a message, with the prefix of its type."""
    return f"{PREFIXES[kind]}_{message_id.replace('-', '')}{index:03x}"


def generation_of(response_id: str) -> str:
    """The generation id in a response id. Raises NotFound for a malformed id."""
    return _ours("resp", response_id)


def conversation_of(conversation_id: str) -> str:
    """The conversation id in an id of this protocol. Raises NotFound for a malformed id."""
    return _ours("conv", conversation_id)


def webhook_endpoint_of(endpoint_id: str) -> str:
    """The endpoint's id in an id of this protocol. Raises NotFound for a malformed id."""
    return _ours("we", endpoint_id)


def item_of(item_id: str) -> ItemId:
    """The message and the index in an item id. Raises NotFound for a malformed id."""
    match = _ITEM.fullmatch(item_id)
    if match is None:
        raise NotFound
    return ItemId(_dashed(match[2]), int(match[3], 16))


def second_of(our_id: str) -> int:
    """The time of a UUIDv7 in seconds since 1970."""
    return int(our_id.replace("-", "")[:12], 16) // 1000


def _ours(prefix: str, text: str) -> str:
    match = _ID.fullmatch(text)
    if match is None or match[1] != prefix:
        raise NotFound
    return "-".join(match.groups()[1:])


def _dashed(digits: str) -> str:
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
