"""A check of a JSON value against a schema (2020-12), in a bounded number of steps. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jsonschema_rs

from app.domain.errors import UnbrokenError

Schema = Mapping[str, Any] | bool
# A place in a value: the place above, and the name or the number below it. None is the value itself.
Path = tuple[Any, str | int] | None

# Steps that a regular expression may go back, and bytes of its compiled form: with them, a character takes
# microseconds at most.
PATTERN_STEPS = 100_000
PATTERN_BYTES = 65_536
# Steps that count for each character that is matched with a regular expression.
STEPS_PER_CHARACTER = 4

# Such an expression takes time that grows with the square of the text: so many steps count for each pair of characters.
LOOKING_STEPS = 0.25

_PLAIN = jsonschema_rs.RegexOptions(size_limit=PATTERN_BYTES, dfa_size_limit=PATTERN_BYTES * 16)
_LOOKING = jsonschema_rs.FancyRegexOptions(
    backtrack_limit=PATTERN_STEPS, size_limit=PATTERN_BYTES, dfa_size_limit=PATTERN_BYTES * 16
)


class TooCostly(UnbrokenError):
    """A value cannot be checked within the steps that a check may take."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """A schema with the targets of its references, its regular expressions, and its enumerations by identity."""

    schema: Schema
    targets: Mapping[str, Schema]
    patterns: Mapping[str, Any]
    enums: Mapping[int, frozenset[Any]]


@dataclass(frozen=True, slots=True)
class Violation:
    """The keyword that a value violates, and the place of the violation in the value."""

    path: Path
    rule: str

    @property
    def depth(self) -> int:
        """The number of names and numbers of the path."""
        count, path = 0, self.path
        while path is not None:
            count, path = count + 1, path[0]
        return count

    def pointer(self, most: int = 200) -> str:
        """The place as a JSON pointer of about ``most`` characters at most."""
        parts: list[str] = []
        path = self.path
        while path is not None:
            path, part = path
            parts.append(str(part)[:most].replace("~", "~0").replace("/", "~1"))
        text = "".join(f"/{part}" for part in reversed(parts))
        return text if len(text) <= most else text[:most] + "…"


def pattern(text: str) -> Any:
    """A regular expression (ECMA-262), compiled. Raises ValueError."""
    try:
        return jsonschema_rs.Draft202012Validator({"pattern": text}, pattern_options=_PLAIN)
    except ValueError:
        return LookingPattern(jsonschema_rs.Draft202012Validator({"pattern": text}, pattern_options=_LOOKING))


@dataclass(frozen=True, slots=True)
class LookingPattern:
    """A regular expression that looks ahead or refers back."""

    validator: Any

    def is_valid(self, text: str) -> bool:
        """True for a text that has a match."""
        return bool(self.validator.is_valid(text))

    def iter_errors(self, text: str) -> Any:
        """The errors of a text without a match."""
        return self.validator.iter_errors(text)


def key(value: Any) -> Any:
    """A key under which exactly the values are found that JSON Schema calls equal: 1 and 1.0 are, 1 and true not."""
    match value:
        case bool():
            return (bool, value)
        case dict():
            return (dict, frozenset((name, key(one)) for name, one in value.items()))
        case list():
            return (list, tuple(map(key, value)))
    return value


@dataclass(frozen=True, slots=True)
class Place:
    """A schema applied at a place of the value. Rules get it."""

    check: Check
    schema: Mapping[str, Any]
    path: Path

    def broken(self, rule: str, *below: str | int) -> Violation:
        """The violation of a rule here, or one name or number below."""
        return Violation((self.path, below[0]) if below else self.path, rule)

    def apply(self, schema: Schema, value: Any, *below: str | int) -> Violation | None:
        """Apply another schema to the value here, or to the part of it with a name or a number."""
        return self.check.apply(schema, value, (self.path, below[0]) if below else self.path)

    def holds(self, schema: Schema, value: Any) -> bool:
        """True for a value that is valid under another schema."""
        return self.check.apply(schema, value, None) is None


# The argument of the keyword, and the value.
Rule = Callable[[Place, Any, Any], Violation | None]


class Check:
    """One check. ``rules`` are the rules by keyword; it raises TooCostly after ``steps`` steps."""

    __slots__ = ("_left", "_rules", "compiled")

    def __init__(self, compiled: Compiled, rules: Mapping[str, Rule], steps: int) -> None:
        self.compiled = compiled
        self._rules = rules
        self._left = steps

    def apply(self, schema: Schema, value: Any, path: Path) -> Violation | None:
        """The first violation of a schema by a value."""
        if isinstance(schema, bool):
            return None if schema else Violation(path, "false")
        place = Place(self, schema, path)
        self.spend(len(schema))
        for keyword, argument in schema.items():
            rule = self._rules.get(keyword)
            if rule is not None:
                found = rule(place, argument, value)
                if found is not None:
                    return found
        return None

    def spend(self, steps: int) -> None:
        """Count steps. Raises TooCostly when too many are taken."""
        self._left -= steps
        if self._left < 0:
            raise TooCostly

    def key(self, value: Any) -> Any:
        """The key of a value, as ``key`` makes it. Each value inside it is a step."""
        left = [value]
        while left:
            self.spend(len(left))
            left = [part for one in left for part in _parts(one)]
        return key(value)

    def matches(self, wanted: str, text: str) -> bool:
        """True for a text that has a match of a regular expression of the schema."""
        compiled = self.compiled.patterns[wanted]
        self.spend(1 + len(text) * STEPS_PER_CHARACTER)
        if isinstance(compiled, LookingPattern):
            self.spend(int(len(text) ** 2 * LOOKING_STEPS))
        if compiled.is_valid(text):
            return True
        error = next(compiled.iter_errors(text))
        if isinstance(error.kind, jsonschema_rs.ValidationErrorKind.BacktrackLimitExceeded):
            raise TooCostly
        return False


def _parts(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
