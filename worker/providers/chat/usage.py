"""The usage in a chunk of chat completions, wherever the upstream writes it and however it names the counts. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from app.domain.usage import MOST_COST, MOST_TOKENS
from worker.providers.base import Usage

_INPUT = ("prompt_tokens", "input_tokens")
_OUTPUT = ("completion_tokens", "output_tokens")
_CACHED = ("cached_tokens", "prompt_cache_hit_tokens", "cache_read_input_tokens")
_WRITTEN = ("cache_write_tokens", "cache_creation_tokens", "cache_creation_input_tokens")


def usage_in(chunk: dict[str, Any]) -> Usage | None:
    """The usage that stands beside the choices of a chunk; None when there is none."""
    for fields in _places(chunk):
        usage = usage_of(fields)
        if usage is not None:
            return usage
    return None


def _places(chunk: dict[str, Any]) -> Iterator[Any]:
    yield chunk.get("usage")
    for name, value in chunk.items():
        if name.startswith("x_") and isinstance(value, dict):  # Groq
            yield value.get("usage")


def usage_of(fields: Any) -> Usage | None:
    """The counts of an object; None when they are none."""
    if not isinstance(fields, dict) or not fields:
        return None
    try:
        cost = fields.get("cost")
        return Usage(
            input_tokens=_first(fields, _INPUT),
            output_tokens=_first(fields, _OUTPUT),
            reasoning_tokens=_first(_details(fields, _OUTPUT), ("reasoning_tokens",)),
            cached_tokens=_first(_details(fields, _INPUT), _CACHED) or _first(fields, _CACHED),
            cache_write_tokens=(_first(_details(fields, _INPUT), _WRITTEN) or _first(fields, _WRITTEN)) or None,
            cost=float(cost) if cost is not None and 0 <= float(cost) < MOST_COST else None,
        )
    except (AttributeError, TypeError, ValueError, OverflowError):
        return None  # an odd bill is no reason to lose the answer


def _details(fields: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    found = (fields.get(f"{name}_details") for name in names)
    return next((details for details in found if details), {})


def _first(fields: dict[str, Any], names: tuple[str, ...]) -> int:
    return next((_count(fields[name]) for name in names if fields.get(name)), 0)


def _count(told: Any) -> int:
    """A number of tokens from 0 to MOST_TOKENS: JSON takes 64 bits at most, and no number that is not finite."""
    return min(max(int(told or 0), 0), MOST_TOKENS)
