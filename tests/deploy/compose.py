"""Reads a Compose file as `docker compose config` would: merge keys, `${A}`, `${A:-default}`, `${A:?message}`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "docker-compose.yml"

_REFERENCE = re.compile(r"\$(?:(?P<dollar>\$)|\{(?P<name>\w+)(?:(?P<operator>:?[-?])(?P<word>[^{}]*))?\})")


class Missing(Exception):
    """A variable with `:?` that is not set; the message is the file's own."""


def load(variables: Mapping[str, str], file: Path = FILE) -> dict[str, Any]:
    """The content of the file with all variables interpolated. Raises Missing."""
    resolved: dict[str, Any] = _resolve(yaml.safe_load(file.read_text()), variables)
    return resolved


def interpolate(text: str, variables: Mapping[str, str]) -> str:
    """A string of the file with its variables replaced. Raises Missing."""

    def value(match: re.Match[str]) -> str:
        if match["dollar"]:
            return "$"
        given = variables.get(match["name"])
        operator = match["operator"] or ""
        is_there = bool(given) if operator.startswith(":") else given is not None
        if not is_there and operator.endswith("?"):
            raise Missing(match["word"])
        return given or "" if is_there or not operator else match["word"]

    return _REFERENCE.sub(value, text)


def environment(service: Mapping[str, Any], variables: Mapping[str, str]) -> dict[str, str]:
    """The variables of a container. A name without a value is passed on when it is set, and left out otherwise."""
    return {
        name: str(variables[name] if value is None else value)
        for name, value in service.get("environment", {}).items()
        if value is not None or name in variables
    }


def check(service: Mapping[str, Any]) -> list[str]:
    """The health check as a command to run."""
    kind, *command = service["healthcheck"]["test"]
    return command if kind == "CMD" else ["/bin/sh", "-c", *command]


def _resolve(value: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {name: _resolve(item, variables) for name, item in value.items()}
    if isinstance(value, list):
        return [_resolve(item, variables) for item in value]
    return interpolate(value, variables) if isinstance(value, str) else value
