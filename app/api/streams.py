"""Streams: checked and opened here, carried by the relay. No session is open by the time the first byte leaves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import structlog
from flask import Response, request

from app.api import render
from app.api.identity import Caller, opened_by_ticket
from app.api.process import WebProcess
from app.api.tracing import request_id
from app.domain import sse
from app.domain.cursor import START, Cursor
from app.ops.metrics import EVENTS_SENT, STREAMS_CLOSED, STREAMS_OPEN
from app.relay.book import Book
from app.relay.follow import Render
from app.relay.places import Asked
from app.relay.reader import Closed, OnClose
from app.relay.strands import Strands
from app.relay.stream import EventStream
from app.services.starting import Command
from app.store.generations import Standing

EVENT_STREAM = "text/event-stream"
# A line in front of the first event: alone in a block it would end some clients.
RETRY = b"retry: 1000\n"

_log = structlog.get_logger()


def serve(process: WebProcess, caller: Caller, generation_id: str, after: Cursor) -> Response:
    """The stream of a generation past a position; 204 when nothing is left of it."""
    with _asked_place(process, caller) as asked:
        row = process.resources.generations.authorise(caller.user, generation_id, after)
        if row.final is not None and after >= row.final:
            return Response(status=204)
        return _respond(process, caller, asked.take(), row, after, conversation_created=False)


def serve_started(process: WebProcess, caller: Caller, command: Command) -> Response:
    """Start what is asked for and answer with its stream. The place is taken first: a refusal must come before."""
    with place_for(process, caller) as place:
        begun = process.begin(caller.user, command)
        row, created = begun.generation, begun.conversation_created
        return _respond(process, caller, place, row, START, conversation_created=created)


def asked_by_event_source() -> bool:
    """Whether this is a browser's EventSource: it accepts nothing but events, and has a ticket for want of a token."""
    return opened_by_ticket() and EVENT_STREAM in request.headers.get("Accept", "").lower()


def come_back(seconds: float) -> Response:
    """For an EventSource, in place of a refusal that will pass: at any status but 200 it would give up for ever."""
    return Response(b"retry: %d\n\n" % (seconds * 1000), headers=list(sse.HEADERS))


@contextmanager
def place_for(process: WebProcess, caller: Caller) -> Iterator[str]:
    """A place among the user's streams; given back when none begins. Raises TooManyStreams, Overloaded."""
    with _asked_place(process, caller) as asked:
        yield asked.take()


@contextmanager
def _asked_place(process: WebProcess, caller: Caller) -> Iterator[Asked]:
    """A place that is being asked for meanwhile; given back unless it is taken and a stream begins in it."""
    asked = process.live.places.ask(caller.user.id)
    try:
        yield asked
    except BaseException:
        asked.drop()
        raise
    if not asked.taken:
        asked.drop()


def _respond(
    process: WebProcess, caller: Caller, place: str, row: Standing, after: Cursor, *, conversation_created: bool
) -> Response:
    # It comes back by itself: soon, but not at once. Its default is three seconds.
    retry = RETRY if asked_by_event_source() else b""
    opening = retry + sse.notice(render.opening(row, after, conversation_created=conversation_created))
    return follow(process, caller, place, row.id, after, opening)


def follow(
    process: WebProcess,
    caller: Caller,
    place: str,
    key: str,
    after: Cursor,
    opening: bytes,
    *,
    book: Book | None = None,
    left: Callable[[], None] = lambda: None,
    render: Render | None = None,
    strands: Strands | None = None,
    heartbeat: bytes = sse.HEARTBEAT,
    headers: Iterable[tuple[str, str]] = sse.HEADERS,
) -> Response:
    """The response that follows a log in a place taken before: a generation's, unless ``book`` has another kind.

    ``left`` is called when nobody follows it any more. ``render`` gives it the form of another protocol;
    ``strands`` are other logs beside it.
    """
    live = process.live
    user_id = caller.user.id

    def release() -> None:
        STREAMS_OPEN.dec()
        live.places.leave(user_id, place)
        left()

    STREAMS_OPEN.inc()
    stream = EventStream(
        live.hub,
        key,
        after,
        opening=opening,
        expires_at=caller.expires_at,
        render=render,
        strands=strands,
        book=book,
        heartbeat=heartbeat,
        on_close=_farewell(request_id(), user_id, "generation_id" if book is None else "feed"),
        release=release,
    )
    return Response(stream, headers=list(headers), direct_passthrough=True)


def _farewell(request: str, user_id: str, subject: str) -> OnClose:
    """Count and log the end of a stream; called in the hub's thread, when the request is long gone.

    ``subject`` is the name under which the log has what was followed.
    """

    def tell(closed: Closed) -> None:
        STREAMS_CLOSED.labels(closed.reason).inc()
        EVENTS_SENT.inc(closed.events)
        _log.info(
            "stream ended",
            action="stream",
            request_id=request,
            user_id=user_id,
            reason=closed.reason,
            events=closed.events,
            bytes=closed.bytes,
            seconds=round(closed.seconds, 3),
            **{subject: closed.generation_id},
        )

    return tell
