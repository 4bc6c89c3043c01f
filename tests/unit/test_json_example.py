"""The built-in model's values are valid against the schemas that they are made for."""

from __future__ import annotations

import asyncio
import json
import math
import time
from contextlib import suppress
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.answer_format import AnswerFormat
from app.domain.json_example import NoExample, example
from app.domain.json_schema import SchemaLimits, accept
from worker.providers.base import ChatMessage, Finished, Piece, Prompt, ProviderError, Text
from worker.providers.offline.provider import Offline

LIMITS = SchemaLimits()
NAMES = st.sampled_from(["a", "b", "c"])


def objects(schemas: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Closed objects, as programs have them."""
    return st.dictionaries(NAMES, schemas, min_size=1, max_size=3).map(
        lambda named: {
            "type": "object",
            "properties": named,
            "required": list(named),
            "additionalProperties": False,
        }
    )


SIMPLE = st.recursive(
    st.sampled_from(
        [
            {"type": "string"}, {"type": "string", "format": "date"}, {"type": "string", "minLength": 20},
            {"type": "string", "maxLength": 2}, {"type": "string", "pattern": "^[A-Z]"}, {"enum": [3, "x"]},
            {"type": "integer"}, {"type": "integer", "minimum": 7}, {"type": "integer", "exclusiveMaximum": -3},
            {"type": "number", "exclusiveMinimum": 0, "maximum": 0.5}, {"type": "integer", "multipleOf": 5},
            {"type": "boolean"}, {"type": "null"}, {"const": {"k": [1]}}, {"type": ["null", "string"]}, {},
        ]
    ),
    lambda inner: objects(inner)
    | st.builds(lambda one, least: {"type": "array", "items": one, "minItems": least}, inner, st.integers(0, 3))
    | st.lists(inner, min_size=1, max_size=3).map(lambda some: {"anyOf": some})
    | objects(inner).map(lambda one: {"allOf": [one, {"type": "object"}]}),
    max_leaves=8,
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(SIMPLE)
def test_a_value_is_found_for_simple_schemas(schema: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator(schema).validate(example(accept(schema, LIMITS)))


def test_recursive_schemas_come_to_an_end() -> None:
    node = {
        "type": "object",
        "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}, "list": {"items": {"$ref": "#"}}},
        "required": ["next", "list"],
    }
    jsonschema.Draft202012Validator(node).validate(example(accept(node, LIMITS)))
    wide = {"type": "object", "properties": {n: {"$ref": "#"} for n in "abcdefghij"}, "required": list("abcdefghij")}
    with pytest.raises(NoExample):
        example(accept(wide, LIMITS))


@pytest.mark.parametrize(
    "schema",
    [
        {"not": {}},
        {"type": "string", "pattern": "^[0-9]{17}x$"},
        {"items": False, "type": "array", "minItems": 1},
        {"enum": []},
    ],
)
def test_a_schema_without_a_value_is_given_up(schema: dict[str, Any]) -> None:
    with pytest.raises(NoExample):
        example(accept(schema, LIMITS))


def test_few_schemas_that_apply_very_often_are_given_up_soon() -> None:
    levels = {f"a{n}": {"allOf": [{"$ref": f"#/$defs/a{n + 1}"}] * 40} for n in range(8)}
    leaf = {
        "type": "object",
        "required": [f"r{n}" for n in range(500)],
        "properties": {f"p{n}": {} for n in range(500)},
    }
    began = time.thread_time()
    for last in ({"type": "string"}, leaf):
        with pytest.raises(NoExample):
            example(accept({"$ref": "#/$defs/a0", "$defs": {**levels, "a8": last}}, LIMITS))
    assert time.thread_time() - began < 5


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "number", "minimum": 1e10, "multipleOf": 1e-320},
        {"multipleOf": 1.7e308, "type": "number", "minimum": 1},
        {"type": "integer", "minimum": 0.5, "multipleOf": 5e-324},
        {"multipleOf": 1e308, "type": "number", "exclusiveMaximum": -1},
    ],
)
def test_numbers_that_no_float_holds_are_not_tried(schema: dict[str, Any]) -> None:
    with suppress(NoExample):
        assert math.isfinite(example(accept(schema, LIMITS)))


@pytest.mark.parametrize(
    "schema",
    [
        {"minLength": 9.0}, {"maxLength": 2.0, "minLength": 1.0}, {"type": "array", "minItems": 2.0},
        {"type": "array", "maxItems": 0.0}, {"type": "array", "prefixItems": [{}, {}, {}], "minItems": 1.0},
    ],
)  # fmt: skip
def test_a_count_may_have_a_decimal_point(schema: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator(schema).validate(example(accept(schema, LIMITS)))


def answer(wanted: AnswerFormat) -> str:
    pieces: list[Piece] = []
    prompt = Prompt("offline-fast", (ChatMessage("user", "Hello"),), answer_format=wanted)
    asyncio.run(Offline(rate=None).stream(prompt, pieces.extend))
    assert isinstance(pieces[-1], Finished)
    return "".join(piece.text for piece in pieces if isinstance(piece, Text))


def test_the_built_in_model_answers_in_the_form() -> None:
    assert json.loads(answer(AnswerFormat())) == {"answer": "example"}
    schema = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 3}}, "required": ["n"]}
    assert json.loads(answer(AnswerFormat(schema))) == {"n": 3}
    with pytest.raises(ProviderError):
        answer(AnswerFormat({"not": {}}))
