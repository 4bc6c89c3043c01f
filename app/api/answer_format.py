"""The form of an answer in requests, in the shape of OpenAI's chat completions or of its Responses."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, ValidationInfo

from app.api.errors import InvalidFields
from app.domain.answer_format import TYPES, InvalidAnswerFormat, accepted, wire
from app.domain.json_schema import SchemaLimits
from app.domain.storable import sound

# Fields of a json_schema format. The two protocols have them at different places.
NAMES = ("name", "schema", "strict", "description")


def _response_format(value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
    sound(value)
    try:
        wanted = accepted(value, _limits(info))
    except InvalidAnswerFormat as error:
        place = f"response_format.{error.place}" if error.place else "response_format"
        raise InvalidFields([(place, error.reason)]) from None
    return {"type": "text"} if wanted is None else wire(wanted)


def _text(value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
    wanted = value.get("format")
    if wanted is None:
        return value
    if not isinstance(wanted, dict):
        raise InvalidFields([("text.format.type", f"must be one of {', '.join(TYPES)}")])
    try:
        accepted(as_response_format(wanted), _limits(info))
    except InvalidAnswerFormat as error:
        place = "text.format." + error.place.removeprefix("json_schema.")
        raise InvalidFields([(place, error.reason)]) from None
    return value


def as_response_format(text_format: dict[str, Any]) -> dict[str, Any]:
    """A ``text.format`` of the Responses API as a ``response_format`` of chat completions."""
    kind = text_format.get("type")
    if kind != "json_schema":
        return {"type": kind}
    return {"type": kind, "json_schema": {n: text_format[n] for n in NAMES if text_format.get(n) is not None}}


def _limits(info: ValidationInfo) -> SchemaLimits:
    names = ("bytes", "depth", "values", "patterns")
    context = info.context or {}
    return SchemaLimits(**{name: context[f"max_schema_{name}"] for name in names if f"max_schema_{name}" in context})


ResponseFormat = Annotated[dict[str, Any], AfterValidator(_response_format)]
TextOptions = Annotated[dict[str, Any], AfterValidator(_text)]
