"""Errors as problems for clients (RFC 9457): one table of classes, one form."""

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

from app.api import protocols
from app.domain.answer_format import Unchecked, WrongForm
from app.domain.decompression import UnreadableBody
from app.domain.errors import (
    BeingErased,
    ConversationBusy,
    InvalidInput,
    LeaseLost,
    MalformedInput,
    ModelNotAllowed,
    NotFound,
    Overloaded,
    ProviderDown,
    QuotaUsed,
    SignInFailed,
    StoreDown,
    TokenEnded,
    UnbrokenError,
    UserBlocked,
    WrongState,
)
from app.domain.json_check import TooCostly
from app.domain.json_example import NoExample
from app.files.errors import FileTooLarge
from app.services.files import NoRoomForFiles
from app.services.model_catalog import UpstreamSilent
from app.services.sign_in_links import CodeRefused
from app.store.logins import LoginRefused

PROBLEM_JSON = "application/problem+json"
# The key of an application's forms for other protocols: a function from Problem to Response by prefix of paths.
FORMS = "unbroken-error-forms"

_log = structlog.get_logger()


class Unauthenticated(UnbrokenError):
    """This needs a valid token or API key, as Authorization: Bearer <text>, or a valid signature.

    ``detail`` is for the log alone: every client gets the sentence above, so that a refusal tells nothing of a guess.
    """

    def __init__(self, detail: str | None = None, *, presented: bool = False) -> None:
        super().__init__(*([detail] if detail else []))
        self.presented = presented


class Forbidden(UnbrokenError):
    """Your role does not allow this."""


class ForeignOrigin(Forbidden):
    """A request by the session cookie that changes something must come from a page of this service (Origin)."""


class InsecureSite(Forbidden):
    """Sign-in needs TLS (https://) or this machine. Behind a proxy with TLS, set PUBLIC_URL; see SIGN_IN_OVER_HTTP."""


class ScopeMissing(Forbidden):
    """The credential lacks the scope that this request needs."""

    def __init__(self, scope: str) -> None:
        super().__init__(f"This key lacks the scope {scope!r}, which this request needs.")


class PersonNeeded(Forbidden):
    """This needs a person's credential, a session or a token; an API key or a signature does not do."""


class TooManyRequests(UnbrokenError):
    """Too many requests were sent; try again a little later."""

    def __init__(self, detail: str, retry_after: float, limit: str | None = None) -> None:
        """``limit``: the variable of the limit; None for the limit of an API key."""
        super().__init__(detail)
        self.retry_after = retry_after
        self.limit = limit


class UnsupportedMediaType(UnbrokenError):
    """The body must be JSON, and Content-Type must say so: application/json."""


class BodyTooLarge(UnbrokenError):
    """The body of the request is too large."""

    def __init__(self, most: int, variable: str, part: str = "The body of the request") -> None:
        super().__init__(f"{part} has more than {most} bytes ({variable}).")
        self.field = variable


class EncodedBody(UnsupportedMediaType):
    """The body must come as it is: Content-Encoding is not decoded here."""


class InvalidFields(InvalidInput):
    """Several fields of the request are invalid; ``fields`` has a pair of name and detail for each."""

    def __init__(self, fields: Sequence[tuple[str, str]]) -> None:
        name, detail = fields[0]
        super().__init__(f"{name}: {detail}" if name else detail, name or None)
        self.fields = list(fields)


@dataclass(frozen=True, slots=True)
class Kind:
    """Status, type and title of a class of errors. ``slug`` is the end of the type, /problems/<slug>."""

    status: int
    slug: str
    title: str


def slug_of(status: HTTPStatus) -> str:
    """The end of the type of a problem that only has an HTTP status."""
    return status.phrase.lower().replace(" ", "-").replace("'", "")


# An error has the entry of the nearest class in its method resolution order.
KINDS: dict[type[UnbrokenError], Kind] = {
    MalformedInput: Kind(400, "malformed", "The request cannot be read"),
    Unauthenticated: Kind(401, "unauthenticated", "No valid credential"),
    ScopeMissing: Kind(403, "scope-missing", "The key lacks a scope"),
    PersonNeeded: Kind(403, "person-needed", "Not for programs"),
    ModelNotAllowed: Kind(403, "model-not-allowed", "Not with this model"),
    UserBlocked: Kind(403, "blocked", "Your access is blocked"),
    Forbidden: Kind(403, "forbidden", "Not allowed"),
    SignInFailed: Kind(403, "sign-in-failed", "The sign-in failed"),
    ForeignOrigin: Kind(403, "foreign-origin", "Sent by a page of another origin"),
    InsecureSite: Kind(403, "insecure-site", "Not over TLS"),
    NotFound: Kind(404, "not-found", "Not found"),
    WrongState: Kind(409, "wrong-state", "Not in this state"),
    NoRoomForFiles: Kind(409, "no-room-for-files", "No room for more files"),
    ConversationBusy: Kind(409, "conversation-busy", "The conversation is busy"),
    BeingErased: Kind(410, "being-erased", "The data is being erased"),
    BodyTooLarge: Kind(413, slug_of(HTTPStatus(413)), HTTPStatus(413).phrase),
    FileTooLarge: Kind(413, slug_of(HTTPStatus(413)), HTTPStatus(413).phrase),
    UnsupportedMediaType: Kind(415, "unsupported-media-type", "Unsupported media type"),
    InvalidInput: Kind(422, "invalid-field", "A field is invalid"),
    TooManyRequests: Kind(429, "too-many-requests", "Too many requests"),
    QuotaUsed: Kind(429, "budget-used", "A budget is used up"),
    Overloaded: Kind(429, "overloaded", "Too much at once"),
    StoreDown: Kind(503, "store-down", "A store does not answer"),
    ProviderDown: Kind(503, "identity-provider-down", "The identity provider does not answer"),
    UpstreamSilent: Kind(503, "upstream-silent", "The upstream lists no models"),
    # These are handled inside the service; one that reaches a client is a defect of the service.
    TooCostly: Kind(500, "internal", "Internal error"),
    Unchecked: Kind(500, "internal", "Internal error"),
    WrongForm: Kind(500, "internal", "Internal error"),
    NoExample: Kind(500, "internal", "Internal error"),
    CodeRefused: Kind(500, "internal", "Internal error"),
    LoginRefused: Kind(500, "internal", "Internal error"),
    UnreadableBody: Kind(500, "internal", "Internal error"),
    TokenEnded: Kind(500, "internal", "Internal error"),
    LeaseLost: Kind(500, "internal", "Internal error"),
    UnbrokenError: Kind(500, "internal", "Internal error"),
}
_INTERNAL = KINDS[UnbrokenError]
_NOT_FOUND_DETAIL = NotFound().detail
_UNAUTHENTICATED_DETAIL = Unauthenticated().detail
_INTERNAL_DETAIL = "Something went wrong here. The request id finds it in the logs."


@dataclass(frozen=True, slots=True)
class Problem:
    """One refusal. ``errors`` name the invalid fields."""

    kind: Kind
    detail: str
    errors: list[dict[str, str]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    cause: UnbrokenError | None = None

    def response(self) -> Response:
        """The response, in the form of the protocol whose path was requested."""
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
            **({"limit": limit} if (limit := getattr(self.cause, "limit", None)) else {}),
        }
        return Response(orjson.dumps(body), self.kind.status, self.headers, content_type=PROBLEM_JSON)


def kind_of(error: type[UnbrokenError]) -> Kind:
    """The entry of the nearest class in the table."""
    return next(KINDS[cls] for cls in error.__mro__ if cls in KINDS)


def problem(error: UnbrokenError) -> Problem:
    """An error of the service without the details that only operators may read."""
    kind = kind_of(type(error))
    if kind.status >= 500 and kind.status != 503:
        return Problem(kind, _INTERNAL_DETAIL)
    if kind.status == 404:
        # One wording for everything: an object of another user must look like one that does not exist.
        return Problem(kind, _NOT_FOUND_DETAIL)
    if kind.status == 401:
        return Problem(kind, _UNAUTHENTICATED_DETAIL, headers=_headers(error, kind))
    return Problem(kind, error.detail, _errors(error), _headers(error, kind), error)


def _errors(error: UnbrokenError) -> list[dict[str, str]]:
    if isinstance(error, InvalidFields):
        return [{"field": name, "detail": detail} for name, detail in error.fields]
    if isinstance(error, (InvalidInput, BodyTooLarge)) and error.field:
        return [{"field": error.field, "detail": error.detail}]
    return []


def _headers(error: UnbrokenError, kind: Kind) -> dict[str, str]:
    if kind.status in (429, 503):
        seconds = max(0.001, getattr(error, "retry_after", 1))
        return {"Retry-After": str(max(1, math.ceil(seconds))), "retry-after-ms": str(math.ceil(seconds * 1000))}
    if isinstance(error, EncodedBody):
        return {"Accept-Encoding": "identity"}
    if isinstance(error, Unauthenticated):
        return {"WWW-Authenticate": challenge(error)}
    return {}


def challenge(error: Unauthenticated) -> str:
    """The WWW-Authenticate header (RFC 6750): why, only when a token was presented."""
    why = ', error="invalid_token"' if error.presented else ""
    return f'Bearer realm="unbroken"{why}'


def http_problem(error: HTTPException) -> Problem:
    """A refusal of Flask or Werkzeug: no such route or method, a body too large."""
    status = error.code or 500
    phrase = HTTPStatus(status).phrase
    kind = _INTERNAL if status == 500 else Kind(status, slug_of(HTTPStatus(status)), phrase)
    detail = _INTERNAL_DETAIL if status == 500 else _HTTP_DETAILS.get(status, error.description or phrase)
    if status in (404, 405):
        detail = protocols.elsewhere(request.path) or detail
    headers = {"Allow": ", ".join(sorted(error.valid_methods or ()))} if isinstance(error, MethodNotAllowed) else {}
    return Problem(kind, detail, headers=headers)


_HTTP_DETAILS = {
    404: "There is nothing at this address.",
    405: "This address does not answer to this method.",
    413: "The body of the request is too large.",
}


def register(app: Flask, not_found_page: Callable[[], Response]) -> None:
    """Turn every error of every route into a problem, never into a stack trace. A browser gets a page for a 404."""

    @app.errorhandler(UnbrokenError)
    def ours(error: UnbrokenError) -> Response:
        if isinstance(error, Unauthenticated):
            g.refused = error.detail
        if kind_of(type(error)).status >= 500:
            _log.warning("request failed", action="request", error=type(error).__name__, detail=error.detail)
        return problem(error).response()

    @app.errorhandler(HTTPException)
    def http(error: HTTPException) -> Any:
        # A redirect is no refusal.
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
    """True when a browser requests a page, at a path that no program uses."""
    return "text/html" in request.headers.get("Accept", "") and not request.path.startswith(("/api/", "/v1/"))
