"""The fields of a response that the end of its log decides: usage and error. Pure."""

from __future__ import annotations

from typing import Any

# A finish reason with which an answer is incomplete → its name in this protocol.
CUT_SHORT = {"length": "max_output_tokens", "content_filter": "content_filter"}
# The status of an answer that did not complete, and the event that ends its stream.
BROKEN_OFF = {"error": ("failed", "response.failed"), "cancelled": ("cancelled", "response.incomplete")}

_COUNTS = ("input_tokens", "output_tokens", "reasoning_tokens", "cached_tokens", "cache_write_tokens")
# Our error code → its name in this protocol. Each other code is a server_error.
_ERROR_CODES = {
    "upstream_rate_limited": "rate_limit_exceeded",
    "upstream_quota": "rate_limit_exceeded",
    "upstream_rejected": "invalid_prompt",
    "context_length": "invalid_prompt",
}


def usage(counts: dict[str, Any] | None) -> dict[str, Any]:
    """Usage in tokens with every field that the SDKs require; a count that is missing is zero."""
    count = {name: (counts or {}).get(name) or 0 for name in _COUNTS}
    return {
        "input_tokens": count["input_tokens"],
        "input_tokens_details": {
            "cached_tokens": count["cached_tokens"],
            "cache_write_tokens": count["cache_write_tokens"],
        },
        "output_tokens": count["output_tokens"],
        "output_tokens_details": {"reasoning_tokens": count["reasoning_tokens"]},
        "total_tokens": count["input_tokens"] + count["output_tokens"],
    }


def error(found: dict[str, Any] | None) -> dict[str, Any]:
    """The error of a failed response, with one of the codes that the SDKs know."""
    found = found or {}
    code = _ERROR_CODES.get(found.get("code", ""), "server_error")
    return {"code": code, "message": found.get("message") or "The answer could not be generated."}
