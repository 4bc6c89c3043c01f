"""Bodies, queries and paths into validated models, or a refusal that names the field."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import inf, isfinite
from typing import Annotated, Any, NoReturn, TypeVar

from flask import request
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, ValidationInfo
from werkzeug.exceptions import RequestEntityTooLarge

from app.api.errors import InvalidFields, UnsupportedMediaType
from app.domain.errors import InvalidInput, MalformedInput, NotFound

Model = TypeVar("Model", bound=BaseModel)
# As deep as a schema of a tool may reasonably be; far from what encoders and stacks can hold.
DEEPEST = 60
_LARGEST = 2**63 - 1


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
    for name in model.model_fields:
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


def storable(text: str) -> str:
    """Refuse what PostgreSQL cannot keep and UTF-8 cannot say: NUL, and halves of surrogate pairs."""
    if "\0" in text:
        raise ValueError("must not contain the character NUL")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must not contain half of a surrogate pair") from None
    return text


def sound(value: Any) -> None:
    """Raise ValueError for what cannot be stored or sent on: NUL, half surrogates, numbers too large, depths."""
    level: list[Any] = [value]
    for _ in range(DEEPEST):
        level = [part for one in level for part in _parts(one)]
        if not level:
            return
    raise ValueError("must not be nested so deeply")


def _parts(value: Any) -> list[Any]:
    match value:
        case str():
            storable(value)
        case bool():
            pass
        case int() if abs(value) > _LARGEST:
            raise ValueError("must not contain numbers beyond 64 bits")
        case float() if not isfinite(value):
            raise ValueError("must not contain numbers that are not finite")
        case dict():
            return [*value.keys(), *value.values()]
        case list():
            return value
    return []


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
