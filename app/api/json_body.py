"""JSON as it arrives: parsed within bounds, and refused where two readers could understand two things."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from math import isfinite
from typing import Any, NoReturn

import orjson

from app.domain.errors import MalformedInput

# A text, whole or up to the end of the body; or a sign before a value. Nothing in it can be tried twice.
_TOKENS = re.compile(rb'"(?>[^"\\]+|\\.)*+"?|[,\[{]', re.DOTALL)
_QUOTE = 34
# Strings that JSON has without a sign before the next one: a name and its value.
MOST_STRINGS = 2
LARGE_BYTES = 1_048_576
_SEPARATORS = (b",", b"[", b"{")


def parse(data: bytes, subject: str = "The body") -> Any:
    """The value of a body, or of the part of one that ``subject`` names. Raises MalformedInput."""
    try:
        return json.loads(
            data.decode(), parse_constant=_refuse_constant, parse_float=_finite, object_pairs_hook=_without_repeats
        )
    except RecursionError:
        raise MalformedInput(f"{subject} is nested too deeply.") from None
    except ValueError as error:
        raise _not_json(error, subject) from None


def parse_large(data: bytes, subject: str) -> Any:
    """The value of a part that may have many megabytes. Raises MalformedInput.

    Above LARGE_BYTES no copy of the part is made as text, and a field given twice counts once, the last one.
    """
    if len(data) <= LARGE_BYTES:
        return parse(data, subject)
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise _not_json(error, subject) from None


def check_count(data: bytes, most: int, variable: str) -> None:
    """Refuse a body of too many values before anything is made of them. Raises MalformedInput."""
    if len(data) <= most or _separators(data) <= most:
        # Each value but the first has a sign before it.
        return
    count = strings = 0
    for token in _TOKENS.finditer(data):
        if data[token.start()] == _QUOTE:
            strings += 1
            if strings > MOST_STRINGS:
                raise MalformedInput("The body is not valid JSON in UTF-8.")
            continue
        strings = 0
        count += 1
        if count > most:
            raise MalformedInput(f"The body has more than {most} values ({variable}).", variable)


def _not_json(error: ValueError, subject: str) -> MalformedInput:
    place = f" (line {error.lineno}, column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
    return MalformedInput(f"{subject} is not valid JSON in UTF-8{place}.")


def _separators(data: bytes) -> int:
    return sum(map(data.count, _SEPARATORS))


def _without_repeats(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    pairs = list(pairs)
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        shown = repeated[:80].encode("utf-8", "replace").decode()
        raise MalformedInput(f"The body gives a field twice: {shown}.")
    return found


def _finite(text: str) -> float:
    value = float(text)
    if not isfinite(value):
        raise MalformedInput(f"The body has a number that is too large: {text[:40]}.")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
