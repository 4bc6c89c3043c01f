"""What can be kept and sent on, whoever says it."""

from __future__ import annotations

from math import isfinite
from typing import Any

# As deep as a schema of a tool may reasonably be; far from what encoders and stacks can hold.
DEEPEST = 60
_LARGEST = 2**63 - 1


def storable(text: str) -> str:
    """Refuse what PostgreSQL cannot keep and UTF-8 cannot say: NUL, and halves of surrogate pairs."""
    if "\0" in text:
        raise ValueError("must not contain the character NUL")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must not contain half of a surrogate pair") from None
    return text


def sound(value: Any) -> None:
    """Raise ValueError for what cannot be stored or sent on: NUL, half surrogates, numbers too large, depths."""
    level: list[Any] = [value]
    for _ in range(DEEPEST):
        level = [part for one in level for part in _parts(one)]
        if not level:
            return
    raise ValueError("must not be nested so deeply")


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
