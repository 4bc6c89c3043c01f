"""Errors in the body of an answer, recognised by their shape. Pure."""

from __future__ import annotations

from typing import Any

_FINE = frozenset({"0", "ok", "success"})
_FAILED = frozenset({"error", "failed", "failure"})


def error_in(body: Any) -> Any:
    """The error object, or its text, in a JSON value that an upstream sent in place of a chunk; None without one."""
    if isinstance(body, list):  # Google
        found = (error_in(one) for one in body if not isinstance(one, list))
        return next((error for error in found if error is not None), None)
    if not isinstance(body, dict):
        return None
    if error := body.get("error"):
        # Some put the status beside the error.
        outer = {name: body[name] for name in ("code", "status", "status_code") if name in body}
        return {**outer, **error} if isinstance(error, dict) else {**outer, "message": error} if outer else error
    if body.get("choices"):
        return None
    if body.get("object") == "error" or body.get("type") == "error":  # vLLM; Anthropic's shape
        return body
    told = body.get("base_resp")  # MiniMax
    if isinstance(told, dict) and told.get("status_code"):
        return {"message": told.get("status_msg") or "", "code": told["status_code"]}
    if any(body.get(name) for name in ("message", "msg", "detail")) and _fails(body):
        return body
    return None


def _fails(body: dict[str, Any]) -> bool:
    """True when what stands beside a message is a code of failure."""
    code = body.get("code")
    if code not in (None, "", 0) and str(code).lower() not in _FINE and not str(code).startswith("2"):
        return True
    for status in (body.get("status"), body.get("status_code")):
        if status in _FAILED or (isinstance(status, int) and status >= 400):
            return True
    return False
