"""Streams: checked and opened here, carried by the relay. No session is open by the time the first byte leaves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from flask import Response, request

from app import logs
from app.api.auth.caller import Caller, opened_by_ticket
from app.api.representations.generation import stream_opening
from app.api.stream_span import StreamSpan
from app.api.tracing import request_id
from app.api.web_process import Live, WebProcess
from app.domain import sse
from app.domain.commands import User
from app.domain.credential import Credential
from app.domain.cursor import START, Cursor
from app.ops.metrics import EVENTS_SENT, STREAMS_CLOSED, STREAMS_OPEN
from app.relay.event_stream import EventStream
from app.relay.stream_connection import Closed, OnClose, StreamRequest
from app.relay.stream_quota import OwnLimit, Reservation
from app.services.placement import Command
from app.store.generations import Standing

EVENT_STREAM = "text/event-stream"
# A line in front of the first event: alone in a block it would end some clients.
RETRY = b"retry: 1000\n"

# Ends of a stream after which its client does not come back. The end of a process is none of them.
CLIENT_LEFT = ("gone", "stalled", "revoked")
# In the environment of a request that the short way has handed on: the failure of PostgreSQL that it has waited for.
NOT_NOW = "unbroken.not_now"


def serve(process: WebProcess, caller: Caller, generation_id: str, after: Cursor) -> Response:
    """The stream of a generation past a position; 204 when nothing is left of it."""
    if (failure := request.environ.get(NOT_NOW)) is not None:
        raise failure
    with _reserved_place(process, caller) as reservation:
        row = process.resources.generations.authorise(caller.user, generation_id, after)
        if row.final is not None and after >= row.final:
            return Response(status=204)
        return _respond(process, caller, reservation.acquire(), row, after, conversation_created=False)


def reopen(
    process: WebProcess, caller: Caller, place: str, row: Standing, after: Cursor, request_id: str
) -> EventStream:
    """The stream of a generation that the caller may read, for a request without telemetry and outside of Flask."""
    held = _OpenStream(process.live, caller.user, place, None, request_id, None)
    opening = sse.notice(stream_opening(row, after, conversation_created=False))
    return held.open(caller, StreamRequest(row.id, after), opening)


def serve_started(process: WebProcess, caller: Caller, command: Command) -> Response:
    """Start a generation and answer with its stream. The place is acquired first, so that a refusal starts nothing."""
    with place_for(process, caller) as place:
        begun = process.begin(caller.user, command)
        row, created = begun.generation, begun.conversation_created
        return _respond(process, caller, place, row, START, conversation_created=created)


def asked_by_event_source() -> bool:
    """True for a browser's EventSource: it accepts only events, and uses a ticket because it cannot send a token."""
    return opened_by_ticket() and EVENT_STREAM in request.headers.get("Accept", "").lower()


def come_back(seconds: float) -> Response:
    """The answer to an EventSource in place of a temporary refusal. At any status but 200 it would give up for ever."""
    return Response(b"retry: %d\n\n" % (seconds * 1000), headers=list(sse.HEADERS))


@contextmanager
def place_for(process: WebProcess, caller: Caller) -> Iterator[str]:
    """A place among the user's streams, released when no stream begins. Raises TooManyStreams, Overloaded."""
    with _reserved_place(process, caller) as reservation:
        yield reservation.acquire()


@contextmanager
def _reserved_place(process: WebProcess, caller: Caller) -> Iterator[Reservation]:
    """A place that is requested while the block runs. It is released unless a stream begins in it."""
    reservation = process.live.quota.reserve(caller.user.id, _limit_of_key(caller.user.credential))
    try:
        yield reservation
    except BaseException:
        reservation.release()
        raise
    if not reservation.acquired:
        reservation.release()


def _limit_of_key(credential: Credential) -> OwnLimit | None:
    most = credential.limits.max_streams
    return None if most is None else OwnLimit(f"key {credential.id}", most)


def _respond(
    process: WebProcess, caller: Caller, place: str, row: Standing, after: Cursor, *, conversation_created: bool
) -> Response:
    # An EventSource reconnects by itself, by default after three seconds.
    retry = RETRY if asked_by_event_source() else b""
    opening = retry + sse.notice(stream_opening(row, after, conversation_created=conversation_created))
    return follow(process, caller, place, StreamRequest(row.id, after), opening)


def follow(
    process: WebProcess,
    caller: Caller,
    place: str,
    wanted: StreamRequest,
    opening: bytes,
    *,
    joins: Callable[[], Callable[[], None]] | None = None,
    left: Callable[[], None] | None = None,
    headers: Iterable[tuple[str, str]] = sse.HEADERS,
) -> Response:
    """The response that sends what is requested, in a place among the user's streams that was acquired before.

    Expiry, revocables and reports of the request are filled in here. ``joins`` is called when the stream can begin;
    what it returns is called when the stream has ended. ``left`` is called when the client leaves before the end, and
    must not block.
    """
    span = StreamSpan.begin(_subject(wanted))
    held = _OpenStream(process.live, caller.user, place, left, request_id(), span)
    stream = held.open(caller, wanted, opening, joins)
    return Response(stream, headers=list(headers), direct_passthrough=True)


def for_caller(
    wanted: StreamRequest, caller: Caller, on_close: OnClose | None = None, report: OnClose | None = None
) -> StreamRequest:
    """The request, to end with the caller's access, and with these reports of its end."""
    return replace(
        wanted,
        on_close=on_close or wanted.on_close,
        report=report or wanted.report,
        expires_at=caller.expires_at,
        revocables=caller.user.revocables,
        proved_at=caller.proved_at,
    )


def _subject(wanted: StreamRequest) -> str:
    """The field that names what is followed."""
    return "generation_id" if wanted.log_type is None else "feed"


class _OpenStream:
    """The place and the gauge's share of one open stream, and the fields of its last log line.

    Thousands of idle streams have one each, hence slots and methods instead of closures.
    """

    __slots__ = (
        "_is_counted", "_leave", "_left", "_live", "_place", "_request_id", "_session_id", "_span", "_subject",
        "_user_id",
    )  # fmt: skip

    def __init__(
        self,
        live: Live,
        user: User,
        place: str,
        left: Callable[[], None] | None,
        request_id: str,
        span: StreamSpan | None,
    ) -> None:
        self._live = live
        self._user_id = user.id
        self._session_id = user.credential.id if user.credential.kind == "session" else None
        self._place = place
        self._subject = ""
        self._request_id = request_id
        self._span = span
        self._is_counted = False
        self._leave: Callable[[], None] | None = None
        self._left = left

    def open(
        self,
        caller: Caller,
        wanted: StreamRequest,
        opening: bytes,
        joins: Callable[[], Callable[[], None]] | None = None,
    ) -> EventStream:
        """The body of the response. The place is given back, whatever fails from here on."""
        # The field that names what is followed.
        self._subject = _subject(wanted)
        try:
            self._begin(joins)
            request = for_caller(wanted, caller, on_close=self.count, report=self.report)
            return EventStream(self._live.hub, request, opening, self.release)
        except BaseException:
            self.release()
            raise

    def _begin(self, joins: Callable[[], Callable[[], None]] | None) -> None:
        """Count the stream as open, and join what ``joins`` stands for."""
        STREAMS_OPEN.inc()
        self._is_counted = True
        if self._session_id is not None:
            self._live.session_keeper.joined(self._session_id)
        if joins is not None:
            self._leave = joins()

    def release(self) -> None:
        """Give everything back. Called once."""
        try:
            if self._leave is not None:
                self._leave()
        finally:
            if self._is_counted:
                STREAMS_OPEN.dec()
                if self._session_id is not None:
                    self._live.session_keeper.left(self._session_id)
            self._live.quota.release(self._user_id, self._place)

    def count(self, closed: Closed) -> None:
        """Count the end of the stream; called in the hub's thread."""
        STREAMS_CLOSED.labels(closed.reason).inc()
        EVENTS_SENT.inc(closed.events)
        if self._left is not None and closed.reason in CLIENT_LEFT:
            self._left()

    def report(self, closed: Closed) -> None:
        """Log the end of the stream, and end its span; the request has been answered long before."""
        if self._span is not None:
            self._span.end(closed)
        logs.info(
            __name__,
            "stream ended",
            action="stream",
            request_id=self._request_id,
            user_id=self._user_id,
            reason=closed.reason,
            events=closed.events,
            bytes=closed.bytes,
            seconds=round(closed.seconds, 3),
            **{self._subject: closed.generation_id},
        )
