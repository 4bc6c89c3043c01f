"""A line of the log as people read it in a terminal: time, process, level, sentence, fields."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import orjson

PROCESS_WIDTH = 10
LEVEL_WIDTH = 8
EVENT_WIDTH = 24
# Fields that stand elsewhere in the line, or that only programs need.
_PLACED = ("time", "level", "event", "exception", "stack", "action", "logger")
# Long fields that lines have in common come last.
_IDS = ("client", "user", "conversation_id", "generation_id", "request_id")


def of_line(line: str, process: str = "") -> str:
    """A line of JSON as text, with its traceback below it. A line that is no object of JSON is its own sentence."""
    fields = parsed(line)
    return text({"event": line} if fields is None else fields, process)


def parsed(line: str) -> dict[str, Any] | None:
    """The object that a line of the log is; None for another line."""
    if not line.startswith("{"):
        return None
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None


def text(fields: Mapping[str, Any], process: str = "") -> str:
    """The line of these fields. ``time`` is RFC 3339 in UTC, of which the time of day is shown."""
    of_day = _clean(str(fields.get("time", "")))[11:23].rstrip("Z")
    head = [f"{of_day:<12}", f"{process:<{PROCESS_WIDTH}}"] if process else [f"{of_day:<12}"]
    level = f"{_clean(str(fields.get('level', ''))):<{LEVEL_WIDTH}}"
    names = [name for name in fields if name not in _PLACED and name not in _IDS]
    names += [name for name in _IDS if name in fields]
    pairs = " ".join(f"{_clean(name)}={_value(fields[name])}" for name in names if fields[name] is not None)
    event = _clean(str(fields.get("event", "")))
    line = " ".join([*head, level, f"{event:<{EVENT_WIDTH}} {pairs}" if pairs else event])
    below = fields.get("exception") or fields.get("stack")
    return line if not below else "\n".join([line, *(f"    {_clean(part)}" for part in str(below).splitlines())])


def _value(value: Any) -> str:
    """A field's value: bare where it is one word, otherwise as JSON."""
    if isinstance(value, str) and value.isascii() and value.isprintable() and value and not set(value) & set(' "='):
        return value
    return _clean(json.dumps(value, ensure_ascii=False, default=repr))


def _clean(value: str) -> str:
    """``value`` without characters that could move a terminal's cursor, end the line, or turn its direction."""
    if value.isprintable():
        return value
    return "".join(one if one.isprintable() else f"\\u{ord(one):04x}" for one in value)
