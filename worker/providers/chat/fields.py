"""The fields of a chunk in the forms that upstreams give them. Pure."""

from __future__ import annotations

import json
from typing import Any

REPLACEMENT = "\ufffd"
# Lists and objects around a text.
MOST_DEPTH = 16


def is_chunk(body: Any) -> bool:
    """True for an object with choices."""
    return isinstance(body, dict) and isinstance(body.get("choices"), list)


def reasoning_in(delta: dict[str, Any]) -> str:
    """The reasoning of a delta. Where the same text comes under several names, one of them counts."""
    for name in ("reasoning_content", "reasoning", "reasoning_details"):
        if text := text_in(delta.get(name)):
            return text
    return ""


def text_in(value: Any, depth: int = MOST_DEPTH) -> str:
    """The text of a string, of an object with text in it, or of a list of both. Raises ValueError beyond ``depth``."""
    if isinstance(value, str):
        return value
    if not depth:
        raise ValueError("too deep")
    if isinstance(value, list):
        return "".join(text_in(one, depth - 1) for one in value)
    if isinstance(value, dict):
        found = (value.get(name) for name in ("text", "summary", "content", "thinking"))
        return next((text_in(text, depth - 1) for text in found if text), "")
    return ""


def loads_leniently(data: bytes) -> Any:
    """For what orjson rightly refuses: broken UTF-8 and halves of surrogate pairs. None when it is not JSON at all."""
    try:
        return json.loads(data.decode("utf-8", "replace"), strict=False)
    except (ValueError, RecursionError):
        return None


def join_surrogates(text: str) -> str:
    """The text with its split pairs joined, and the replacement character for each lone half."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def whole(text: str | None) -> str | None:
    """A name or an id as every store takes it."""
    return None if text is None else join_surrogates(text.replace("\0", REPLACEMENT))
