"""Declarations of routes: access, rate limit, inputs, responses.

One declaration guards the view and writes its part of the OpenAPI document, so the two agree.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import wraps
from typing import Any, Literal, TypeVar, get_type_hints

from flask import g, request
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel

from app.api.auth.caller import by_ticket, caller
from app.api.auth.rights import Access, Need, check_rights, need_of
from app.api.bodies import ORDINARY, BodyKind
from app.api.errors import PROBLEM_JSON, TooManyRequests
from app.api.form_body import read_form
from app.api.request_parsing import check_unread_body, read_body, read_headers, read_path, read_query
from app.api.streams import asked_by_event_source, come_back
from app.api.web_process import web
from app.domain.errors import Overloaded, StoreDown
from app.services.model_catalog import UpstreamSilent

Limit = Literal["reads", "generations", "imports", "exports", "uploads"]
View = TypeVar("View", bound=Callable[..., Any])

EVENT_STREAM = "text/event-stream"
# From the parts of a path, the id of the object that a ticket must be for; None when the request opens no stream.
Opens = Callable[[Mapping[str, str]], str | None]


@dataclass(frozen=True, slots=True)
class Answer:
    """A response that a route can give. ``model`` is None for a response without a JSON body."""

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
        """``refusal`` is the name of the schema that every refusal has."""
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
        body_kind: BodyKind = ORDINARY,
    ) -> Callable[[View], View]:
        """Register a view. It is called with those of caller, path, query, header, body and form that its parameters
        name.

        ``opens``: the route is a stream that a ticket opens in place of a token. ``body_kind``: the bounds of its body.
        """

        def register(view: View) -> View:
            declare = getattr(self, method)
            need = need_of(access, method)
            guarded = guard(view, access, need, limit, opens, body_kind)
            guarded.body_kind = body_kind  # type: ignore[attr-defined]
            statuses = {*_implied(view, access, limit), *refusals}
            declare(
                rule,
                responses=_documented(answers, statuses, self._refusal),
                security=_security(access, need, opens),
                endpoint=view.__name__,
            )(guarded)
            return view

        return register


def public(view: View) -> View:
    """Mark a view outside of the API as public."""
    view.access = "public"  # type: ignore[attr-defined]
    return view


def guard(
    view: Callable[..., Any],
    access: Access,
    need: Need | None,
    limit: Limit | None,
    opens: Opens | None = None,
    body_kind: BodyKind = ORDINARY,
) -> Callable[..., Any]:
    """The view behind its checks, in this order: credential or ticket, scope and role, rate limit, address, body."""
    wanted = _parameters(view)

    def checked(path: Mapping[str, str]) -> Any:
        process = web()
        given: dict[str, Any] = {}
        if access != "public":
            found = by_ticket(process.resources.tickets, opens, path) if opens else None
            found = found or caller(process.methods, process.resources)
            check_rights(found.user, access, need)
            given["caller"] = found
        counted = getattr(process.limits, limit)() if limit is not None else None
        try:
            # The address is parsed while Redis counts.
            given |= _read_address(wanted, path)
        finally:
            if counted is not None:
                counted()
        with process.place_for_body(body_kind, request.content_length), ExitStack() as files:
            if "form" in wanted:
                given["form"] = files.enter_context(read_form(wanted["form"], process.settings, body_kind))
            elif "body" in wanted:
                given["body"] = read_body(wanted["body"], process.settings, body_kind)
            else:
                check_unread_body(process.settings, body_kind)
            return view(**{name: value for name, value in given.items() if name in wanted})

    @wraps(view)
    def guarded(**path: str) -> Any:
        try:
            return checked(path)
        except (StoreDown, UpstreamSilent, Overloaded, TooManyRequests) as error:
            if opens is None or not asked_by_event_source():
                raise
            g.turned_away = 429 if isinstance(error, TooManyRequests) else 503
            return come_back(error.retry_after)

    guarded.access = access  # type: ignore[attr-defined]
    guarded.need = need  # type: ignore[attr-defined]
    # flask-openapi3 would parse the request before the token is verified.
    guarded.__delay_validate_request__ = True  # type: ignore[attr-defined]
    return guarded


def _security(access: Access, need: Need | None, opens: Opens | None) -> list[dict[str, list[str]]]:
    if access == "public":
        return []
    declared: list[dict[str, list[str]]] = [{"bearer": [need] if need else []}, {"cookie": []}]
    if need != "person":
        declared.append({"signature": []})
    return declared if opens is None else [*declared, {"ticket": []}]


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
    """The statuses of refusals that follow from a route's declaration."""
    wanted = _parameters(view)
    statuses = {500, 503}
    if access != "public":
        # A signed request may have to name its user.
        statuses |= {400, 401, 403, 410}
    if limit is not None:
        statuses.add(429)
    if "path" in wanted:
        statuses.add(404)
    if wanted.keys() & {"query", "header"}:
        statuses |= {400, 422}
    if wanted.keys() & {"body", "form"}:
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
    """The documentation of a refusal: a problem, or the protocol's own form."""
    content_type = PROBLEM_JSON if shape == "Problem" else "application/json"
    described: dict[str, Any] = {
        "description": _REFUSALS[status],
        "content": {content_type: {"schema": {"$ref": f"#/components/schemas/{shape}"}}},
    }
    if status in (429, 503):
        described["headers"] = {
            "Retry-After": {"schema": {"type": "integer"}, "description": "Seconds"},
            "retry-after-ms": {"schema": {"type": "integer"}, "description": "Milliseconds"},
        }
    return described


_REFUSALS = {
    400: "The request cannot be read, or a cursor is not one of this stream.",
    401: "No token, key, session or signature, or one that is wrong, expired or ended.",
    403: "The role, or the scopes or models of the key, do not allow it; a page of another origin sent the cookie; "
    "or the user is blocked.",
    404: "It does not exist, or belongs to another user.",
    409: "An answer is still being generated in this conversation, or there is no room for more.",
    410: "The data of this user is being erased.",
    413: "The body is too large.",
    415: "The body is not JSON, or not a form with a file.",
    422: "A field is invalid; or the idempotency key belongs to another request.",
    429: "Too often, or too much at once.",
    500: "A mistake on this side.",
    502: "The upstream failed before the first token, or refused the key of this service.",
    503: "A store does not answer just now, or the upstream lists no models and there is no default.",
    504: "The upstream did not answer in time.",
}
