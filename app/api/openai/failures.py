"""The errors of generations as this protocol's status, code and headers. Pure."""

from __future__ import annotations

from typing import Any, NamedTuple

from app.api.openai.errors import error_body

LOWEST, HIGHEST = 400, 599
BAD_GATEWAY = 502
# A chat completion that an operator or another request has cancelled.
CANCELLED = {"code": "cancelled", "message": "The generation was cancelled."}
# Our error code → status and code here. The upstream's credentials are ours, so a client must not take its own for bad.
_CODES: dict[str, tuple[int, str]] = {
    "context_length": (400, "context_length_exceeded"),
    "upstream_rate_limited": (429, "rate_limit_exceeded"),
    "upstream_quota": (429, "insufficient_quota"),
    "upstream_unauthorized": (BAD_GATEWAY, "upstream_unauthorized"),
    "upstream_timeout": (504, "upstream_timeout"),
    "first_token_timeout": (504, "first_token_timeout"),
    "token_timeout": (504, "token_timeout"),
    "generation_timeout": (504, "generation_timeout"),
}
# Status of the upstream → status and code here, where the code above is not enough.
_REJECTIONS: dict[int, tuple[int, str]] = {402: (429, "insufficient_quota"), 404: (404, "model_not_found")}


class Failure(NamedTuple):
    """A refusal: its status, its body and its headers."""

    status: int
    body: dict[str, Any]
    headers: dict[str, str]


def failure(error: dict[str, Any] | None) -> Failure:
    """The refusal for the error of a generation. An error of the upstream has the upstream's status."""
    found = error or CANCELLED
    status, code = classify(found)
    # The worker has made all retries that could help.
    headers = {"x-should-retry": "false"}
    seconds = found.get("retry_after")
    if status == 429 and isinstance(seconds, (int, float)):
        headers |= {"Retry-After": str(max(1, -int(-seconds // 1))), "retry-after-ms": str(int(seconds * 1000))}
    return Failure(status, error_body(found["message"], status, None, code), headers)


def classify(error: dict[str, Any]) -> tuple[int, str]:
    """Status and code of a generation's error."""
    code, upstream_status = str(error.get("code")), error.get("upstream_status")
    if code in _CODES:
        return _CODES[code]
    if not code.startswith("upstream_"):
        return 500, code
    if upstream_status in _REJECTIONS:
        return _REJECTIONS[upstream_status]
    if isinstance(upstream_status, int) and LOWEST <= upstream_status <= HIGHEST:
        return upstream_status, code
    return (400 if code == "upstream_rejected" else BAD_GATEWAY), code
