"""Routes of generations: send a message, get its answer, poll it, stream it, cancel it."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from hashlib import sha256

from flask import Response, request
from pydantic import Field

from app.api import streams
from app.api.answer_format import ResponseFormat
from app.api.auth.caller import Caller
from app.api.fields import Id, KeyHeaders, Metadata, NewMessageBody, ParametersBody, SystemPrompt
from app.api.json_response import respond
from app.api.representations.generation import Generation, PolledGeneration
from app.api.request_parsing import Headers, Path, Query
from app.api.routing import EVENT_STREAM, Answer, Routes
from app.api.starting import ANSWERS, answer_started
from app.api.waiting import respond_after
from app.api.web_process import WebProcess, web
from app.domain.commands import Setup, StartGeneration
from app.domain.cursor import START, Cursor
from app.domain.errors import InvalidCursor, InvalidInput, MalformedInput
from app.domain.events import Entry
from app.domain.generation import TERMINAL
from app.relay.event_stream import EventStream
from app.relay.stream_connection import StreamRequest
from app.relay.stream_wait import SILENCE, StreamWait, mark
from app.services.generations import GenerationView

LONGEST_WAIT = 30.0

routes = Routes("generations", __name__, "/api/v1", "One answer in the making: start, follow, poll, stop")


class StartBody(NewMessageBody):
    """A message to be answered. `null` is the same as leaving a field out."""

    conversation_id: Id | None = Field(None, description="The conversation it belongs to; without it a new one begins")
    parent_id: Id | None = Field(None, description="The message it follows; the newest one when left out")
    response_format: ResponseFormat | None = Field(
        None, description="The form that the text must have, as in OpenAI's chat completions: text, JSON, or a schema"
    )
    metadata: Metadata | None = Field(None, description="Yours: up to 16 pairs, keys of 64, values of 512 characters")
    system_prompt: SystemPrompt | None = Field(
        None, description="Of a new conversation; yours in /me/preferences when left out, none when empty"
    )
    parameters: ParametersBody | None = Field(None, description="Of the answers of a new conversation")
    temporary: bool | None = Field(
        None, description="A new conversation in no list, search or feed, removed after TEMPORARY_CHAT_SECONDS"
    )

    @property
    def setup(self) -> Setup:
        """The settings of a new conversation. Raises InvalidInput for one in a request that begins none."""
        given = [name for name in ("system_prompt", "parameters", "temporary") if getattr(self, name) is not None]
        if given and self.conversation_id is not None:
            raise InvalidInput(f"{given[0]} is for a new conversation; PATCH changes an existing one.", given[0])
        parameters = self.parameters.model_dump(exclude_none=True) if self.parameters else {}
        return Setup(self.system_prompt, parameters, bool(self.temporary))


class GenerationPath(Path):
    """The id of a generation."""

    generation_id: Id


class PollQuery(Query):
    """The position a poller has reached, and the seconds it waits for an event after it."""

    after: str | None = Field(None, description="A position; adds the events past it. 0-0 is the start")
    wait: float = Field(0, ge=0, le=LONGEST_WAIT, allow_inf_nan=False, description="Seconds to wait for an event")


class PollHeaders(Headers):
    """The state that a poller has seen."""

    if_none_match: str | None = Field(None, alias="If-None-Match", description="The ETag of the last answer")


class StreamQuery(Query):
    """The position after which the stream continues."""

    after: str | None = Field(None, description="A position; the stream goes on behind it. 0-0 is the start")


class StreamHeaders(Headers):
    """The position, as an EventSource sends it."""

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
        webhook_url=body.webhook_url,
        attachments=tuple(body.attachments or ()),
        parameters={} if body.response_format is None else {"response_format": body.response_format},
        setup=body.setup,
    )
    return answer_started(caller, command, as_stream=body.wants_stream)


@routes.route_for(
    "get",
    "/generations/<generation_id>",
    access="user",
    limit="reads",
    answers=(
        Answer(200, "The generation with its content so far", PolledGeneration, headers=("ETag",)),
        Answer(304, "Nothing has changed", headers=("ETag",)),
    ),
)
def get_generation(caller: Caller, path: GenerationPath, query: PollQuery, header: PollHeaders) -> Response:
    """Get a generation; with `after` and `wait`, poll it."""
    process = web()
    if query.after is None and not query.wait:
        return _shown(process.resources.generations.get(caller.user, path.generation_id), None, [])
    return _begin_poll(process, caller, path.generation_id, query)


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
    answers=(
        Answer(200, "The generation in its final state", Generation),
        Answer(202, "The cancel is stored; a worker ends the generation when its log can be read", Generation),
    ),
)
def cancel_generation(caller: Caller, path: GenerationPath) -> Response:
    """Cancel a generation; the text so far is kept. A second cancel returns the generation as it is."""
    view = web().resources.generations.cancel(caller.user, path.generation_id)
    return respond(Generation.of(view), 200 if view.row.final is not None else 202)


def conditional(make: Callable[[], Response], state: str) -> Response:
    """The response ``make`` returns, or 304 when the client has this state. The tag is weak: times may differ."""
    tag = _tag(state)
    response = Response(status=304) if request.if_none_match.contains_weak(tag) else make()
    response.set_etag(tag, weak=True)
    return response


def _shown(view: GenerationView, after: str | None, events: list[Entry]) -> Response:
    made = Generation.of if after is None else partial(PolledGeneration.with_events, entries=events)
    return conditional(lambda: respond(made(view)), _state(view, after))


def _begin_poll(process: WebProcess, caller: Caller, generation_id: str, query: PollQuery) -> Response:
    """The response of a poll: sent at an event after the position, at the end, or when the time is over."""
    until = time.monotonic() + query.wait
    after = Cursor.parse(query.after) if query.after is not None else None
    if after is None:
        view = process.resources.generations.get(caller.user, generation_id)
        if request.if_none_match and not request.if_none_match.contains_weak(_tag(_state(view, None))):
            # The client does not have this state yet, so it is sent at once.
            return _shown(view, None, [])
        after = view.cursor
    return _poll(process, caller, generation_id, after, query.after, until)


def _poll(
    process: WebProcess, caller: Caller, generation_id: str, after: Cursor, asked: str | None, until: float
) -> Response:
    """Read once, and wait for an event at most until ``until``, in seconds of the monotonic clock.

    ``asked`` is the client's ``after``.
    """
    poll = process.live.poller.poll(caller.user, generation_id, after)
    over = poll.events or poll.view.row.status in TERMINAL or time.monotonic() >= until or request.method == "HEAD"
    if over:
        return _shown(poll.view, asked, poll.events)
    request_of_wait = StreamRequest(generation_id, after, render=mark, heartbeat=SILENCE)
    stream = EventStream(process.live.hub, streams.for_caller(request_of_wait, caller))
    wait = StreamWait(stream, "event", until)
    # A wait that ended without an event was cut short or is over: the log is read once more.
    again = partial(_poll, process, caller, generation_id, after, asked)
    return respond_after(wait, lambda: again(until if wait.has_event else 0.0))


def _tag(state: str) -> str:
    return sha256(state.encode()).hexdigest()[:24]


def _state(view: GenerationView, after: str | None) -> str:
    return f"{view.row.status} {view.cursor} {view.queue_position} {view.waiting} {view.row.epoch} {after}"


def _position(header: str | None, query: str | None) -> Cursor:
    if header is None:
        return Cursor.parse(query) if query is not None else START
    try:
        return Cursor.parse(header)
    except InvalidCursor as error:
        raise MalformedInput(error.detail, "Last-Event-ID") from None
