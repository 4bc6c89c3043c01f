"""Sentences for variables of the environment that cannot be used."""

from __future__ import annotations

from pydantic import ValidationError


def complaints(error: ValidationError) -> list[str]:
    """A line for each problem; never the value, which may be a secret."""
    return [f"{_variable(e['loc'])}: {e['msg']}" for e in error.errors()]


def _variable(place: tuple[int | str, ...]) -> str:
    """The variable at the place of an error; the one of an upstream stands behind the field of all."""
    names = [str(part).upper() for part in place[:2]]
    return names[-1] if names[:1] == ["UPSTREAM_SETTINGS"] else "".join(names[:1]) or "settings"
