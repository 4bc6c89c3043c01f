"""A generation as a response: its stream, its object now, or its object when it has ended."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import orjson
from flask import Response, request

from app.api import streams
from app.api.auth.caller import Caller
from app.api.openai import items, request_mapping
from app.api.openai.response_events import ResponseTranslator
from app.api.web_process import WebProcess
from app.domain.commands import User
from app.domain.cursor import START, Cursor
from app.domain.errors import MalformedInput
from app.domain.events import Entry
from app.domain.generation import TERMINAL
from app.relay.stream_connection import StreamRequest
from app.services.openai_responses import Found
from app.store.messages import Message

JSON_HEADERS = (("Content-Type", "application/json"), ("Cache-Control", "no-store"))
GREETING = b": hi\n"
# Milliseconds after which EventSource reconnects by itself.
RETRY = b"retry: 1000\n"
# JSON may begin with white space: these are the heartbeats of a connection that waits for an object.
BLANK = b"\n"


def translator(found: Found, **options: Any) -> ResponseTranslator:
    """A translator at the beginning of the log."""
    return ResponseTranslator(request_mapping.base(found.row, found.request), found.row.message_id, **options)


def folded(found: Found, log: Iterable[Entry]) -> ResponseTranslator:
    """A translator that has folded this log without writing frames."""
    silent = translator(found, silent=True)
    silent.opening()
    for cursor, payload in log:
        silent.render(cursor, payload)
    return silent


def response(process: WebProcess, found: Found) -> dict[str, Any]:
    """The response object now."""
    return folded(found, process.resources.openai_responses.log(found.row)).response()


def stream(process: WebProcess, caller: Caller, place: str, found: Found, after: int = -1) -> Response:
    """The stream of the events past the number ``after``."""
    patient = "text/event-stream" in request.headers.get("Accept", "").lower()
    events = translator(found, after=after, retry=RETRY if patient else b"")
    opening = GREETING + events.opening()
    return streams.follow(process, caller, place, StreamRequest(found.row.id, START, render=events.render), opening)


def hold(process: WebProcess, caller: Caller, place: str, found: Found) -> Response:
    """The response object when the generation has ended. The hub holds the connection, and no thread waits."""
    silent = translator(found, silent=True)
    silent.opening()

    def render(cursor: Cursor, payload: bytes) -> bytes:
        silent.render(cursor, payload)
        return orjson.dumps(silent.response()) if silent.ended else b""

    wanted = StreamRequest(found.row.id, START, render=render, heartbeat=BLANK)
    return streams.follow(process, caller, place, wanted, b"", headers=JSON_HEADERS)


def resume(
    process: WebProcess, caller: Caller, found: Found, starting_after: int | None, last_event_id: str | None
) -> Response:
    """The stream for a client that has a part of it.

    The status is 204 for an EventSource that has the last event: it then stops to reconnect.
    """
    seen = _number(last_event_id)
    if seen is not None and found.row.final is not None and seen >= _last(process, found):
        return Response(status=204)
    after = seen if seen is not None else starting_after
    with streams.place_for(process, caller) as place:
        return stream(process, caller, place, found, -1 if after is None else after)


def shown(process: WebProcess, user: User, messages: Iterable[Message]) -> Iterator[dict[str, Any]]:
    """The items of these messages in order. Running answers are left out."""
    for message in messages:
        if message.generation_id is None:
            yield from items.of_message(message)
        elif message.status in TERMINAL:
            yield from _answer(process, user, message)


def in_order(
    process: WebProcess, user: User, messages: list[Message], *, newest_first: bool
) -> Iterator[dict[str, Any]]:
    """The items of these messages, from the oldest or from the newest."""
    if not newest_first:
        yield from shown(process, user, messages)
        return
    for message in reversed(messages):
        yield from reversed(list(shown(process, user, [message])))


def page(found: list[dict[str, Any]], *, has_more: bool) -> dict[str, Any]:
    """The object of one page of a list."""
    first, last = (found[0]["id"], found[-1]["id"]) if found else (None, None)
    return {"object": "list", "data": found, "first_id": first, "last_id": last, "has_more": has_more}


def _answer(process: WebProcess, user: User, message: Message) -> list[dict[str, Any]]:
    if message.items is not None or message.generation_id is None:
        return items.of_message(message)
    found = process.resources.openai_responses.logs(user, [message.generation_id])
    return [item for one, log in found.values() for item in folded(one, log).response()["output"]]


def _last(process: WebProcess, found: Found) -> int:
    """The sequence number of the last event of a response that has ended."""
    return folded(found, process.resources.openai_responses.log(found.row)).last


def _number(text: str | None) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 12):
        raise MalformedInput("Last-Event-ID must be a sequence number of this stream.", "Last-Event-ID")
    return int(text)
