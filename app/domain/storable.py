"""Checks of texts and values from outside: PostgreSQL can store them, and UTF-8 can encode them."""

from __future__ import annotations

from math import isfinite
from typing import Any

# As deep as a schema of a tool may reasonably be; far from what encoders and stacks can hold.
DEEPEST = 60
_LARGEST = 2**63 - 1


def storable(text: str) -> str:
    """Raise ValueError for NUL, which PostgreSQL refuses, and for half surrogate pairs, which UTF-8 cannot encode."""
    if "\0" in text:
        raise ValueError("must not contain the character NUL")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must not contain half of a surrogate pair") from None
    return text


def sound(value: Any) -> None:
    """Raise ValueError for a value with NUL, half surrogate pairs, too large numbers, or too deep a nesting."""
    level: list[Any] = [value]
    for _ in range(DEEPEST):
        level = [part for one in level for part in _parts(one)]
        if not level:
            return
    raise ValueError("must not be nested so deeply")


def characters(value: Any) -> int:
    """The number of characters of all texts in a value, names included."""
    count = 0
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, str):
            count += len(one)
        elif isinstance(one, dict):
            left += one.keys()
            left += one.values()
        elif isinstance(one, list):
            left += one
    return count


def _parts(value: Any) -> list[Any]:
    match value:
        case str():
            storable(value)
        case bool():
            pass
        case int() if abs(value) > _LARGEST:
            raise ValueError("must not contain numbers beyond 64 bits")
        case float() if not isfinite(value):
            raise ValueError("must not contain numbers that are not finite")
        case dict():
            return [*value.keys(), *value.values()]
        case list():
            return value
    return []
