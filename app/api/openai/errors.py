"""Errors in the form that OpenAI's SDKs read. An SDK chooses its exception, and whether to retry, by the status."""

from __future__ import annotations

from typing import Any

import orjson
from flask import Response

from app.api.errors import InvalidFields, Problem, ScopeMissing
from app.api.request_parsing import UNKNOWN_FIELD
from app.domain.errors import ConversationBusy, InvalidInput, KeyReused, ModelNotAllowed, QuotaUsed
from app.files.errors import FileTooLarge
from app.services.model_catalog import UnknownModel, UpstreamSilent

PREFIX = "/v1/"

# HTTP status → type of the error. Each other 4xx is an invalid_request_error.
_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
_CODES = {401: "invalid_api_key", 429: "rate_limit_exceeded"}
# Cause → status and code in this protocol, where they differ from the native API. The first match counts.
_CAUSES: tuple[tuple[type[Exception], int, str | None], ...] = (
    (UnknownModel, 404, "model_not_found"),
    (ModelNotAllowed, 403, "model_not_allowed"),
    (ScopeMissing, 403, "scope_missing"),
    (UpstreamSilent, 503, "upstream_silent"),
    (QuotaUsed, 429, "insufficient_quota"),
    (KeyReused, 422, "idempotency_key_reused"),
    (ConversationBusy, 409, "conversation_busy"),
    (FileTooLarge, 413, "file_too_large"),
    (InvalidFields, 400, None),
    (InvalidInput, 400, None),
)


def respond(problem: Problem) -> Response:
    """The reply to a refused request."""
    status, code = _classify(problem)
    param = getattr(problem.cause, "field", None)
    if isinstance(problem.cause, KeyReused):
        param = "Idempotency-Key"
    response = Response(
        orjson.dumps(error_body(problem.detail, status, param, code or _field_code(problem))),
        status,
        content_type="application/json",
    )
    response.headers.extend(_headers(problem.headers))
    if status == 409 or isinstance(problem.cause, QuotaUsed):
        # An answer, or a day, takes longer than all retries of an SDK together, so a retry would be in vain.
        response.headers["x-should-retry"] = "false"
    return response


def error_body(message: str, status: int, param: str | None, code: str | None) -> dict[str, Any]:
    """The body of each reply that is not 2xx."""
    kind = _TYPES.get(status) or ("server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code or _CODES.get(status)}}


def _classify(problem: Problem) -> tuple[int, str | None]:
    for cause, status, code in _CAUSES:
        if isinstance(problem.cause, cause):
            return status, code
    return problem.kind.status, None


def _field_code(problem: Problem) -> str | None:
    if isinstance(problem.cause, InvalidFields):
        return "unknown_parameter" if problem.cause.fields[0][1] == UNKNOWN_FIELD else "invalid_value"
    return None


def _headers(headers: dict[str, str]) -> dict[str, str]:
    """The headers with a Retry-After of 1 to 60 seconds, and retry-after-ms of 60,000 at most.

    Beyond 60 seconds one SDK of OpenAI gives up, and the other ignores the header.
    """
    if "Retry-After" not in headers:
        return headers
    seconds = min(max(int(headers["Retry-After"]), 1), 60)
    milliseconds = min(int(headers.get("retry-after-ms", seconds * 1000)), 60_000)
    return {**headers, "Retry-After": str(seconds), "retry-after-ms": str(milliseconds)}
