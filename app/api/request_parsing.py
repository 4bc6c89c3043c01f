"""Bodies, queries and paths into validated models, or a refusal that names the field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar, cast

from flask import request
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, ValidationInfo
from werkzeug.exceptions import RequestEntityTooLarge

from app.api import json_body
from app.api.bodies import BodyKind
from app.api.errors import BodyTooLarge, EncodedBody, InvalidFields, UnsupportedMediaType
from app.api.signatures.digest import check_body, is_signed
from app.api.signatures.profile import SignatureRefused
from app.config import Settings
from app.domain.errors import InvalidInput, MalformedInput, NotFound
from app.domain.storable import characters, storable

Model = TypeVar("Model", bound=BaseModel)

# Settings that validators of bodies read from their context, by name.
BOUNDS = (
    "max_message_chars", "max_prompt_chars", "max_import_messages", "max_import_tool_calls", "max_import_items",
    "max_attachments", "max_schema_bytes", "max_schema_depth", "max_schema_values", "max_schema_patterns",
)  # fmt: skip
# The detail of a field that a body does not have.
UNKNOWN_FIELD = "There is no such field"
# Fields that one refusal names at most: a small body must not cause a large response.
MOST_COMPLAINTS = 100


class Body(BaseModel):
    """A JSON object with exactly the fields it may have, of exactly their types."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Query(BaseModel):
    """Parameters of an address. Unknown ones are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Headers(BaseModel):
    """Headers that a route reads, each under its alias."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Path(BaseModel):
    """The variable parts of a path."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def read_body(model: type[Model], settings: Settings, kind: BodyKind) -> Model:
    """The request's body.

    Raises UnsupportedMediaType, BodyTooLarge, MalformedInput, InvalidFields; SignatureRefused for a wrong digest.
    """
    if request.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
        raise EncodedBody
    data = _read(kind.most_bytes(settings), kind.bytes_setting.upper())
    if not data:
        if any(field.is_required() for field in model.model_fields.values()):
            raise MalformedInput("A JSON body is needed.")
        return validate(model, {}, settings)
    if not request.is_json:
        raise UnsupportedMediaType
    json_body.check_count(data, kind.most_values(settings), kind.values_setting.upper())
    if kind.reader is not None:
        return cast("Model", kind.reader(data, settings))
    value = json_body.parse(data)
    del data
    return validate(model, value, settings)


def validate(model: type[Model], value: Any, settings: Settings, place: str = "") -> Model:
    """A parsed object as its model. Raises InvalidFields, whose names begin with ``place``; MalformedInput."""
    if not isinstance(value, dict):
        if place:
            raise InvalidFields([(place, "must be an object")])
        raise MalformedInput("The body must be a JSON object.")
    return _validate(model, value, {name: getattr(settings, name) for name in BOUNDS}, place)


def _read(most: int, variable: str, *, keep: bool = False) -> bytes:
    request.max_content_length = most
    try:
        data = request.get_data(cache=keep)
    except RequestEntityTooLarge:
        raise BodyTooLarge(most, variable) from None
    if request.content_length is None and len(data) >= most:
        # Werkzeug cuts a body of unknown length off at the limit without an error.
        raise BodyTooLarge(most, variable)
    check_body(data)
    return data


def check_unread_body(settings: Settings, kind: BodyKind) -> None:
    """Check the body of a signed request for a view without a model of it, which may still read it.

    Raises SignatureRefused.
    """
    if not is_signed():
        return
    try:
        _read(kind.most_bytes(settings), kind.bytes_setting.upper(), keep=True)
    except BodyTooLarge:
        raise SignatureRefused("digest") from None


def read_query(model: type[Model]) -> Model:
    """The request's query. Raises InvalidFields, and InvalidInput for a parameter that is given twice."""
    for name in (field.alias or name for name, field in model.model_fields.items()):
        if len(request.args.getlist(name)) > 1:
            raise InvalidInput(f"{name}: given more than once", name)
    return _validate(model, request.args.to_dict(), {})


def read_headers(model: type[Model]) -> Model:
    """The request's headers that the model names by their aliases. A header without a value counts as absent."""
    names = [field.alias for field in model.model_fields.values() if field.alias]
    return _validate(model, {name: value for name in names if (value := request.headers.get(name))}, {})


def read_path(model: type[Model], values: Mapping[str, str]) -> Model:
    """The path's parts. An invalid id raises NotFound, as one that does not exist does."""
    try:
        return model.model_validate(dict(values))
    except ValidationError:
        raise NotFound from None


def check(model: type[Model], value: Mapping[str, Any]) -> Model:
    """A value that was put together from several objects, as its model. Raises InvalidFields."""
    return _validate(model, value, {})


def _validate(model: type[Model], value: Mapping[str, Any], context: Mapping[str, Any], place: str = "") -> Model:
    try:
        return model.model_validate(value, context=dict(context))
    except ValidationError as error:
        complaints = error.errors(include_url=False, include_context=False, include_input=False)[:MOST_COMPLAINTS]
        raise InvalidFields(
            [
                (_name((*place.split("."), *c["loc"]) if place else c["loc"]), _detail(c["type"], c["msg"]))
                for c in complaints
            ]
        ) from None


def _name(place: tuple[int | str, ...]) -> str:
    # Names inside metadata come from the client. They are returned as valid UTF-8 and shortened.
    return ".".join(_shown(str(part)) for part in place if part != "[key]")


def _shown(name: str) -> str:
    clean = name.encode("utf-8", "replace").decode()
    return clean if len(clean) <= 80 else clean[:80] + "…"


def _detail(kind: str, message: str) -> str:
    if kind == "extra_forbidden":
        return UNKNOWN_FIELD
    if kind == "value_error":
        return message.removeprefix("Value error, ")
    return message


def not_too_long(text: str, info: ValidationInfo) -> str:
    """Refuse a text without a visible character, or above the deployment's limit in code points."""
    most = (info.context or {}).get("max_message_chars", 10_000)
    if not text.strip():
        raise ValueError("must not be empty")
    if len(text) > most:
        raise ValueError(f"must have at most {most} characters, and has {len(text)}")
    return text


def check_prompt(value: Any, info: ValidationInfo, *, without: int = 0) -> None:
    """Refuse a request in which all texts together have more characters than a prompt may have.

    ``without`` are characters that are no text, such as those of files.
    """
    most = (info.context or {}).get("max_prompt_chars")
    if most is not None and (count := characters(value) - without) > most:
        raise ValueError(f"all texts together must have at most {most} characters (MAX_PROMPT_CHARS), and have {count}")


Text = Annotated[str, AfterValidator(storable)]
Message = Annotated[str, AfterValidator(storable), AfterValidator(not_too_long)]
