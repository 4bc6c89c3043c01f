"""A large JSON body in parts, so that only one element of its long array has to be parsed at a time."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import orjson

from app.api.json_body import MOST_STRINGS

# A string, closed or up to the end of the body; or a sign outside of strings. No part of it can match in two ways.
_STRUCTURE = re.compile(rb'"(?>[^"\\]+|\\.)*+"?|[,\[{\]}]', re.DOTALL)
_SPACE = re.compile(rb"[ \t\r\n]*")
_BEGINS_OBJECT = re.compile(rb"[ \t\r\n]*\{")
_QUOTE, _COMMA, _LIST, _OBJECT = b'",[{'
_CLOSING = b"]}"
# A longer string is no field's name.
_LONGEST_NAME_BYTES = 100


@dataclass(slots=True)
class SplitBody:
    """``elements`` are slices of the body in bytes; ``rest`` is the body with an empty array in their place.

    Every byte of the body, but the commas between elements, is in exactly one part. So the body is valid JSON when all
    parts are.
    """

    rest: bytearray = field(default_factory=bytearray)
    elements: list[slice] = field(default_factory=list)


def split(body: bytes, name: str) -> SplitBody:
    """The parts of an object that has an array under ``name``. Nothing is parsed: only strings and depths are found.

    A body that is no object is all ``rest``.
    """
    if not _BEGINS_OBJECT.match(body):
        return SplitBody(bytearray(body))
    parts = SplitBody()
    copied = 0
    begin: int | None = None
    string: re.Match[bytes] | None = None
    for sign, token in _marks(body):
        at = token.start()
        if sign == _QUOTE:
            string = token
        elif sign == _LIST and _is_name(string, name):
            begin = at + 1
            parts.rest += body[copied:begin]
        elif begin is not None and sign in (_COMMA, *_CLOSING):
            parts.elements.append(slice(begin, at))
            begin, copied = (at + 1, copied) if sign == _COMMA else (None, at)
    if begin is None:
        parts.rest += body[copied:]
    else:
        # The array is not closed, and neither is it in the rest, which makes the body invalid.
        parts.elements.append(slice(begin, len(body)))
    if len(parts.elements) == 1 and _SPACE.fullmatch(body, parts.elements[0].start, parts.elements[0].stop):
        parts.elements.clear()
    return parts


def elements(body: bytes, most: int) -> list[slice]:
    """The first ``most`` elements of an array, as slices of the body in bytes; none of a body that is no array."""
    found: list[slice] = []
    depth = begin = 0
    for token in _STRUCTURE.finditer(body):
        sign = body[token.start()]
        depth += sign in (_LIST, _OBJECT)
        if depth == 1 and sign == _LIST:
            begin = token.end()
        elif depth == 1 and sign in (_COMMA, *_CLOSING):
            found.append(slice(begin, token.start()))
            begin = token.end()
            if len(found) == most:
                return found
        depth -= sign in _CLOSING
        if depth <= 0:
            is_whole = sign in _CLOSING and _SPACE.fullmatch(body, token.end())
            return [one for one in found if not _SPACE.fullmatch(body, one.start, one.stop)] if is_whole else []
    return []


def names(body: bytes) -> Iterator[str]:
    """The names of an object's fields, as they are written, up to the end of what may be JSON."""
    if not _BEGINS_OBJECT.match(body):
        return
    for sign, token in _marks(body):
        after = _SPACE.match(body, token.end())
        if sign == _QUOTE and after is not None and body[after.end() : after.end() + 1] == b":":
            yield token[0][1:-1].decode("utf-8", "replace")


def _marks(body: bytes) -> Iterator[tuple[int, re.Match[bytes]]]:
    """Strings at depth 1, and signs that lead to depth 2, stand in it or end it.

    They end where no JSON goes on: the values of a body are counted before, signs that belong to no value are not.
    """
    depth = strings = 0
    for token in _STRUCTURE.finditer(body):
        sign = body[token.start()]
        strings = strings + 1 if sign == _QUOTE else 0
        depth += sign in (_LIST, _OBJECT)
        if not depth or strings > MOST_STRINGS:
            return
        if depth == (1 if sign == _QUOTE else 2):
            yield sign, token
        depth -= sign in _CLOSING


def _is_name(string: re.Match[bytes] | None, name: str) -> bool:
    if string is None or string.end() - string.start() > _LONGEST_NAME_BYTES:
        return False
    try:
        return bool(orjson.loads(string[0]) == name)
    except orjson.JSONDecodeError:
        return False
