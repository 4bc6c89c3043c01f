"""Responses: ask, look, follow, stop, delete."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flask import Response

from app.api import render
from app.api.errors import InvalidFields
from app.api.identity import Caller
from app.api.openai import asking, ids, items, serving, shapes
from app.api.openai.bodies import (
    OnceHeaders,
    PageQuery,
    ResponseBody,
    ResponsePath,
    ResumeHeaders,
    RetrieveQuery,
)
from app.api.process import WebProcess, web
from app.api.reading import read_query
from app.api.routing import EVENT_STREAM, Answer, Routes
from app.api.streams import place_for
from app.domain.commands import OnBusy, StartGeneration, User
from app.services.responses import Found

routes = Routes(
    "responses", __name__, "/v1", "OpenAI-compatible: the same generations as responses", refusal="OpenAIError"
)

# Each is looked up, and may be long: a request of a megabyte could name thousands.
MAX_REFERENCES = 100

_OBJECT = Answer(200, "The response", shapes.OpenAIResponse)
_STREAM = Answer(200, "The response; or its events", content_type=EVENT_STREAM)


@routes.route_for(
    "post",
    "/responses",
    access="user",
    limit="generations",
    answers=(_OBJECT, _STREAM),
    refusals=(404, 409),
)
def create_response(caller: Caller, header: OnceHeaders, body: ResponseBody) -> Response:
    """Ask for a response: at once as it begins, as a stream, or when it has ended."""
    process = web()
    command = _command(process, caller.user, body, header.scoped_key("responses"))
    if body.background and not body.stream:
        found = _begin(process, caller.user, command)
        return render.answer(serving.response(process, found))
    with place_for(process, caller) as place:
        found = _begin(process, caller.user, command)
        serve = serving.stream if body.stream else serving.hold
        return serve(process, caller, place, found)


@routes.route_for(
    "get",
    "/responses/<response_id>",
    access="user",
    limit="reads",
    answers=(_OBJECT, _STREAM, Answer(204, "Last-Event-ID is that of the last event")),
    opens=lambda path: ids.generation_of(path["response_id"]) if read_query(RetrieveQuery).stream else None,
)
def retrieve_response(caller: Caller, path: ResponsePath, query: RetrieveQuery, header: ResumeHeaders) -> Response:
    """Look at a response; with `stream=true`, follow it, also behind `starting_after` or Last-Event-ID."""
    process = web()
    found = _find(process, caller.user, path)
    if query.stream:
        return serving.resume(process, caller, found, query.starting_after, header.last_event_id)
    return render.answer(serving.response(process, found))


@routes.route_for("post", "/responses/<response_id>/cancel", access="user", limit="reads", answers=(_OBJECT,))
def cancel_response(caller: Caller, path: ResponsePath) -> Response:
    """Stop a response, whatever it is doing; what it said so far is kept. One that has ended stays as it is."""
    process = web()
    found = process.resources.responses.cancel(caller.user, ids.generation_of(path.response_id))
    return render.answer(serving.response(process, found))


@routes.route_for(
    "delete",
    "/responses/<response_id>",
    access="user",
    limit="reads",
    answers=(Answer(200, "It is deleted", shapes.OpenAIDeleted),),
)
def delete_response(caller: Caller, path: ResponsePath) -> Response:
    """Delete a response. Its conversation goes with it unless there is more in it."""
    web().resources.responses.delete(caller.user, ids.generation_of(path.response_id))
    return render.answer({"id": path.response_id, "object": "response", "deleted": True})


@routes.route_for(
    "get",
    "/responses/<response_id>/input_items",
    access="user",
    limit="reads",
    answers=(Answer(200, "A page of its input", shapes.OpenAIItems),),
)
def list_input_items(caller: Caller, path: ResponsePath, query: PageQuery) -> Response:
    """What was said to it."""
    process = web()
    found = _find(process, caller.user, path)
    said = process.resources.responses.inputs(caller.user, found)
    shown = serving.in_order(process, caller.user, said, newest_first=query.order == "desc")
    some, has_more = items.page(shown, query.after, query.limit)
    return render.answer(serving.page(some, has_more=has_more))


def _begin(process: WebProcess, user: User, command: StartGeneration) -> Found:
    begun = process.begin(user, command)
    return Found(begun.generation, command.request or {})


def _find(process: WebProcess, user: User, path: ResponsePath) -> Found:
    return process.resources.responses.find(user, ids.generation_of(path.response_id))


@dataclass(frozen=True, slots=True)
class _Behind:
    """What a response follows. Answers of one conversation are made one at a time.

    A second one in a named conversation is refused, because it could not know the first. One behind a certain
    response knows what it follows, so it just waits.
    """

    conversation_id: str | None = None
    parent_id: str | None = None
    on_busy: OnBusy = "reject"


def _command(process: WebProcess, user: User, body: ResponseBody, key: str | None) -> StartGeneration:
    given = body.model_dump(exclude_none=True)
    parsed = items.parse(body.input, "input", process.settings.max_message_chars)
    if sum(item["type"] == "item_reference" for item in parsed) > MAX_REFERENCES:
        raise InvalidFields([("input", f"must not refer to more than {MAX_REFERENCES} items")])
    said = items.said([item for one in parsed for item in _resolved(process, user, one)])
    behind = _behind(process, user, body)
    parameters = asking.parameters(given)
    request: dict[str, Any] = {
        "surface": "responses",
        "background": bool(body.background),
        "conversation": body.conversation is not None,
        "messages": len(said),
        "echo": asking.echo(given),
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
        found = process.resources.responses.find(user, ids.generation_of(body.previous_response_id))
        return _Behind(found.row.conversation_id, found.row.message_id, "enqueue")
    if body.conversation is None:
        return _Behind()
    wanted = body.conversation if isinstance(body.conversation, str) else body.conversation.get("id")
    if not isinstance(wanted, str):
        raise InvalidFields([("conversation", "must be an id, or an object with an id")])
    return _Behind(ids.conversation_of(wanted))


def _resolved(process: WebProcess, user: User, item: dict[str, Any]) -> list[dict[str, Any]]:
    """An item, or what it refers to."""
    if item["type"] != "item_reference":
        return [item]
    wanted = ids.item_of(item["id"])
    message = process.resources.responses.message(user, wanted.message_id)
    shown = [one for one in serving.shown(process, user, [message]) if one["id"] == item["id"]]
    return items.parse(shown, "input", process.settings.max_message_chars)
