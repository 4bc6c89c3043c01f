"""Token usage when nobody told us."""

from __future__ import annotations

from typing import Any

# The usual rule of thumb for English text; what is estimated says so.
CHARS_PER_TOKEN = 4


def estimate(output: str) -> dict[str, Any]:
    """The usage of an answer whose provider was cut off before it could count."""
    return {"input_tokens": None, "output_tokens": -(-len(output) // CHARS_PER_TOKEN), "estimated": True}
