"""JSON Schemas (2020-12) that clients give: accepted within limits, and compiled. Pure.

A schema refers to nothing outside itself, so nothing is ever fetched. Every schema that is accepted can be applied to
any value in bounded time (:mod:`app.domain.json_check`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import jsonschema_rs
import orjson

from app.domain.errors import InvalidInput
from app.domain.json_check import Compiled, Schema, key, pattern

# The longest chain of schemas that apply to one value: by $ref, allOf, anyOf, oneOf, not, if, then, else.
LONGEST_CHAIN = 20
# Keywords that need notes of other keywords' results, or another base for references.
UNSUPPORTED = frozenset(
    {
        "unevaluatedProperties", "unevaluatedItems", "$dynamicRef", "$dynamicAnchor", "$recursiveRef",
        "$recursiveAnchor", "$vocabulary", "dependencies",
    }
)  # fmt: skip
# Keywords whose value is a schema, a list of schemas, or an object of schemas.
_ONE = ("additionalProperties", "propertyNames", "items", "contains", "not", "if", "then", "else", "contentSchema")
_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
_OBJECTS = ("properties", "patternProperties", "dependentSchemas", "$defs", "definitions")
# Those that apply to the value itself, not to a part of it.
_IN_PLACE_ONE = ("not", "if", "then", "else")
_IN_PLACE_LISTS = ("allOf", "anyOf", "oneOf")

_META = jsonschema_rs.Draft202012Validator({"$ref": "https://json-schema.org/draft/2020-12/schema"})


@dataclass(frozen=True, slots=True)
class SchemaLimits:
    """The largest schema: bytes as JSON, levels of nesting, JSON values of every kind, and regular expressions."""

    bytes: int = 65_536
    depth: int = 50
    values: int = 5_000
    patterns: int = 100


class InvalidSchema(InvalidInput):
    """A schema is not accepted. ``pointer`` is the place in the schema, a JSON pointer."""

    def __init__(self, pointer: str, detail: str) -> None:
        super().__init__(f"{detail} (at {pointer[:200]})" if pointer else detail)


@dataclass(slots=True)
class _Parts:
    """All schemas inside a schema by JSON pointer, and the schemas that have an anchor."""

    nodes: dict[str, Schema] = field(default_factory=dict)
    anchors: dict[str, Schema] = field(default_factory=dict)


def accept(schema: Any, limits: SchemaLimits) -> Compiled:
    """A schema from outside, compiled. Raises InvalidSchema."""
    if not isinstance(schema, dict):
        raise InvalidSchema("", "must be an object")
    _check_size(schema, limits)
    error = next(_META.iter_errors(schema), None)
    if error is not None:
        pointer = "".join(f"/{part}" for part in error.instance_path)
        raise InvalidSchema(pointer, "is not a valid JSON Schema (2020-12)")
    parts = _parts_of(schema)
    targets = _targets(parts)
    _check_chains(parts, targets)
    enums = {
        id(node["enum"]): frozenset(map(key, node["enum"]))
        for node in parts.nodes.values()
        if isinstance(node, dict) and "enum" in node
    }
    return Compiled(schema, targets, _patterns(parts, limits), enums)


def subschemas(schema: Schema, pointer: str = "") -> Iterator[tuple[str, Schema]]:
    """A schema and all schemas inside it, each with its JSON pointer."""
    left: list[tuple[str, Schema]] = [(pointer, schema)]
    while left:
        place, one = left.pop()
        yield place, one
        if isinstance(one, Mapping):
            left += _inside(place, one)


def _inside(place: str, schema: Mapping[str, Any]) -> Iterator[tuple[str, Schema]]:
    for keyword in _ONE:
        if keyword in schema:
            yield f"{place}/{keyword}", schema[keyword]
    for keyword in _LISTS:
        for n, one in enumerate(schema.get(keyword, ())):
            yield f"{place}/{keyword}/{n}", one
    for keyword in _OBJECTS:
        members = schema.get(keyword)
        if isinstance(members, Mapping):
            for name, one in members.items():
                yield f"{place}/{keyword}/{name.replace('~', '~0').replace('/', '~1')}", one


def _check_size(schema: dict[str, Any], limits: SchemaLimits) -> None:
    level: list[Any] = [schema]
    depth = values = 0
    while level:
        depth, values = depth + 1, values + len(level)
        if depth > limits.depth:
            raise InvalidSchema("", f"must not be nested more deeply than {limits.depth} levels (MAX_SCHEMA_DEPTH)")
        if values > limits.values:
            raise InvalidSchema("", f"must not have more than {limits.values} values (MAX_SCHEMA_VALUES)")
        level = [part for one in level for part in _members(one)]
    size = len(orjson.dumps(schema))
    if size > limits.bytes:
        raise InvalidSchema("", f"must have at most {limits.bytes} bytes (MAX_SCHEMA_BYTES), and has {size}")


def _members(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _parts_of(schema: dict[str, Any]) -> _Parts:
    parts = _Parts()
    for pointer, one in subschemas(schema):
        if not isinstance(one, (dict, bool)):
            raise InvalidSchema(pointer, "must be a schema: an object, true or false")
        parts.nodes[pointer] = one
        if isinstance(one, bool):
            continue
        for keyword in UNSUPPORTED & one.keys():
            raise InvalidSchema(pointer, f"{keyword} is not supported here")
        if pointer and one.keys() & {"$id", "$schema"}:
            raise InvalidSchema(pointer, "$id and $schema are supported at the top of a schema only")
        if "$anchor" in one:
            parts.anchors[one["$anchor"]] = one
    return parts


def _targets(parts: _Parts) -> dict[str, Schema]:
    """The schema of each reference."""
    targets: dict[str, Schema] = {}
    for pointer, one in parts.nodes.items():
        if isinstance(one, bool) or "$ref" not in one:
            continue
        reference = one["$ref"]
        if not reference.startswith("#"):
            raise InvalidSchema(pointer, "$ref must refer to a place in this schema and begin with #")
        # A pointer in a fragment is percent-encoded.
        place = unquote(reference[1:])
        target = parts.nodes.get(place) if not place or place.startswith("/") else parts.anchors.get(place)
        if target is None:
            raise InvalidSchema(pointer, "$ref refers to a place that has no schema")
        targets[reference] = target
    return targets


def _patterns(parts: _Parts, limits: SchemaLimits) -> dict[str, Any]:
    """The regular expressions of a schema, compiled."""
    places: dict[str, str] = {}
    for pointer, one in parts.nodes.items():
        if isinstance(one, dict):
            for wanted in (*one.get("patternProperties", ()), *([one["pattern"]] if "pattern" in one else ())):
                places.setdefault(wanted, pointer)
    if len(places) > limits.patterns:
        raise InvalidSchema("", f"must not have more than {limits.patterns} patterns (MAX_SCHEMA_PATTERNS)")
    compiled: dict[str, Any] = {}
    for wanted, pointer in places.items():
        try:
            compiled[wanted] = pattern(wanted)
        except ValueError:
            detail = "has a pattern that is no regular expression, or is too large a one"
            raise InvalidSchema(pointer, detail) from None
    return compiled


def _check_chains(parts: _Parts, targets: Mapping[str, Schema]) -> None:
    """Refuse a schema that applies itself to the value it is applied to, and long chains of schemas."""
    heights: dict[int, int] = {}
    begun: set[int] = set()

    def height(pointer: str, schema: Schema, above: int) -> int:
        if isinstance(schema, bool):
            return 1
        if id(schema) in heights:
            return heights[id(schema)]
        if id(schema) in begun:
            raise InvalidSchema(pointer, "refers to itself without a property or an item between")
        begun.add(id(schema))
        below = 0
        if above <= LONGEST_CHAIN:
            below = max((height(pointer, one, above + 1) for one in _in_place(schema, targets)), default=0)
        if below >= LONGEST_CHAIN or above > LONGEST_CHAIN:
            raise InvalidSchema(pointer, f"applies a chain of more than {LONGEST_CHAIN} schemas to one value")
        heights[id(schema)] = below + 1
        return below + 1

    for pointer, one in parts.nodes.items():
        height(pointer, one, 0)


def _in_place(schema: Mapping[str, Any], targets: Mapping[str, Schema]) -> Iterator[Schema]:
    """The schemas that apply to every value that ``schema`` applies to."""
    if "$ref" in schema:
        yield targets[schema["$ref"]]
    for keyword in _IN_PLACE_ONE:
        if keyword in schema:
            yield schema[keyword]
    for keyword in _IN_PLACE_LISTS:
        yield from schema.get(keyword, ())
    yield from schema.get("dependentSchemas", {}).values()
