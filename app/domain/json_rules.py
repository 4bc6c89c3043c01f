"""The keywords of JSON Schema (2020-12) as rules. Pure.

The first violation ends a check. The values of ``format`` and of the ``content`` keywords are annotations, as the
specification has them by default: they are not checked.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

from app.domain.json_check import Check, Compiled, Place, Rule, TooCostly, Violation


def violation(compiled: Compiled, value: Any, most_steps: int) -> Violation | None:
    """The first violation of a schema by a value of JSON, None for a valid value. Raises TooCostly."""
    try:
        return Check(compiled, _RULES, most_steps).apply(compiled.schema, value, None)
    except RecursionError:
        raise TooCostly from None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


Kind = type[str] | type[list[Any]] | type[dict[str, Any]]

_TYPES: dict[str, Callable[[Any], bool]] = {
    "null": lambda value: value is None,
    "boolean": lambda value: isinstance(value, bool),
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "number": _is_number,
    "integer": lambda value: _is_number(value) and (isinstance(value, int) or value.is_integer()),
}


def _type(at: Place, wanted: Any, value: Any) -> Violation | None:
    names = [wanted] if isinstance(wanted, str) else wanted
    return None if any(_TYPES[name](value) for name in names) else at.broken("type")


def _const(at: Place, wanted: Any, value: Any) -> Violation | None:
    return None if at.check.key(value) == at.check.key(wanted) else at.broken("const")


def _enum(at: Place, wanted: Any, value: Any) -> Violation | None:
    return None if at.check.key(value) in at.check.compiled.enums[id(wanted)] else at.broken("enum")


def _bound(name: str, holds: Callable[[Any, Any], bool]) -> Rule:
    def rule(at: Place, bound: Any, value: Any) -> Violation | None:
        return None if not _is_number(value) or holds(value, bound) else at.broken(name)

    return rule


def _is_multiple(value: Any, of: Any) -> bool:
    # By their decimal digits: 0.3 is a multiple of 0.1.
    return (Fraction(repr(value)) / Fraction(repr(of))).denominator == 1


def _size(
    name: str, kind: type[str] | type[list[Any]] | type[dict[str, Any]], holds: Callable[[int, Any], bool]
) -> Rule:
    def rule(at: Place, bound: Any, value: Any) -> Violation | None:
        return None if not isinstance(value, kind) or holds(len(value), bound) else at.broken(name)

    return rule


def _pattern(at: Place, wanted: Any, value: Any) -> Violation | None:
    return None if not isinstance(value, str) or at.check.matches(wanted, value) else at.broken("pattern")


def _unique(at: Place, wanted: Any, value: Any) -> Violation | None:
    if not wanted or not isinstance(value, list):
        return None
    return None if len(set(map(at.check.key, value))) == len(value) else at.broken("uniqueItems")


def _required(at: Place, names: Any, value: Any) -> Violation | None:
    if not isinstance(value, dict):
        return None
    at.check.spend(len(names))
    missing = next((name for name in names if name not in value), None)
    return None if missing is None else at.broken("required", missing)


def _dependent_required(at: Place, wanted: Any, value: Any) -> Violation | None:
    if not isinstance(value, dict):
        return None
    at.check.spend(len(wanted))
    for name, names in wanted.items():
        if name in value and (found := _required(at, names, value)):
            return Violation(found.path, "dependentRequired")
    return None


def _properties(at: Place, wanted: Any, value: Any) -> Violation | None:
    if not isinstance(value, dict):
        return None
    at.check.spend(len(wanted))
    for name, one in wanted.items():
        if name in value and (found := at.apply(one, value[name], name)):
            return found
    return None


def _pattern_properties(at: Place, wanted: Any, value: Any) -> Violation | None:
    if not isinstance(value, dict):
        return None
    for text, one in wanted.items():
        for name, part in value.items():
            at.check.spend(1)
            if at.check.matches(text, name) and (found := at.apply(one, part, name)):
                return found
    return None


def _additional(at: Place, wanted: Any, value: Any) -> Violation | None:
    if not isinstance(value, dict):
        return None
    named, patterns = at.schema.get("properties", {}), at.schema.get("patternProperties", {})
    for name, part in value.items():
        at.check.spend(1)
        if name in named or any(at.check.matches(text, name) for text in patterns):
            continue
        if found := at.apply(wanted, part, name):
            return at.broken("additionalProperties", name) if wanted is False else found
    return None


def _property_names(at: Place, wanted: Any, value: Any) -> Violation | None:
    if not isinstance(value, dict):
        return None
    for name in value:
        at.check.spend(1)
        if not at.holds(wanted, name):
            return at.broken("propertyNames", name)
    return None


def _prefix(at: Place, wanted: Any, value: Any) -> Violation | None:
    if not isinstance(value, list):
        return None
    for n, (one, part) in enumerate(zip(wanted, value, strict=False)):
        at.check.spend(1)
        if found := at.apply(one, part, n):
            return found
    return None


def _items(at: Place, wanted: Any, value: Any) -> Violation | None:
    if not isinstance(value, list):
        return None
    first = len(at.schema.get("prefixItems", ()))
    for n, part in enumerate(value[first:], first):
        at.check.spend(1)
        if found := at.apply(wanted, part, n):
            return at.broken("items", n) if wanted is False else found
    return None


def _contains(at: Place, wanted: Any, value: Any) -> Violation | None:
    if not isinstance(value, list):
        return None
    at.check.spend(len(value))
    count = sum(at.holds(wanted, part) for part in value)
    if count < at.schema.get("minContains", 1):
        return at.broken("contains")
    return at.broken("maxContains") if count > at.schema.get("maxContains", count) else None


def _ref(at: Place, reference: Any, value: Any) -> Violation | None:
    return at.apply(at.check.compiled.targets[reference], value)


def _all_of(at: Place, wanted: Any, value: Any) -> Violation | None:
    for one in wanted:
        at.check.spend(1)
        if found := at.apply(one, value):
            return found
    return None


def _any_of(at: Place, wanted: Any, value: Any) -> Violation | None:
    found = [at.broken("anyOf")]
    for one in wanted:
        at.check.spend(1)
        violated = at.apply(one, value)
        if violated is None:
            return None
        found.append(violated)
    return _deepest(found)


def _one_of(at: Place, wanted: Any, value: Any) -> Violation | None:
    at.check.spend(len(wanted))
    found = [at.apply(one, value) for one in wanted]
    if found.count(None) == 1:
        return None
    if None in found:
        return at.broken("oneOf")
    return _deepest([at.broken("oneOf"), *(one for one in found if one)])


def _deepest(found: list[Violation]) -> Violation:
    # The schema that was meant is probably the one whose violation is deepest in the value.
    return max(found, key=lambda one: one.depth)


def _not(at: Place, wanted: Any, value: Any) -> Violation | None:
    return at.broken("not") if at.holds(wanted, value) else None


def _if(at: Place, wanted: Any, value: Any) -> Violation | None:
    return at.apply(at.schema.get("then" if at.holds(wanted, value) else "else", True), value)


def _dependent_schemas(at: Place, wanted: Any, value: Any) -> Violation | None:
    if not isinstance(value, dict):
        return None
    at.check.spend(len(wanted))
    return _all_of(at, [one for name, one in wanted.items() if name in value], value)


_RULES: dict[str, Rule] = {
    "type": _type,
    "const": _const,
    "enum": _enum,
    "minimum": _bound("minimum", lambda value, bound: bool(value >= bound)),
    "maximum": _bound("maximum", lambda value, bound: bool(value <= bound)),
    "exclusiveMinimum": _bound("exclusiveMinimum", lambda value, bound: bool(value > bound)),
    "exclusiveMaximum": _bound("exclusiveMaximum", lambda value, bound: bool(value < bound)),
    "multipleOf": _bound("multipleOf", _is_multiple),
    "minLength": _size("minLength", str, lambda size, bound: bool(size >= bound)),
    "maxLength": _size("maxLength", str, lambda size, bound: bool(size <= bound)),
    "minItems": _size("minItems", list, lambda size, bound: bool(size >= bound)),
    "maxItems": _size("maxItems", list, lambda size, bound: bool(size <= bound)),
    "minProperties": _size("minProperties", dict, lambda size, bound: bool(size >= bound)),
    "maxProperties": _size("maxProperties", dict, lambda size, bound: bool(size <= bound)),
    "pattern": _pattern,
    "uniqueItems": _unique,
    "required": _required,
    "dependentRequired": _dependent_required,
    "properties": _properties,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional,
    "propertyNames": _property_names,
    "prefixItems": _prefix,
    "items": _items,
    "contains": _contains,
    "$ref": _ref,
    "allOf": _all_of,
    "anyOf": _any_of,
    "oneOf": _one_of,
    "not": _not,
    "if": _if,
    "dependentSchemas": _dependent_schemas,
}
