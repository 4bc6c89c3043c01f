"""The form that the text of an answer must have: read from requests, and checked at the end."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from app.domain.errors import InvalidInput, UnbrokenError
from app.domain.json_check import TooCostly
from app.domain.json_example import example
from app.domain.json_rules import violation
from app.domain.json_schema import InvalidSchema, SchemaLimits, accept
from app.domain.strict_schema import check_strict

TYPES = ("text", "json_object", "json_schema")
# The code of an answer that does not have its form, as an attempt's outcome and as the error of a generation.
INVALID_FORMAT: Final = "invalid_format"
MOST_DESCRIPTION_CHARS = 10_000

# The limits for a schema that was accepted before, maybe under other limits.
UNLIMITED = SchemaLimits(bytes=2**31, depth=1000, values=2**31, patterns=2**31)

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class AnswerFormat:
    """A JSON answer. ``schema`` is a JSON Schema (2020-12), None for any JSON object.

    ``name``, ``description`` and ``strict`` are the ones of OpenAI's ``json_schema`` format.
    """

    schema: Mapping[str, Any] | None = None
    name: str = "answer"
    description: str | None = None
    strict: bool = False


class InvalidAnswerFormat(InvalidInput, ValueError):
    """A format is not accepted. ``place`` is the part of it, such as ``json_schema.name``; empty for the whole."""

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(f"{place}: {reason}" if place else reason, "response_format")
        self.place = place
        self.reason = reason


class WrongForm(UnbrokenError):
    """A text does not have its form. The message says where, and quotes nothing of the schema or of the text."""


class Unchecked(UnbrokenError):
    """A text cannot be checked within the limits."""


def accepted(value: Any, limits: SchemaLimits) -> AnswerFormat | None:
    """A ``response_format`` of chat completions; None for free text. Raises InvalidAnswerFormat."""
    if not isinstance(value, dict):
        raise InvalidAnswerFormat("", "must be an object")
    kind = value.get("type")
    if kind not in TYPES:
        raise InvalidAnswerFormat("type", f"must be one of {', '.join(TYPES)}")
    if kind == "text":
        return None
    if kind == "json_object":
        return AnswerFormat()
    given = value.get("json_schema")
    if not isinstance(given, dict):
        raise InvalidAnswerFormat("json_schema", "must be an object with a name and a schema")
    return _with_schema(given, limits)


def wire(wanted: AnswerFormat) -> dict[str, Any]:
    """The ``response_format`` of chat completions."""
    if wanted.schema is None:
        return {"type": "json_object"}
    given: dict[str, Any] = {"name": wanted.name, "schema": wanted.schema}
    if wanted.description is not None:
        given["description"] = wanted.description
    if wanted.strict:
        given["strict"] = True
    return {"type": "json_schema", "json_schema": given}


def storable_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a request as they are stored: the schema is JSON text, because its order has a meaning.

    Models write the properties of an object in the order of the schema, and PostgreSQL's jsonb has an order of its own.
    """
    given = _given(parameters)
    if given is None or isinstance(given["schema"], str):
        return dict(parameters)
    return _with_given(parameters, {**given, "schema": orjson.dumps(given["schema"]).decode()})


def restored_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Stored parameters as they were in the request."""
    given = _given(parameters)
    if given is None or not isinstance(given["schema"], str):
        return dict(parameters)
    return _with_given(parameters, {**given, "schema": orjson.loads(given["schema"])})


def _given(parameters: Mapping[str, Any]) -> dict[str, Any] | None:
    """The ``json_schema`` of the parameters, if there is one with a schema."""
    wanted = parameters.get("response_format")
    given = wanted.get("json_schema") if isinstance(wanted, dict) else None
    return given if isinstance(given, dict) and "schema" in given else None


def _with_given(parameters: Mapping[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    return {**parameters, "response_format": {**parameters["response_format"], "json_schema": given}}


def simple_answer(wanted: AnswerFormat) -> Any:
    """A small value of this form. Raises NoExample."""
    return {"answer": "example"} if wanted.schema is None else example(accept(wanted.schema, UNLIMITED))


def check_text(wanted: AnswerFormat, text: str, most_steps: int) -> None:
    """Refuse a text that does not have its form. Raises WrongForm, Unchecked."""
    # Each value but the first has one of these signs before it, so that few values are made of the text.
    if sum(map(text.count, ",[{")) > most_steps:
        raise Unchecked
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise WrongForm(f"it is not JSON (line {error.lineno}, column {error.colno})") from None
    if wanted.schema is None:
        if not isinstance(value, dict):
            raise WrongForm("it is not a JSON object")
        return
    compiled = accept(wanted.schema, UNLIMITED)
    try:
        found = violation(compiled, value, most_steps)
    except TooCostly:
        raise Unchecked from None
    if found is not None:
        place = found.pointer()
        raise WrongForm(f"it violates the rule {found.rule} of its JSON Schema at {place or 'the top'}")


def _with_schema(given: dict[str, Any], limits: SchemaLimits) -> AnswerFormat:
    name, description, strict = given.get("name"), given.get("description"), given.get("strict")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidAnswerFormat("json_schema.name", "must be 1 to 64 letters, digits, underscores or dashes")
    if description is not None and not (isinstance(description, str) and len(description) <= MOST_DESCRIPTION_CHARS):
        detail = f"must be a text of at most {MOST_DESCRIPTION_CHARS} characters"
        raise InvalidAnswerFormat("json_schema.description", detail)
    if strict is not None and not isinstance(strict, bool):
        raise InvalidAnswerFormat("json_schema.strict", "must be true or false")
    if "schema" not in given:
        raise InvalidAnswerFormat("json_schema.schema", "is missing")
    schema = given["schema"]
    try:
        accept(schema, limits)
        if strict:
            check_strict(schema)
    except InvalidSchema as error:
        raise InvalidAnswerFormat("json_schema.schema", str(error)) from None
    return AnswerFormat(schema, name, description, bool(strict))
