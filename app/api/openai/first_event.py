"""Responses whose head waits for the first event of their generation: an error before it decides the status."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from flask import Response

from app.api import streams
from app.api.auth.caller import Caller
from app.api.json_response import respond
from app.api.openai.failures import failure
from app.api.waiting import can_park, nothing, respond_after
from app.api.web_process import WebProcess
from app.domain.cursor import START, Cursor
from app.domain.events import Done, Reasoning, Snapshot, Token, Tool, decode
from app.relay.event_stream import EventStream
from app.relay.stream_connection import StreamRequest
from app.relay.stream_wait import EVENT, SILENCE, StreamWait
from app.store.generations import Generation

# Seconds that the head of a response waits for the first event. After them the status is 200.
HEAD_SECONDS = 5.0


def respond_at_first_event(
    process: WebProcess,
    caller: Caller,
    place: str,
    row: Generation,
    make: Callable[[], Response],
    left: Callable[[], None] = nothing,
) -> Response:
    """The response of ``make`` at the first event of a generation, or the refusal for the error that came before it.

    ``place`` is acquired, and goes to ``make``. ``left`` is called when the client leaves before. No thread waits: a
    server that cannot park a connection begins the response at once.
    """
    if not can_park():
        return make()
    first = _First()
    request = streams.for_caller(StreamRequest(row.id, START, render=first.render, heartbeat=SILENCE), caller)

    def release() -> None:
        process.live.quota.release(caller.user.id, place)

    def finish() -> Response:
        if first.failed is None:
            return make()
        release()
        refusal = failure(first.failed.error)
        return respond(refusal.body, refusal.status, refusal.headers)

    def abandoned() -> None:
        release()
        left()

    wait = StreamWait(EventStream(process.live.hub, request), "event", monotonic() + HEAD_SECONDS)
    return respond_after(wait, finish, abandoned)


class _First:
    """Finds the first event that decides the status. ``failed`` is the end of a generation that failed without one."""

    def __init__(self) -> None:
        self.failed: Done | None = None
        self._found = False

    def render(self, cursor: Cursor, payload: bytes) -> bytes:
        """One byte at the first piece of the answer and after it; empty before."""
        if not self._found:
            self._look(payload)
        return EVENT if self._found else b""

    def _look(self, payload: bytes) -> None:
        match decode(payload):
            case Token() | Reasoning() | Tool():
                self._found = True
            case Snapshot() as snapshot:
                self._found = bool(snapshot.text or snapshot.reasoning)
            case Done() as done:
                self._found = True
                self.failed = done if done.status == "error" else None
            case _:
                pass
