"""Finds texts that a reader would see and that a module of the page has in itself, and not in a catalogue."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_TOKEN = re.compile(
    r"""(?P<space>\s+|//[^\n]*|/\*.*?\*/)
      | (?P<text>'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*")
      | (?P<name>[\w$#]+)
      | (?P<sign>[=!]==?|=>|\.\.\.|\?\?=?|\?\.|[&|=!<>+*%^~?:;,.(){}\[\]@-]|/)""",
    re.VERBOSE | re.DOTALL,
)
_REGEX = re.compile(r"/(?:[^/\\\[\n]|\\.|\[(?:[^\]\\\n]|\\.)*\])+/[a-z]*")
# Behind these a slash begins a pattern, and does not divide.
_BEFORE_PATTERN = set("(,=:[!&|?{};+-*%~^<>") | {"===", "!==", "=>", "return", "typeof", "??", ""}
_COMPARED = {"===", "!==", "==", "!="}
# A text under one of these names is shown, or read out.
SHOWN = {
    "aria-label",
    "title",
    "placeholder",
    "label",
    "alt",
    "textContent",
    "text",
    "note",
    "action",
    "says",
    "advice",
}
# Lists of words for programs.
HIDDEN = {"class", "rel"}
# Calls whose arguments, from this one on, are shown.
CALLS = {"h": 2, "announce": 0, "toast": 0, "frame": 0, "Error": 0, "iconButton": 1, "copyButton": 0, "actionButton": 0}
_SENTENCE = re.compile(r"[A-Z][a-z’]+ [a-z]|^[A-Z][a-z]+ (?:[A-Z]?[a-z]+)|[a-z]{2} [a-z]+ [a-z]{2}")
_LETTERS = re.compile(r"[^\W\d_]{2}")


@dataclass
class _Call:
    """An open bracket: the name before it, the number of the argument, and the name of the property."""

    bracket: str
    name: str = ""
    argument: int = 0
    about: str = ""
    children: list[str] = field(default_factory=list)


def literals(source: str) -> Iterator[str]:
    """The texts of a module that a reader would see. Pieces of a template are texts of their own."""
    stack = [_Call("")]
    before: list[str] = ["", "", ""]
    at = 0
    while at < len(source):
        if source[at] == "`":
            pieces, at = _template(source, at)
            for piece in pieces:
                if piece.startswith("${"):
                    yield from literals(piece[2:])
                elif _is_shown(piece, stack):
                    yield piece
            before.append("``")
            continue
        if (
            source[at] == "/"
            and source[at + 1] not in "/*"
            and before[-1] in _BEFORE_PATTERN
            and (pattern := _REGEX.match(source, at))
        ):
            before.append("//")
            at = pattern.end()
            continue
        token = _TOKEN.match(source, at)
        assert token, f"not read: {source[at : at + 40]!r}"
        at = token.end()
        if token["space"]:
            continue
        if token["text"]:
            is_key = re.match(r"\s*:", source[at:]) and before[-1] in ("{", ",")
            if not is_key and before[-1] not in _COMPARED and _is_shown(token["text"][1:-1], stack):
                yield token["text"][1:-1]
        else:
            _step(stack, token[0], before)
        before.append(token[0])


def _step(stack: list[_Call], sign: str, before: list[str]) -> None:
    top = stack[-1]
    if sign in "([{":
        stack.append(_Call(sign, before[-1] if sign == "(" else ""))
    elif sign in ")]}":
        if len(stack) > 1:
            stack.pop()
    elif sign == ",":
        top.argument += 1
        top.about = ""
    elif sign == ";":
        top.about = ""
    elif sign == ":" and top.bracket == "{" and before[-2] in ("{", ","):
        top.about = before[-1].strip("'")
    elif sign == "=":
        top.about = before[-1]


def _is_shown(text: str, stack: list[_Call]) -> bool:
    if not _LETTERS.search(text):
        return False
    top = stack[-1]
    call = next((each for each in reversed(stack) if each.bracket != "["), top)
    if call.bracket == "(" and call.name in CALLS and call.argument >= CALLS[call.name]:
        return True
    if top.about in SHOWN:
        return True
    return top.about not in HIDDEN and bool(_SENTENCE.search(text))


def _template(source: str, at: int) -> tuple[list[str], int]:
    """The pieces of the template at ``at``, and its end. A piece with code begins with ``${``."""
    pieces, begin, here = [], at + 1, at + 1
    while source[here] != "`":
        if source[here] == "\\":
            here += 2
        elif source.startswith("${", here):
            pieces.append(source[begin:here])
            end = _code_end(source, here + 2)
            pieces.append("${" + source[here + 2 : end])
            begin = here = end + 1
        else:
            here += 1
    return [*pieces, source[begin:here]], here + 1


def _code_end(source: str, at: int) -> int:
    depth = 0
    while True:
        if source[at] == "`":
            at = _template(source, at)[1]
            continue
        if source[at] in "'\"":
            at = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""").match(source, at).end()  # type: ignore[union-attr]
            continue
        if source[at] == "{":
            depth += 1
        elif source[at] == "}":
            if depth == 0:
                return at
            depth -= 1
        at += 1
