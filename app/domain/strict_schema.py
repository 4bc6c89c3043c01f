"""The part of JSON Schema that OpenAI allows with ``strict``. Pure."""

from __future__ import annotations

from typing import Any

from app.domain.json_schema import InvalidSchema, subschemas

_FORBIDDEN = (
    "allOf", "oneOf", "not", "if", "then", "else", "dependentRequired", "dependentSchemas", "patternProperties",
    "propertyNames", "contains",
)  # fmt: skip
_TELLING = ("type", "anyOf", "$ref", "enum", "const")


def check_strict(schema: dict[str, Any]) -> None:
    """Refuse an accepted schema that strict mode does not allow. Raises InvalidSchema."""
    if schema.get("type") != "object":
        raise InvalidSchema("", "strict needs type 'object' at the top of the schema")
    for pointer, one in subschemas(schema):
        if isinstance(one, bool):
            if pointer.endswith("/additionalProperties"):
                continue
            raise InvalidSchema(pointer, "strict needs a schema with a type")
        for keyword in _FORBIDDEN:
            if keyword in one:
                raise InvalidSchema(pointer, f"strict does not allow {keyword}")
        if not any(keyword in one for keyword in _TELLING):
            raise InvalidSchema(pointer, "strict needs a schema with a type")
        kind = one.get("type")
        if kind == "object" or (isinstance(kind, list) and "object" in kind) or "properties" in one:
            _check_object(pointer, one)


def _check_object(pointer: str, schema: Any) -> None:
    if schema.get("additionalProperties") is not False:
        raise InvalidSchema(pointer, "strict needs additionalProperties: false with each object")
    missing = sorted(schema.get("properties", {}).keys() - set(schema.get("required", ())))
    if missing:
        detail = (
            f"strict needs each property in required, and {missing[0][:80]!r} is not; allow null to make it optional"
        )
        raise InvalidSchema(pointer, detail)
