"""The extras of a tool call as OpenAI-compatible clients receive them and send them back. Pure.

A call's ``extra`` has one entry for each kind of upstream. On the wire of chat completions, an upstream's own field is
``extra_content``: clients receive it as the upstream sent it. It has the entries of other kinds under ``unbroken``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FIELD = "extra_content"
_OTHERS = "unbroken"


def to_wire(extra: Mapping[str, Any] | None) -> Any:
    """The value of ``extra_content`` for a call; None without extras."""
    if not extra:
        return None
    given = extra.get(FIELD)
    others = {name: value for name, value in extra.items() if name != FIELD}
    if not others:
        return given
    return {**(given if isinstance(given, dict) else {}), _OTHERS: others}


def from_wire(value: Any) -> dict[str, Any] | None:
    """The extras of a call that a client sent back; None without any."""
    if not isinstance(value, dict):
        return None if value is None else {FIELD: value}
    others = value.get(_OTHERS)
    given = {name: part for name, part in value.items() if name != _OTHERS}
    extra = {**({FIELD: given} if given else {}), **(others if isinstance(others, dict) else {})}
    return extra or None
