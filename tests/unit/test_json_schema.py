"""Schemas of answers: accepted within limits, applied as the library jsonschema applies them, and in bounded time."""

from __future__ import annotations

import time
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.json_check import TooCostly
from app.domain.json_rules import violation
from app.domain.json_schema import InvalidSchema, SchemaLimits, accept, subschemas

LIMITS = SchemaLimits()
STEPS = 500_000

NAMES = st.sampled_from(["a", "b", "ab", "x~/y"])
# Multiples of floats are left out: the library divides them as floats.
SCALARS = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.5, 1.0, -2.5]) | st.sampled_from(
    ["", "a", "ab", "b1", "é", "aaaa"]
)  # fmt: skip
VALUES = st.recursive(SCALARS, lambda v: st.lists(v, max_size=4) | st.dictionaries(NAMES, v, max_size=4), max_leaves=8)
PATTERNS = st.sampled_from(["^a", "b$", "^[a-z]+$", "^(?!a)", r"\d", "a{2,}"])
SIZES = st.integers(0, 3)


def keywords(schemas: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """An object of some keywords, whose schemas are taken from ``schemas``."""
    types = st.sampled_from(["null", "boolean", "object", "array", "string", "number", "integer"])
    some = st.lists(schemas, min_size=1, max_size=3)
    return st.fixed_dictionaries(
        {},
        optional={
            "type": types | st.lists(types, min_size=1, max_size=3, unique=True),
            "enum": st.lists(VALUES, min_size=1, max_size=3),
            "const": VALUES,
            "minimum": st.integers(-2, 2),
            "exclusiveMaximum": st.sampled_from([-1, 0.5, 3]),
            "multipleOf": st.integers(1, 3),
            "minLength": SIZES,
            "maxLength": SIZES,
            "pattern": PATTERNS,
            "minItems": SIZES,
            "maxItems": SIZES,
            "uniqueItems": st.booleans(),
            "minProperties": SIZES,
            "maxProperties": SIZES,
            "required": st.lists(NAMES, max_size=2, unique=True),
            "dependentRequired": st.dictionaries(NAMES, st.lists(NAMES, max_size=2, unique=True), max_size=2),
            "properties": st.dictionaries(NAMES, schemas, max_size=3),
            "patternProperties": st.dictionaries(PATTERNS, schemas, max_size=2),
            "additionalProperties": schemas,
            "propertyNames": schemas,
            "prefixItems": some,
            "items": schemas,
            "contains": schemas,
            "minContains": SIZES,
            "maxContains": SIZES,
            "allOf": some,
            "anyOf": some,
            "oneOf": some,
            "not": schemas,
            "if": schemas,
            "then": schemas,
            "else": schemas,
            "dependentSchemas": st.dictionaries(NAMES, schemas, max_size=2),
            "$ref": st.just("#/$defs/leaf"),
            "format": st.just("email"),
            "title": st.just("A title"),
        },
    )


SCHEMAS = st.recursive(
    st.booleans() | st.just({"$ref": "#/$defs/tree"}), lambda inner: st.booleans() | keywords(inner), max_leaves=6
)
LEAF = {"type": ["string", "number", "object"]}
TREE = {"type": ["object", "array", "null"], "properties": {"a": {"$ref": "#/$defs/tree"}}, "items": LEAF}


@settings(max_examples=120, deadline=None)
@given(keywords(SCHEMAS), VALUES)
def test_a_value_is_valid_where_the_library_says_so(schema: dict[str, Any], value: Any) -> None:
    schema = {**schema, "$defs": {"leaf": LEAF, "tree": TREE}}
    expected = jsonschema.Draft202012Validator(schema).is_valid(value)
    assert (violation(accept(schema, LIMITS), value, STEPS) is None) == expected


@pytest.mark.parametrize(
    ("schema", "value", "pointer", "rule"),
    [
        ({"type": "object"}, [], "", "type"),
        ({"properties": {"a": {"items": {"type": "string"}}}}, {"a": ["x", 1]}, "/a/1", "type"),
        ({"required": ["a/b"]}, {}, "/a~1b", "required"),
        ({"additionalProperties": False, "properties": {"a": True}}, {"a": 1, "b": 2}, "/b", "additionalProperties"),
        ({"anyOf": [{"type": "null"}, {"properties": {"a": {"const": 1}}}]}, {"a": 2}, "/a", "const"),
        ({"multipleOf": 0.1}, 0.35, "", "multipleOf"),
        ({"minimum": 2}, 1, "", "minimum"),
    ],
)
def test_a_violation_has_its_place_and_its_rule(schema: dict[str, Any], value: Any, pointer: str, rule: str) -> None:
    found = violation(accept(schema, LIMITS), value, STEPS)
    assert found is not None
    assert (found.pointer(), found.rule) == (pointer, rule)


def test_decimals_are_multiples_by_their_digits() -> None:
    schema = accept({"multipleOf": 0.1}, LIMITS)
    assert [violation(schema, value, STEPS) for value in (0.3, 1.1, 7, 1e300)] == [None] * 4


def test_a_pointer_has_a_length() -> None:
    value: Any = 1
    for _ in range(20):
        value = {"n" * 1000: value}
    schema = {"$ref": "#/$defs/n", "$defs": {"n": {"type": "object", "additionalProperties": {"$ref": "#/$defs/n"}}}}
    found = violation(accept(schema, LIMITS), value, STEPS)
    assert found is not None
    assert len(found.pointer()) <= 201


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        schema = {"items": schema}
    return schema


REFUSED = {
    "not an object": ([], "must be an object"),
    "not a schema": ({"type": "objekt"}, "not a valid JSON Schema"),
    "a property that is no schema": ({"properties": {"a": 7}}, "not a valid JSON Schema"),
    "a tuple of an old draft": ({"items": [{"type": "string"}]}, "not a valid JSON Schema"),
    "a reference to another place": ({"$ref": "https://example.org/s.json"}, "begin with #"),
    "a reference to a file": ({"$ref": "other.json#/a"}, "begin with #"),
    "a reference to nothing": ({"$ref": "#/$defs/a"}, "has no schema"),
    "a reference into an enumeration": ({"enum": [{"a": 1}], "not": {"$ref": "#/enum/0"}}, "has no schema"),
    "itself": ({"$ref": "#"}, "refers to itself"),
    "itself, in turns": ({"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"$ref": "#"}]}}}, "refers to itself"),
    "itself, out of sight": (
        {"properties": {"a": {"$ref": "#/$defs/a"}}, "$defs": {"a": {"not": {"$ref": "#/$defs/a"}}}},
        "refers to itself",
    ),
    "a long chain": (
        {"$ref": "#/$defs/0", "$defs": {str(n): {"$ref": f"#/$defs/{n + 1}"} for n in range(500)} | {"500": True}},
        "a chain of more than 20",
    ),
    "too deep": (nested(60), "MAX_SCHEMA_DEPTH"),
    "too many values": ({"enum": list(range(6000))}, "MAX_SCHEMA_VALUES"),
    "too many bytes": ({"description": "x" * 70_000}, "MAX_SCHEMA_BYTES"),
    "too many patterns": ({"allOf": [{"pattern": f"a{n}"} for n in range(101)]}, "MAX_SCHEMA_PATTERNS"),
    "no regular expression": ({"pattern": "("}, "no regular expression"),
    "too large a regular expression": ({"pattern": "((a{1,1000}){1,1000}){1,100}"}, "no regular expression"),
    "a keyword beyond this": ({"unevaluatedProperties": False}, "unevaluatedProperties is not supported"),
    "another base": ({"properties": {"a": {"$id": "https://example.org/"}}}, "$id and $schema"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_schema_is_refused_with_a_reason(name: str) -> None:
    schema, reason = REFUSED[name]
    with pytest.raises(InvalidSchema) as caught:
        accept(schema, LIMITS)
    assert reason in str(caught.value)


def test_schemas_of_everyday_programs_are_accepted() -> None:
    email = r"^(?!\.)(?!.*\.\.)([A-Za-z0-9_'+\-\.]*)[A-Za-z0-9_+-]@([A-Za-z0-9][A-Za-z0-9\-]*\.)+[A-Za-z]{2,}$"
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$id": "https://example.org/person",
        "type": "object",
        "properties": {"mail": {"type": "string", "format": "email", "pattern": email}, "next": {"$ref": "#"}},
        "definitions": {"unused": {"$anchor": "spare"}},
        "not": {"$ref": "#spare"},
    }
    schema["not"] = {"required": ["not"]}
    compiled = accept(schema, LIMITS)
    assert violation(compiled, {"mail": "me@example.org", "next": {"mail": "x@example.org"}}, STEPS) is None
    found = violation(compiled, {"next": {"mail": "me@"}}, STEPS)
    assert found is not None
    assert (found.pointer(), found.rule) == ("/next/mail", "pattern")


def bomb(levels: int, last: Any) -> dict[str, Any]:
    """A schema that is applied 2 ** levels times to one value."""
    names = [f"#/$defs/{n}" for n in range(levels)]
    defs = {str(n): {"anyOf": [{"$ref": names[n + 1]}, {"$ref": names[n + 1]}]} for n in range(levels - 1)}
    return {"$ref": names[0], "$defs": {**defs, str(levels - 1): last}}


def both() -> dict[str, Any]:
    """A recursive schema that is tried twice at each level of a value."""
    one = {"properties": {"a": {"$ref": "#"}}, "required": ["a"]}
    return {"anyOf": [one, dict(one)]}


def chain(levels: int) -> Any:
    value: Any = {}
    for _ in range(levels):
        value = {"a": value}
    return value


COSTLY = {
    "going back": ({"pattern": r"^(a|a)*?(?!x)\1b$"}, "a" * 40 + "c"),
    "looking ahead from each place": ({"pattern": "(?=.)([01]*1[01]{150}|[01]*0[01]{151})2$"}, "01" * 5000),
    "a long text": ({"pattern": "^(a+)+$"}, "a" * 1_000_000),
    "a deep value": ({"properties": {"a": {"$ref": "#"}}}, chain(900)),
    "many branches": (bomb(9, {"anyOf": [{"type": "null"}] * 2000}), 1),
    "branches at each level": (both(), chain(40)),
    "many different values": ({"items": {"enum": [[1] * 100]}}, [[1] * 100] * 10_000),
}


@pytest.mark.parametrize("name", COSTLY)
def test_a_check_that_would_take_too_long_is_given_up(name: str) -> None:
    schema, value = COSTLY[name]
    compiled = accept(schema, LIMITS)
    began = time.process_time()
    with pytest.raises(TooCostly):
        violation(compiled, value, STEPS)
    assert time.process_time() - began < 10  # minutes to centuries without the limit


def test_every_schema_inside_has_a_pointer() -> None:
    schema = {"properties": {"a/b": {"items": True}}, "anyOf": [{"not": {}}], "enum": [{"not": {}}]}
    assert {pointer for pointer, _ in subschemas(schema)} == {
        "", "/properties/a~1b", "/properties/a~1b/items", "/anyOf/0", "/anyOf/0/not"
    }  # fmt: skip


@pytest.mark.parametrize(
    "one",
    [
        {"not": {"const": [0] * 4900}},
        {"dependentRequired": {f"n{n}": [] for n in range(4900)}},
        {"allOf": [True] * 4900},
        {f"x{n}": 1 for n in range(4900)},
        {"additionalProperties": True, "patternProperties": {f"^a{n}b": True for n in range(100)}},
    ],
)
def test_what_a_keyword_looks_through_counts(one: dict[str, Any]) -> None:
    began = time.thread_time()
    with pytest.raises(TooCostly):
        violation(accept({"items": one}, SchemaLimits()), [{"": 1}] * 20_000, 500_000)
    assert time.thread_time() - began < 5
