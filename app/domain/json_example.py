"""A small value that is valid against a JSON Schema, for the built-in model. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any

from app.domain.errors import UnbrokenError
from app.domain.json_check import Compiled, Schema, TooCostly
from app.domain.json_rules import violation

# Levels of a value. A schema that needs more is given up.
DEEPEST = 12
_MOST_TRIES = 5
_MOST_STEPS = 20_000
_MOST_ITEMS = 100
_TEXTS = {
    "date": "2026-01-31", "time": "12:00:00Z", "date-time": "2026-01-31T12:00:00Z", "duration": "P1D",
    "email": "someone@example.org", "uri": "https://example.org/", "hostname": "example.org", "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1", "uuid": "00000000-0000-4000-8000-000000000000",
}  # fmt: skip
# Texts that are tried against a pattern.
_GUESSES = ("example", "Example", "a", "A", "1", "123", "2026-01-31", "#a1b2c3", "A1", "", *_TEXTS.values())
_NUMBER_KEYWORDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_TYPES_BY_KEYWORD = (
    ("object", ("properties", "required", "minProperties", "additionalProperties")),
    ("array", ("items", "prefixItems", "minItems")),
    ("number", _NUMBER_KEYWORDS),
)


class NoExample(UnbrokenError):
    """No value was found for a schema. There may be one."""


def example(compiled: Compiled) -> Any:
    """A value that is valid against the schema. Raises NoExample."""
    with suppress(TooCostly):
        for value in islice(_values(_Run(compiled), compiled.schema, 0, 0), _MOST_TRIES):
            if violation(compiled, value, _MOST_STEPS) is None:
                return value
    raise NoExample


@dataclass(slots=True)
class _Run:
    """One search for a value. ``left``: the parts that may still be made."""

    compiled: Compiled
    left: int = 5000


def _values(run: _Run, schema: Schema, n: int, depth: int) -> Iterator[Any]:
    """Values that are probably valid, the best first; ``n`` is the number of the value in its list."""
    run.left -= 1
    if depth > DEEPEST or schema is False or run.left < 0:
        return
    if isinstance(schema, bool):
        yield None
        return
    for several in ("anyOf", "oneOf"):
        if several in schema:
            rest = {name: value for name, value in schema.items() if name != several}
            for one in schema[several]:
                yield from _values(run, _merged(run, [rest, one]), n, depth)
            return
    if "$ref" in schema or "allOf" in schema:
        yield from _values(run, _merged(run, [schema]), n, depth)
        return
    if "const" in schema:
        yield schema["const"]
    elif "enum" in schema:
        yield from schema["enum"][n % max(1, len(schema["enum"])) :][:1]
    elif "default" in schema:
        yield schema["default"]
    else:
        yield from _typed(run, schema, n, depth)


def _merged(run: _Run, schemas: list[Schema]) -> Schema:
    """One schema in the place of several that apply together, and of those that they refer to."""
    found: dict[str, Any] = {}
    for one in schemas:
        run.left -= 1
        if run.left < 0:
            raise NoExample
        if isinstance(one, bool):
            if not one:
                return False
            continue
        inner = [*one.get("allOf", ()), *([run.compiled.targets[one["$ref"]]] if "$ref" in one else ())]
        below = _merged(run, inner) if inner else {}
        if isinstance(below, bool):
            return below
        own = {name: value for name, value in one.items() if name not in ("allOf", "$ref")}
        for part in (below, own):
            found = _joined(found, part)
    return found


def _joined(one: dict[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    joined = {**one, **other}
    for name in ("properties", "required"):
        if name in one and name in other:
            first, second = one[name], other[name]
            joined[name] = {**first, **second} if isinstance(first, dict) else list(dict.fromkeys([*first, *second]))
    return joined


def _typed(run: _Run, schema: Mapping[str, Any], n: int, depth: int) -> Iterator[Any]:
    kinds = schema.get("type")
    if kinds is None:
        kinds = [kind for kind, names in _TYPES_BY_KEYWORD if any(name in schema for name in names)] or ["string"]
    for kind in [kinds] if isinstance(kinds, str) else kinds:
        match kind:
            case "null":
                yield None
            case "boolean":
                yield n % 2 == 0
            case "string":
                yield from _texts(run, schema, n)
            case "array":
                yield from _arrays(run, schema, depth)
            case "object":
                yield from _objects(run, schema, depth)
            case _:
                yield from _numbers(schema, n, whole=kind == "integer")


def _count(schema: Mapping[str, Any], keyword: str, default: int) -> int:
    # 1.0 is an integer in JSON.
    return int(schema.get(keyword, default))


def _texts(run: _Run, schema: Mapping[str, Any], n: int) -> Iterator[str]:
    least, most = _count(schema, "minLength", 0), _count(schema, "maxLength", 10_000)
    if "pattern" in schema:
        pattern = run.compiled.patterns[schema["pattern"]]
        yield from (text for text in _GUESSES if least <= len(text) <= most and pattern.is_valid(text))
        return
    text = _TEXTS.get(schema.get("format", ""), "example") + (f" {n + 1}" if n else "")
    if least <= 10_000:
        yield (text if len(text) <= most else text[len(text) - most :]).ljust(least, ".")


def _numbers(schema: Mapping[str, Any], n: int, *, whole: bool) -> Iterator[float]:
    bounds = {name: value for name, value in schema.items() if name in _NUMBER_KEYWORDS}
    wanted = Compiled({**bounds, "type": "integer" if whole else "number"}, {}, {}, {})
    step = schema.get("multipleOf", 1)
    ends = [value for name, value in bounds.items() if name != "multipleOf" and abs(value) < 2**53]
    # A quotient may be too large for a number with a fraction, and so may a multiple.
    counts = [count for end in ends if math.isfinite(count := end / step)]
    near = [edge * step + n * step for count in counts for edge in (math.ceil(count), math.floor(count) + 1)]
    between = [sum(ends) / 2] if len(ends) == 2 else []
    guesses = [1 + n, step * (1 + n), *near, *(value - 2 * (n + 1) * step for value in near), *between, *ends, 0]
    yield from (value for value in guesses if math.isfinite(value) and violation(wanted, value, 10) is None)


def _arrays(run: _Run, schema: Mapping[str, Any], depth: int) -> Iterator[list[Any]]:
    first = schema.get("prefixItems", [])
    count = max(_count(schema, "minItems", 0), min(1, _count(schema, "maxItems", 1)) if depth < 3 else 0)
    if count > _MOST_ITEMS:
        return
    wanted = [*first, *[schema.get("items", True)] * count][: max(count, len(first))]
    if "contains" in schema:
        wanted = [schema["contains"]] * max(1, count)
    found: list[Any] = []
    for n, one in enumerate(wanted):
        value = next(_values(run, one, n, depth + 1), NoExample)
        if value is not NoExample:
            found.append(value)
    yield found


def _objects(run: _Run, schema: Mapping[str, Any], depth: int) -> Iterator[dict[str, Any]]:
    named, required = schema.get("properties", {}), schema.get("required", [])
    names = [name for name in named if name in required or depth < 2]
    names += [name for name in required if name not in named]
    found: dict[str, Any] = {}
    for name in names:
        rest = schema.get("additionalProperties", True)
        value = next(_values(run, named.get(name, rest), 0, depth + 1), NoExample)
        if value is not NoExample:
            found[name] = value
        elif name in required:
            return
    yield found
