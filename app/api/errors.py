"""What an error means to a client: one table, one form (RFC 9457)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import orjson
import structlog
from flask import Flask, Response, current_app, g, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from app.domain.errors import (
    ConversationBusy,
    InvalidInput,
    LeaseLost,
    MalformedInput,
    NotFound,
    Overloaded,
    StoreDown,
    UnbrokenError,
    WrongState,
)
from app.domain.generation import MoveNotAllowed

PROBLEM_JSON = "application/problem+json"
# Where an application keeps the forms of other protocols: a function from Problem to Response by prefix of paths.
FORMS = "unbroken-error-forms"

_log = structlog.get_logger()


class Unauthenticated(UnbrokenError):
    """This needs a valid token: Authorization: Bearer <token>."""

    def __init__(self, detail: str | None = None, *, presented: bool = False) -> None:
        super().__init__(*([detail] if detail else []))
        self.presented = presented


class Forbidden(UnbrokenError):
    """Your role does not allow this."""


class TooManyRequests(UnbrokenError):
    """You have asked too often; try again a little later."""

    def __init__(self, detail: str, retry_after: float) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class UnsupportedMediaType(UnbrokenError):
    """The body must be JSON, and Content-Type must say so: application/json."""


class InvalidFields(InvalidInput):
    """Several parts of the request do not make sense; ``fields`` has a pair of name and complaint for each."""

    def __init__(self, fields: Sequence[tuple[str, str]]) -> None:
        name, detail = fields[0]
        super().__init__(f"{name}: {detail}" if name else detail, name or None)
        self.fields = list(fields)


@dataclass(frozen=True, slots=True)
class Kind:
    """What a class of errors is to a client. ``slug`` is the end of its type, /problems/<slug>."""

    status: int
    slug: str
    title: str


# The nearest class in an error's ancestry counts.
KINDS: dict[type[UnbrokenError], Kind] = {
    MalformedInput: Kind(400, "malformed", "The request cannot be read"),
    Unauthenticated: Kind(401, "unauthenticated", "No valid token"),
    Forbidden: Kind(403, "forbidden", "Not allowed"),
    NotFound: Kind(404, "not-found", "Not found"),
    WrongState: Kind(409, "wrong-state", "Not in this state"),
    ConversationBusy: Kind(409, "conversation-busy", "The conversation is busy"),
    UnsupportedMediaType: Kind(415, "unsupported-media-type", "Unsupported media type"),
    InvalidInput: Kind(422, "invalid-field", "A field is invalid"),
    TooManyRequests: Kind(429, "too-many-requests", "Too many requests"),
    Overloaded: Kind(429, "overloaded", "Too much at once"),
    StoreDown: Kind(503, "store-down", "A store does not answer"),
    # These two end inside the service; one that comes out is a mistake of ours.
    MoveNotAllowed: Kind(500, "internal", "Internal error"),
    LeaseLost: Kind(500, "internal", "Internal error"),
    UnbrokenError: Kind(500, "internal", "Internal error"),
}
_INTERNAL = KINDS[UnbrokenError]
_NOT_FOUND_DETAIL = NotFound().detail
_INTERNAL_DETAIL = "Something went wrong here. The request id finds it in the logs."


@dataclass(frozen=True, slots=True)
class Problem:
    """One refusal. ``errors`` name the fields it is about."""

    kind: Kind
    detail: str
    errors: list[dict[str, str]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    cause: UnbrokenError | None = None

    def response(self) -> Response:
        """The answer that says so, in the form of the protocol that was spoken."""
        for prefix, form in current_app.extensions.get(FORMS, {}).items():
            if request.path.startswith(prefix):
                made: Response = form(self)
                return made
        body = {
            "type": f"/problems/{self.kind.slug}",
            "title": self.kind.title,
            "status": self.kind.status,
            "detail": self.detail,
            "errors": self.errors,
            "request_id": g.get("request_id"),
        }
        response = Response(orjson.dumps(body), self.kind.status, content_type=PROBLEM_JSON)
        response.headers.extend(self.headers)
        return response


def kind_of(error: type[UnbrokenError]) -> Kind:
    """The entry of the nearest class in the table."""
    return next(KINDS[cls] for cls in error.__mro__ if cls in KINDS)


def problem(error: UnbrokenError) -> Problem:
    """An error of ours, as a client may see it."""
    kind = kind_of(type(error))
    if kind.status >= 500 and kind is not KINDS[StoreDown]:
        return Problem(kind, _INTERNAL_DETAIL)
    if kind.status == 404:
        # In one wording, whatever was looked for: what is not yours must look like what does not exist.
        return Problem(kind, _NOT_FOUND_DETAIL)
    return Problem(kind, error.detail, _errors(error), _headers(error, kind), error)


def _errors(error: UnbrokenError) -> list[dict[str, str]]:
    if isinstance(error, InvalidFields):
        return [{"field": name, "detail": detail} for name, detail in error.fields]
    if isinstance(error, InvalidInput) and error.field:
        return [{"field": error.field, "detail": error.detail}]
    return []


def _headers(error: UnbrokenError, kind: Kind) -> dict[str, str]:
    if kind.status in (429, 503):
        return {"Retry-After": str(max(1, math.ceil(getattr(error, "retry_after", 1))))}
    if isinstance(error, Unauthenticated):
        return {"WWW-Authenticate": challenge(error)}
    return {}


def challenge(error: Unauthenticated) -> str:
    """The WWW-Authenticate header (RFC 6750): why, only when a token was presented."""
    why = ', error="invalid_token"' if error.presented else ""
    return f'Bearer realm="unbroken"{why}'


def http_problem(error: HTTPException) -> Problem:
    """What Flask or Werkzeug refuse by themselves: no such route or method, a body too large."""
    status = error.code or 500
    phrase = HTTPStatus(status).phrase
    kind = _INTERNAL if status == 500 else Kind(status, slug_of(HTTPStatus(status)), phrase)
    detail = _INTERNAL_DETAIL if status == 500 else _HTTP_DETAILS.get(status, error.description or phrase)
    headers = {"Allow": ", ".join(sorted(error.valid_methods or ()))} if isinstance(error, MethodNotAllowed) else {}
    return Problem(kind, detail, headers=headers)


def slug_of(status: HTTPStatus) -> str:
    """The end of the type of a problem that has no class of ours."""
    return status.phrase.lower().replace(" ", "-").replace("'", "")


_HTTP_DETAILS = {
    404: "There is nothing at this address.",
    405: "This address does not answer to this method.",
    413: "The body of the request is too large.",
}


def register(app: Flask, not_found_page: Callable[[], Response]) -> None:
    """Answer every error of every route in this form; never with a stack trace. People get a page for a 404."""

    @app.errorhandler(UnbrokenError)
    def ours(error: UnbrokenError) -> Response:
        if kind_of(type(error)).status >= 500:
            _log.warning("request failed", action="request", error=type(error).__name__, detail=error.detail)
        return problem(error).response()

    @app.errorhandler(HTTPException)
    def http(error: HTTPException) -> Any:
        # Redirects are answers, not refusals.
        if error.code is not None and error.code < 400:
            return error.get_response()
        if error.code == 404 and _is_person():
            return not_found_page()
        return http_problem(error).response()

    @app.errorhandler(Exception)
    def unexpected(error: Exception) -> Response:
        _log.exception("request failed", action="request")
        return Problem(_INTERNAL, _INTERNAL_DETAIL).response()


def _is_person() -> bool:
    """Whether a browser asks for a page, outside of what programs use."""
    return "text/html" in request.headers.get("Accept", "") and not request.path.startswith(("/api/", "/v1/", "/ops/"))
