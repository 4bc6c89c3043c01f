"""JSON of an upstream as text that every store and every encoder takes. Pure."""

from __future__ import annotations

import json
from typing import Any

import orjson

_REPLACED = "\ufffd"
# Lists and objects inside each other: fewer than JSON is written with.
MOST_DEPTH = 200


class JsonText:
    """Reads the JSON of one answer. Halves of surrogate pairs that come one after the other are joined."""

    __slots__ = ("_held", "_is_lenient")

    def __init__(self) -> None:
        self._is_lenient = False
        self._held: dict[str, str] = {}

    def loads(self, data: bytes) -> Any:
        """The value. Raises ValueError for what is no JSON.

        What orjson rightly refuses is read nevertheless: broken UTF-8, and halves of surrogate pairs.
        """
        try:
            self._is_lenient = False
            return orjson.loads(data)
        except orjson.JSONDecodeError:
            self._is_lenient = True
        try:
            return json.loads(data.decode("utf-8", "replace"), strict=False)
        except RecursionError as error:
            raise ValueError("too deep") from error

    def clean(self, channel: str, text: str) -> str:
        """The text without NUL and without lone surrogates. ``channel`` names what the text continues."""
        if "\0" in text:
            text = text.replace("\0", _REPLACED)
        if not (self._is_lenient or self._held):
            return text
        text = self._held.pop(channel, "") + text
        if text and "\ud800" <= text[-1] <= "\udbff":
            self._held[channel] = text[-1]
            text = text[:-1]
        return joined(text)

    def left(self, channel: str) -> str:
        """The replacement of the half pair that a channel ends with; empty when there is none."""
        return _REPLACED if self._held.pop(channel, "") else ""


def joined(text: str) -> str:
    """The text with its surrogate pairs joined and lone surrogates replaced."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def clean_value(value: Any, depth: int = MOST_DEPTH) -> Any:
    """A JSON value in which each string can be stored. Raises ValueError beyond ``depth``."""
    if not depth:
        raise ValueError("too deep")
    if isinstance(value, str):
        return joined(value.replace("\0", _REPLACED))
    if isinstance(value, list):
        return [clean_value(item, depth - 1) for item in value]
    if isinstance(value, dict):
        return {clean_value(key): clean_value(item, depth - 1) for key, item in value.items()}
    return value
