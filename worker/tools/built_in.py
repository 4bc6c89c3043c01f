"""The built-in tools. They use no network."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field

from worker.tools import arithmetic
from worker.tools.function import ToolError

# The factor of each unit to the base unit of its dimension.
_UNITS: dict[str, dict[str, float]] = {
    "length": {"m": 1, "km": 1000, "cm": 0.01, "mm": 0.001, "mi": 1609.344, "yd": 0.9144, "ft": 0.3048, "in": 0.0254},
    "mass": {"kg": 1, "g": 0.001, "mg": 1e-6, "t": 1000, "lb": 0.45359237, "oz": 0.028349523125},
    "volume": {"l": 1, "ml": 0.001, "m3": 1000, "gal": 3.785411784, "pt": 0.473176473},
    "time": {"s": 1, "ms": 0.001, "min": 60, "h": 3600, "d": 86400},
}
Unit = Literal[
    "m", "km", "cm", "mm", "mi", "yd", "ft", "in", "kg", "g", "mg", "t", "lb", "oz", "l", "ml", "m3", "gal", "pt",
    "s", "ms", "min", "h", "d", "C", "F", "K",
]  # fmt: skip


def calculator(expression: Annotated[str, Field(max_length=500, description="Such as (3 + 4) * 2.5")]) -> str:
    """Evaluate an arithmetic expression with + - * / // % ** and parentheses."""
    try:
        result = arithmetic.evaluate(expression.replace("^", "**").replace("×", "*").replace("÷", "/").strip())
    except arithmetic.NoArithmetic:
        raise ToolError("This is not an arithmetic expression.") from None
    except ZeroDivisionError:
        raise ToolError("That divides by zero.") from None
    except OverflowError:
        raise ToolError("The numbers become too large.") from None
    return f"{result:.15g}" if isinstance(result, float) else str(result)


def current_time(zone: Annotated[str, Field(max_length=60, description="Such as Europe/Rome")] = "UTC") -> str:
    """The date and time now, in a time zone."""
    try:
        return datetime.now(ZoneInfo(zone)).isoformat(timespec="seconds")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ToolError(f"There is no time zone named {zone!r}.") from None


def unit_convert(value: float, unit: Unit, to: Unit) -> str:
    """Convert a length, mass, volume, time or temperature from one unit to another."""
    if {unit, to} <= {"C", "F", "K"}:
        return f"{_from_celsius(_to_celsius(value, unit), to):.10g}"
    for factors in _UNITS.values():
        if unit in factors and to in factors:
            return f"{value * factors[unit] / factors[to]:.10g}"
    raise ToolError(f"{unit} cannot be converted to {to}.")


def word_count(text: Annotated[str, Field(max_length=100_000)]) -> dict[str, int]:
    """Count the words, characters and lines of a text."""
    return {"words": len(re.findall(r"\S+", text)), "characters": len(text), "lines": len(text.splitlines())}


def _to_celsius(value: float, unit: str) -> float:
    return {"C": value, "F": (value - 32) / 1.8, "K": value - 273.15}[unit]


def _from_celsius(value: float, unit: str) -> float:
    return {"C": value, "F": value * 1.8 + 32, "K": value + 273.15}[unit]
