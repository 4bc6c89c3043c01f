"""Bodies, queries and paths into validated models, or a refusal that names the field."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import inf
from typing import Annotated, Any, NoReturn, TypeVar

from flask import request
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, ValidationInfo
from werkzeug.exceptions import RequestEntityTooLarge

from app.api.errors import InvalidFields, UnsupportedMediaType
from app.domain.errors import InvalidInput, MalformedInput, NotFound
from app.domain.storable import storable

Model = TypeVar("Model", bound=BaseModel)


class Body(BaseModel):
    """A JSON object with exactly the fields it may have, of exactly their types."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Query(BaseModel):
    """Parameters of an address. What nobody asked for is not looked at."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Headers(BaseModel):
    """Headers a route looks at, each under its alias."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Path(BaseModel):
    """The variable parts of a path."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def read_body(model: type[Model], context: Mapping[str, Any]) -> Model:
    """The request's body. Raises UnsupportedMediaType, MalformedInput, InvalidFields; 413 comes from Werkzeug."""
    data = request.get_data(cache=False)
    if request.content_length is None and len(data) >= (request.max_content_length or inf):
        # Werkzeug cuts a body of unknown length off at the limit, and says nothing.
        raise RequestEntityTooLarge
    if not data:
        if any(field.is_required() for field in model.model_fields.values()):
            raise MalformedInput("A JSON body is needed.")
        return _validate(model, {}, context)
    if not request.is_json:
        raise UnsupportedMediaType
    value = _parse(data)
    if not isinstance(value, dict):
        raise MalformedInput("The body must be a JSON object.")
    return _validate(model, value, context)


def read_query(model: type[Model]) -> Model:
    """The request's query. A parameter given twice is refused: nobody can know which one was meant."""
    for name in (field.alias or name for name, field in model.model_fields.items()):
        if len(request.args.getlist(name)) > 1:
            raise InvalidInput(f"{name}: given more than once", name)
    return _validate(model, request.args.to_dict(), {})


def read_headers(model: type[Model]) -> Model:
    """The request's headers that the model names by their aliases. One sent without a value is as good as none."""
    names = [field.alias for field in model.model_fields.values() if field.alias]
    return _validate(model, {name: value for name in names if (value := request.headers.get(name))}, {})


def read_path(model: type[Model], values: Mapping[str, str]) -> Model:
    """The path's parts. An id that cannot exist is answered like one that does not."""
    try:
        return model.model_validate(dict(values))
    except ValidationError:
        raise NotFound from None


def check(model: type[Model], value: Mapping[str, Any]) -> Model:
    """What was put together from several places. Raises InvalidFields."""
    return _validate(model, value, {})


def _parse(data: bytes) -> Any:
    try:
        return json.loads(data.decode(), parse_constant=_refuse_constant)
    except RecursionError:
        raise MalformedInput("The body is nested too deeply.") from None
    except ValueError as error:
        place = f" (line {error.lineno}, column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
        raise MalformedInput(f"The body is not valid JSON in UTF-8{place}.") from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _validate(model: type[Model], value: Mapping[str, Any], context: Mapping[str, Any]) -> Model:
    try:
        return model.model_validate(value, context=dict(context))
    except ValidationError as error:
        complaints = error.errors(include_url=False, include_context=False, include_input=False)
        raise InvalidFields([(_name(c["loc"]), _say(c["type"], c["msg"])) for c in complaints]) from None


def _name(place: tuple[int | str, ...]) -> str:
    # Names inside metadata are the client's; they go back cleaned, and not at any length.
    return ".".join(_shown(str(part)) for part in place if part != "[key]")


def _shown(name: str) -> str:
    clean = name.encode("utf-8", "replace").decode()
    return clean if len(clean) <= 80 else clean[:80] + "…"


def _say(kind: str, message: str) -> str:
    if kind == "extra_forbidden":
        return "There is no such field"
    if kind == "value_error":
        return message.removeprefix("Value error, ")
    return message


def not_too_long(text: str, info: ValidationInfo) -> str:
    """Between one character that can be seen and the deployment's limit, in code points."""
    most = (info.context or {}).get("max_message_chars", 10_000)
    if not text.strip():
        raise ValueError("must not be empty")
    if len(text) > most:
        raise ValueError(f"must have at most {most} characters, and has {len(text)}")
    return text


Text = Annotated[str, AfterValidator(storable)]
Message = Annotated[str, AfterValidator(storable), AfterValidator(not_too_long)]
