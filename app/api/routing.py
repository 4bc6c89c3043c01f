"""One way to declare a route: who may call it, how often, what it reads, what it answers.

The same declaration guards the view and writes its page of the OpenAPI document, so neither can forget the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any, Literal, TypeVar, get_type_hints

from flask import request
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel

from app.api.errors import PROBLEM_JSON, Forbidden, TooManyRequests
from app.api.identity import by_ticket, caller
from app.api.process import web
from app.api.reading import read_body, read_headers, read_path, read_query
from app.api.streams import asked_by_event_source, come_back
from app.domain.errors import Overloaded, StoreDown

Access = Literal["public", "user", "admin"]
Limit = Literal["reads", "generations"]
View = TypeVar("View", bound=Callable[..., Any])

ADMIN = "admin"
EVENT_STREAM = "text/event-stream"
BEARER: list[dict[str, list[str]]] = [{"bearer": []}]
BEARER_OR_TICKET: list[dict[str, list[str]]] = [*BEARER, {"ticket": []}]
# From the parts of a path, the id of what a ticket has to be for; None when this request is not for a stream.
Opens = Callable[[Mapping[str, str]], str | None]


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer a route can give. ``model`` None: without a body."""

    status: int
    description: str
    model: type[BaseModel] | None = None
    content_type: str = "application/json"
    headers: tuple[str, ...] = ()


class Routes(APIBlueprint):
    """A blueprint whose routes are declared completely."""

    def __init__(
        self, name: str, import_name: str, url_prefix: str, description: str, refusal: str = "Problem"
    ) -> None:
        """``refusal`` is the shape every refusal has."""
        tag = Tag(name=name, description=description)
        super().__init__(
            name,
            import_name,
            url_prefix=url_prefix,
            abp_tags=[tag],
            operation_id_callback=lambda name, path, method: name,
        )
        self._refusal = refusal

    def route_for(
        self,
        method: Literal["get", "post", "put", "patch", "delete"],
        rule: str,
        *,
        access: Access,
        answers: tuple[Answer, ...],
        limit: Limit | None = None,
        refusals: tuple[int, ...] = (),
        opens: Opens | None = None,
        largest_body: int | None = None,
    ) -> Callable[[View], View]:
        """Register a view. It is called with what it asks for by name: caller, path, query, header, body.

        ``opens``: the route is a stream that a ticket opens in place of a token. ``largest_body``: bytes, where that is
        not what the deployment allows everywhere.
        """

        def register(view: View) -> View:
            declare = getattr(self, method)
            guarded = guard(view, access, limit, opens, largest_body)
            statuses = {*_implied(view, access, limit), *refusals}
            declare(
                rule,
                responses=_documented(answers, statuses, self._refusal),
                security=_security(access, opens),
                endpoint=view.__name__,
            )(guarded)
            return view

        return register


def public(view: View) -> View:
    """Mark a view outside the API as open to everybody."""
    view.access = "public"  # type: ignore[attr-defined]
    return view


def guard(
    view: Callable[..., Any],
    access: Access,
    limit: Limit | None,
    opens: Opens | None = None,
    largest_body: int | None = None,
) -> Callable[..., Any]:
    """The view behind its checks: who, how often, and then what."""
    wanted = _parameters(view)

    def checked(path: Mapping[str, str]) -> Any:
        process = web()
        given: dict[str, Any] = {}
        if access != "public":
            found = by_ticket(process.resources.tickets, opens, path) if opens else None
            found = found or caller(process.verifier, process.resources.accounts)
            if access == ADMIN and found.user.role != ADMIN:
                raise Forbidden
            given["caller"] = found
        counted = getattr(process.limits, limit)() if limit is not None else None
        try:
            # What is in the address is there anyhow, and read while the limit is being asked about.
            given |= _read_address(wanted, path)
        finally:
            if counted is not None:
                counted()
        if largest_body is not None:
            request.max_content_length = largest_body
        if "body" in wanted:
            given["body"] = read_body(wanted["body"], {"max_message_chars": process.settings.max_message_chars})
        return view(**{name: value for name, value in given.items() if name in wanted})

    @wraps(view)
    def guarded(**path: str) -> Any:
        try:
            return checked(path)
        except (StoreDown, Overloaded, TooManyRequests) as error:
            if opens is None or not asked_by_event_source():
                raise
            return come_back(error.retry_after)

    guarded.access = access  # type: ignore[attr-defined]
    # flask-openapi3 would read the request before anybody asked who is calling.
    guarded.__delay_validate_request__ = True  # type: ignore[attr-defined]
    return guarded


def _security(access: Access, opens: Opens | None) -> list[dict[str, list[str]]]:
    if access == "public":
        return []
    return BEARER if opens is None else BEARER_OR_TICKET


def _parameters(view: Callable[..., Any]) -> dict[str, Any]:
    hints = get_type_hints(view)
    hints.pop("return", None)
    return hints


def _read_address(wanted: Mapping[str, Any], path: Mapping[str, str]) -> dict[str, Any]:
    read: dict[str, Any] = {}
    if "path" in wanted:
        read["path"] = read_path(wanted["path"], path)
    if "header" in wanted:
        read["header"] = read_headers(wanted["header"])
    if "query" in wanted:
        read["query"] = read_query(wanted["query"])
    return read


def _implied(view: Callable[..., Any], access: Access, limit: Limit | None) -> set[int]:
    """The refusals that follow from what a route does."""
    wanted = _parameters(view)
    statuses = {500, 503}
    if access != "public":
        statuses.add(401)
    if access == ADMIN:
        statuses.add(403)
    if limit is not None:
        statuses.add(429)
    if "path" in wanted:
        statuses.add(404)
    if wanted.keys() & {"query", "header"}:
        statuses |= {400, 422}
    if "body" in wanted:
        statuses |= {400, 413, 415, 422}
    return statuses


def _documented(answers: tuple[Answer, ...], refusals: set[int], shape: str) -> dict[int, Any]:
    documented: dict[int, Any] = {}
    for answer in answers:
        described = documented.setdefault(answer.status, {})
        content = described.get("content", {}) | _content(answer)
        described |= _describe(answer) | ({"content": content} if content else {})
    return documented | {status: refusal(status, shape) for status in sorted(refusals)}


def _describe(answer: Answer) -> dict[str, Any]:
    headers = {name: {"schema": {"type": "string"}} for name in answer.headers}
    return {"description": answer.description} | ({"headers": headers} if headers else {})


def _content(answer: Answer) -> dict[str, Any]:
    if answer.content_type.startswith("text/"):
        return {answer.content_type: {"schema": {"type": "string"}}}
    if answer.model is None:
        return {}
    return {answer.content_type: {"schema": {"$ref": f"#/components/schemas/{answer.model.__name__}"}}}


def refusal(status: int, shape: str = "Problem") -> dict[str, Any]:
    """How a refusal is documented: a problem, or what the protocol has in its place."""
    content_type = PROBLEM_JSON if shape == "Problem" else "application/json"
    described: dict[str, Any] = {
        "description": _REFUSALS[status],
        "content": {content_type: {"schema": {"$ref": f"#/components/schemas/{shape}"}}},
    }
    if status in (429, 503):
        described["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds"}}
    return described


_REFUSALS = {
    400: "The request cannot be read, or a cursor is not one of this stream.",
    401: "No token, or one that is wrong or expired.",
    403: "The role does not allow it.",
    404: "It does not exist, or belongs to somebody else.",
    409: "An answer is still being generated in this conversation.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    422: "A field is invalid; or the idempotency key belongs to another request.",
    429: "Too often, or too much at once.",
    500: "A mistake on this side.",
    503: "A store does not answer just now.",
}
