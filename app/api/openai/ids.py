"""Our ids as OpenAI writes them: a prefix and the digits. Pure functions both ways, so nothing has to be stored."""

from __future__ import annotations

import re
from typing import NamedTuple

from app.domain.errors import NotFound

_ID = re.compile(r"([a-z]+)_([0-9a-f]{8})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{12})")
_ITEM = re.compile(r"(msg|rs|fc|fco)_([0-9a-f]{32})([0-9a-f]{3,5})")

# By the type of an item.
PREFIXES = {"message": "msg", "reasoning": "rs", "function_call": "fc", "function_call_output": "fco"}


class ItemId(NamedTuple):
    """The message an item is part of, and its place in it."""

    message_id: str
    place: int


def response(generation_id: str) -> str:
    """resp_…"""
    return f"resp_{generation_id.replace('-', '')}"


def conversation(conversation_id: str) -> str:
    """conv_…"""
    return f"conv_{conversation_id.replace('-', '')}"


def completion(generation_id: str) -> str:
    """chatcmpl-…"""
    return f"chatcmpl-{generation_id.replace('-', '')}"


def item(kind: str, message_id: str, index: int) -> str:
    """The id of item ``index`` of a message, with the prefix of its type."""
    return f"{PREFIXES[kind]}_{message_id.replace('-', '')}{index:03x}"


def generation_of(response_id: str) -> str:
    """Our id behind resp_…. Raises NotFound for what cannot be one."""
    return _ours("resp", response_id)


def conversation_of(conversation_id: str) -> str:
    """Our id behind conv_…. Raises NotFound for what cannot be one."""
    return _ours("conv", conversation_id)


def item_of(item_id: str) -> ItemId:
    """The message and the place behind an item's id. Raises NotFound for what cannot be one."""
    match = _ITEM.fullmatch(item_id)
    if match is None:
        raise NotFound
    return ItemId(_dashed(match[2]), int(match[3], 16))


def second_of(our_id: str) -> int:
    """When a UUIDv7 was made, in seconds since 1970."""
    return int(our_id.replace("-", "")[:12], 16) // 1000


def _ours(prefix: str, text: str) -> str:
    match = _ID.fullmatch(text)
    if match is None or match[1] != prefix:
        raise NotFound
    return "-".join(match.groups()[1:])


def _dashed(digits: str) -> str:
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
