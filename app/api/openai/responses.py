"""Routes for responses."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from flask import Response

from app.api import file_intake
from app.api.auth.caller import Caller
from app.api.bodies import WITH_FILES
from app.api.errors import InvalidFields
from app.api.found_files import FoundFile
from app.api.json_response import respond
from app.api.openai import delivery, ids, items, request_mapping, shapes
from app.api.openai.bodies import (
    OnceHeaders,
    PageQuery,
    ResponseBody,
    ResponsePath,
    ResumeHeaders,
    RetrieveQuery,
)
from app.api.openai.first_event import respond_at_first_event
from app.api.openai.unknown_fields import unknown_fields
from app.api.request_parsing import read_query
from app.api.routing import EVENT_STREAM, Answer, Routes
from app.api.streams import place_for
from app.api.web_process import WebProcess, web
from app.domain.commands import OnBusy, StartGeneration, User
from app.services.openai_responses import Found

routes = Routes(
    "responses", __name__, "/v1", "OpenAI-compatible: the same generations as responses", refusal="OpenAIError"
)

# Each reference costs a query and may name a long item; a request of 1 MB could have thousands of them.
MAX_REFERENCES = 100

_OBJECT = Answer(200, "The response", shapes.OpenAIResponse)
_STREAM = Answer(200, "The response; or its events", content_type=EVENT_STREAM)


@routes.route_for(
    "post",
    "/responses",
    access="user",
    limit="generations",
    answers=(_OBJECT, _STREAM),
    refusals=(404, 409, 502, 504),
    body_kind=WITH_FILES,
)
def create_response(caller: Caller, header: OnceHeaders, body: ResponseBody) -> Response:
    """Create a response. The reply is the new object, its stream, or the object when the response has ended."""
    process = web()
    files: list[FoundFile] = []
    command = _command(process, caller.user, body, header.scoped_key("responses"), files)
    if body.background and not body.stream:
        found = _begin(process, caller.user, command, files)
        return respond(delivery.response(process, found))
    with place_for(process, caller) as place:
        found = _begin(process, caller.user, command, files)
        serve = partial(delivery.stream if body.stream else delivery.hold, process, caller, place, found)
        return serve() if body.background else respond_at_first_event(process, caller, place, found.row, serve)


@routes.route_for(
    "get",
    "/responses/<response_id>",
    access="user",
    limit="reads",
    answers=(_OBJECT, _STREAM, Answer(204, "Last-Event-ID is the number of the last event")),
    opens=lambda path: ids.generation_of(path["response_id"]) if read_query(RetrieveQuery).stream else None,
)
def retrieve_response(caller: Caller, path: ResponsePath, query: RetrieveQuery, header: ResumeHeaders) -> Response:
    """Get a response. With `stream=true` the reply is its stream, from after `starting_after` or Last-Event-ID."""
    process = web()
    found = _find(process, caller.user, path)
    if query.stream:
        return delivery.resume(process, caller, found, query.starting_after, header.last_event_id)
    return respond(delivery.response(process, found))


@routes.route_for("post", "/responses/<response_id>/cancel", access="user", limit="reads", answers=(_OBJECT,))
def cancel_response(caller: Caller, path: ResponsePath) -> Response:
    """Cancel a response; its output so far is kept. A response that has ended does not change."""
    process = web()
    found = process.resources.openai_responses.cancel(caller.user, ids.generation_of(path.response_id))
    return respond(delivery.response(process, found))


@routes.route_for(
    "delete",
    "/responses/<response_id>",
    access="user",
    limit="reads",
    answers=(Answer(200, "The response is deleted", shapes.OpenAIDeleted),),
)
def delete_response(caller: Caller, path: ResponsePath) -> Response:
    """Delete a response, and its conversation when nothing else is in it."""
    web().resources.openai_responses.delete(caller.user, ids.generation_of(path.response_id))
    return respond({"id": path.response_id, "object": "response", "deleted": True})


@routes.route_for(
    "get",
    "/responses/<response_id>/input_items",
    access="user",
    limit="reads",
    answers=(Answer(200, "A page of the input", shapes.OpenAIItems),),
)
def list_input_items(caller: Caller, path: ResponsePath, query: PageQuery) -> Response:
    """List the input items of a response."""
    process = web()
    found = _find(process, caller.user, path)
    said = process.resources.openai_responses.inputs(caller.user, found)
    shown = delivery.in_order(process, caller.user, said, newest_first=query.order == "desc")
    some, has_more = items.page(shown, query.after, query.limit)
    return respond(delivery.page(some, has_more=has_more))


def _begin(process: WebProcess, user: User, command: StartGeneration, files: list[FoundFile]) -> Found:
    with file_intake.placed(files):
        begun = process.begin(user, command, by_program=True)
    return Found(begun.generation, command.request or {})


def _find(process: WebProcess, user: User, path: ResponsePath) -> Found:
    return process.resources.openai_responses.find(user, ids.generation_of(path.response_id))


@dataclass(frozen=True, slots=True)
class _Behind:
    """The position of a new response. The answers of one conversation are made one at a time.

    A second response in a named conversation is refused: its prompt would lack the answer that is running. A response
    after a certain other response waits for that one.
    """

    conversation_id: str | None = None
    parent_id: str | None = None
    on_busy: OnBusy = "reject"


def _command(
    process: WebProcess, user: User, body: ResponseBody, key: str | None, files: list[FoundFile]
) -> StartGeneration:
    """The command of a request; its files are taken in, and added to ``files``."""
    given = body.model_dump(exclude_none=True, include=set(ResponseBody.model_fields))
    parsed = items.parse(body.input, "input", files=files)
    if sum(item["type"] == "item_reference" for item in parsed) > MAX_REFERENCES:
        raise InvalidFields([("input", f"must not refer to more than {MAX_REFERENCES} items")])
    resolved = [item for one in parsed for item in _resolved(process, user, one, files)]
    file_intake.take_in(process, user, files)
    said = items.said(resolved)
    behind = _behind(process, user, body)
    unknown = unknown_fields(body, passed=process.settings.pass_unknown_parameters)
    parameters = {**request_mapping.parameters(given), **unknown}
    request: dict[str, Any] = {
        "surface": "responses",
        "background": bool(body.background),
        "conversation": body.conversation is not None,
        "messages": len(said),
        "echo": request_mapping.echo(given),
    }
    return StartGeneration(
        message=said[-1].content,
        conversation_id=behind.conversation_id,
        parent_id=behind.parent_id,
        on_busy=behind.on_busy,
        model=body.model,
        idempotency_key=key,
        metadata=dict(body.metadata or {}),
        parameters=parameters,
        said=said,
        request=request,
    )


def _behind(process: WebProcess, user: User, body: ResponseBody) -> _Behind:
    if body.previous_response_id is not None and body.conversation is not None:
        detail = "cannot be given together with conversation"
        raise InvalidFields([("previous_response_id", detail)])
    if body.previous_response_id is not None:
        found = process.resources.openai_responses.find(user, ids.generation_of(body.previous_response_id))
        return _Behind(found.row.conversation_id, found.row.message_id, "enqueue")
    if body.conversation is None:
        return _Behind()
    wanted = body.conversation if isinstance(body.conversation, str) else body.conversation.get("id")
    if not isinstance(wanted, str):
        raise InvalidFields([("conversation", "must be an id, or an object with an id")])
    return _Behind(ids.conversation_of(wanted))


def _resolved(process: WebProcess, user: User, item: dict[str, Any], files: list[FoundFile]) -> list[dict[str, Any]]:
    """The item, or the item that it refers to."""
    if item["type"] != "item_reference":
        return [item]
    wanted = ids.item_of(item["id"])
    message = process.resources.openai_responses.message(user, wanted.message_id)
    shown = [one for one in delivery.shown(process, user, [message]) if one["id"] == item["id"]]
    return items.parse(shown, "input", files=files)
