"""Errors as OpenAI's SDKs read them. The status decides which exception a caller gets, and whether it is retried."""

from __future__ import annotations

from typing import Any

import orjson
from flask import Response

from app.api.errors import InvalidFields, Problem
from app.domain.errors import ConversationBusy, InvalidInput, KeyReused
from app.services.catalogue import UnknownModel

PREFIX = "/v1/"

# What a status is called; everything else that is the client's fault is an invalid request.
_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
_CODES = {401: "invalid_api_key", 429: "rate_limit_exceeded"}
# A code of its own, and where the native API says 422, the status this protocol uses. The first that fits counts.
_CAUSES: tuple[tuple[type[Exception], int, str | None], ...] = (
    (UnknownModel, 404, "model_not_found"),
    (KeyReused, 422, "idempotency_key_reused"),
    (ConversationBusy, 409, "conversation_busy"),
    (InvalidFields, 400, None),
    (InvalidInput, 400, None),
)


def respond(problem: Problem) -> Response:
    """The answer to a refused request."""
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
    if status == 409:
        # An answer takes longer than an SDK's patience: asking again at once is in vain.
        response.headers["x-should-retry"] = "false"
    return response


def error_body(message: str, status: int, param: str | None, code: str | None) -> dict[str, Any]:
    """The object every non-2xx has."""
    kind = _TYPES.get(status) or ("server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code or _CODES.get(status)}}


def _classify(problem: Problem) -> tuple[int, str | None]:
    for cause, status, code in _CAUSES:
        if isinstance(problem.cause, cause):
            return status, code
    return problem.kind.status, None


def _field_code(problem: Problem) -> str | None:
    if isinstance(problem.cause, InvalidFields):
        return "unknown_parameter" if problem.cause.fields[0][1] == "There is no such field" else "invalid_value"
    return None


def _headers(headers: dict[str, str]) -> dict[str, str]:
    """The same, with a Retry-After that both SDKs wait for: beyond a minute one gives up and one guesses."""
    if "Retry-After" not in headers:
        return headers
    return {**headers, "Retry-After": str(min(max(int(headers["Retry-After"]), 1), 60))}
