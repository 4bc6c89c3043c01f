"""Generations: send a message, look at its answer, wait for more of it, follow it, stop it."""

from __future__ import annotations

import time
from collections.abc import Callable
from hashlib import sha256

from flask import Response, request
from pydantic import Field

from app.api import render, shapes, streams
from app.api.fields import AskBody, Id, KeyHeaders, Metadata
from app.api.identity import Caller
from app.api.process import WebProcess, web
from app.api.reading import Headers, Message, Path, Query
from app.api.routing import EVENT_STREAM, Answer, Routes
from app.api.starting import ANSWERS, answer_started
from app.domain.commands import StartGeneration, User
from app.domain.cursor import START, Cursor
from app.domain.errors import InvalidCursor, MalformedInput
from app.domain.generation import TERMINAL
from app.services.generations import GenerationView
from app.services.polling import Poll

LONGEST_WAIT = 30.0

routes = Routes("generations", __name__, "/api/v1", "One answer in the making: start, follow, poll, stop")


class StartBody(AskBody):
    """A message to be answered. `null` is the same as leaving a field out."""

    message: Message = Field(description="What the person says", min_length=1)
    conversation_id: Id | None = Field(None, description="Where it is said; without it a new conversation begins")
    parent_id: Id | None = Field(None, description="The message it follows; the newest one when left out")
    metadata: Metadata | None = Field(None, description="Yours: up to 16 pairs, keys of 64, values of 512 characters")


class GenerationPath(Path):
    """Which generation."""

    generation_id: Id


class PollQuery(Query):
    """What a poller knows already, and how long it is willing to wait for more."""

    after: str | None = Field(None, description="A position; adds the events past it. 0-0 is the start")
    wait: float = Field(0, ge=0, le=LONGEST_WAIT, allow_inf_nan=False, description="Seconds to wait for an event")


class PollHeaders(Headers):
    """What a poller has seen."""

    if_none_match: str | None = Field(None, alias="If-None-Match", description="The ETag of the last answer")


class StreamQuery(Query):
    """Where to go on."""

    after: str | None = Field(None, description="A position; the stream goes on behind it. 0-0 is the start")


class StreamHeaders(Headers):
    """Where to go on, as EventSource says it."""

    last_event_id: str | None = Field(None, alias="Last-Event-ID", description="The same as after, and wins over it")


@routes.route_for(
    "post",
    "/generations",
    access="user",
    limit="generations",
    answers=ANSWERS,
    refusals=(404, 409),
)
def start_generation(caller: Caller, header: KeyHeaders, body: StartBody) -> Response:
    """Send a message and have it answered in the background."""
    key = header.key(body.client_msg_id)
    command = StartGeneration(
        message=body.message,
        conversation_id=body.conversation_id,
        model=body.model,
        parent_id=body.parent_id,
        on_busy=body.on_busy or "reject",
        client_msg_id=key,
        idempotency_key=key,
        metadata=dict(body.metadata or {}),
    )
    return answer_started(caller, command, as_stream=body.wants_stream)


@routes.route_for(
    "get",
    "/generations/<generation_id>",
    access="user",
    limit="reads",
    answers=(
        Answer(200, "The generation with its content so far", shapes.PolledGeneration, headers=("ETag",)),
        Answer(304, "Nothing has changed", headers=("ETag",)),
    ),
)
def get_generation(caller: Caller, path: GenerationPath, query: PollQuery, header: PollHeaders) -> Response:
    """Look at a generation; with `after` and `wait`, poll it."""
    process = web()
    if query.after is None and not query.wait:
        view, events = process.resources.generations.get(caller.user, path.generation_id), {}
    else:
        poll = _wait(process, caller.user, path.generation_id, query)
        view, events = poll.view, {} if query.after is None else {"events": render.events(poll.events)}
    return conditional(lambda: render.answer(render.generation(view) | events), _state(view, query.after))


@routes.route_for(
    "get",
    "/generations/<generation_id>/stream",
    access="user",
    limit="reads",
    answers=(
        Answer(200, "Everything past the position, then live until the end", content_type=EVENT_STREAM),
        Answer(204, "It has ended, and the position is at or past the end"),
    ),
    opens=lambda path: path["generation_id"],
)
def stream_generation(caller: Caller, path: GenerationPath, query: StreamQuery, header: StreamHeaders) -> Response:
    """Follow a generation: replay past the position, then live, without a gap or a repeat."""
    after = _position(header.last_event_id, query.after)
    return streams.serve(web(), caller, path.generation_id, after)


@routes.route_for(
    "post",
    "/generations/<generation_id>/cancel",
    access="user",
    limit="reads",
    answers=(Answer(200, "The generation in its final state", shapes.Generation),),
)
def cancel_generation(caller: Caller, path: GenerationPath) -> Response:
    """Stop a generation, whatever it is doing; what it said so far is kept. Twice is the same as once."""
    return render.answer(render.generation(web().resources.generations.cancel(caller.user, path.generation_id)))


def conditional(make: Callable[[], Response], state: str) -> Response:
    """The answer, or 304 when the client has seen this state. Its tag is weak: time stamps may differ."""
    tag = _tag(state)
    response = Response(status=304) if request.if_none_match.contains_weak(tag) else make()
    response.set_etag(tag, weak=True)
    return response


def _wait(process: WebProcess, user: User, generation_id: str, query: PollQuery) -> Poll:
    """Poll until there is something past ``after``, the end is reached, or the time is up."""
    until = time.monotonic() + query.wait
    after = Cursor.parse(query.after) if query.after is not None else None
    if after is None:
        view = process.resources.generations.get(user, generation_id)
        if request.if_none_match and not request.if_none_match.contains_weak(_tag(_state(view, None))):
            # The client has not seen this yet: there is nothing to wait for.
            return Poll(view, [])
        after = view.cursor
    poller = process.live.poller
    poll = poller.poll(user, generation_id, after)
    while not poll.events and poll.view.row.status not in TERMINAL and (left := until - time.monotonic()) > 0:
        more = process.wait(generation_id, after, left)
        poll = poller.poll(user, generation_id, after)
        if not more:
            break
    return poll


def _tag(state: str) -> str:
    return sha256(state.encode()).hexdigest()[:24]


def _state(view: GenerationView, after: str | None) -> str:
    return f"{view.row.status} {view.cursor} {view.queue_position} {view.row.epoch} {after}"


def _position(header: str | None, query: str | None) -> Cursor:
    if header is None:
        return Cursor.parse(query) if query is not None else START
    try:
        return Cursor.parse(header)
    except InvalidCursor as error:
        raise MalformedInput(error.detail, "Last-Event-ID") from None
