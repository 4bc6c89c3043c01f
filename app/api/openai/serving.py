"""A generation as a response: its object, its stream, or its object once it has ended."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import orjson
from flask import Response, request

from app.api import streams
from app.api.identity import Caller
from app.api.openai import asking, items
from app.api.openai.translate import ResponseTranslator
from app.api.process import WebProcess
from app.domain.commands import User
from app.domain.cursor import START, Cursor
from app.domain.errors import MalformedInput
from app.domain.events import Entry
from app.domain.generation import TERMINAL
from app.services.responses import Found
from app.store.conversations import Message

JSON_HEADERS = (("Content-Type", "application/json"), ("Cache-Control", "no-store"))
GREETING = b": hi\n"
# Soon, but not at once: for EventSource, which reconnects by itself.
RETRY = b"retry: 1000\n"
# JSON may begin with white space, so an object that is waited for has a heartbeat too.
BLANK = b"\n"


def translator(found: Found, **options: Any) -> ResponseTranslator:
    """A translator at the beginning of the log."""
    return ResponseTranslator(asking.base(found.row, found.request), found.row.message_id, **options)


def folded(found: Found, log: Iterable[Entry]) -> ResponseTranslator:
    """A translator that has read this log and kept silent."""
    silent = translator(found, tells=False)
    silent.opening()
    for cursor, payload in log:
        silent.render(cursor, payload)
    return silent


def response(process: WebProcess, found: Found) -> dict[str, Any]:
    """The object as of now."""
    return folded(found, process.resources.responses.log(found.row)).response()


def stream(process: WebProcess, caller: Caller, place: str, found: Found, after: int = -1) -> Response:
    """The stream past a sequence number."""
    patient = "text/event-stream" in request.headers.get("Accept", "").lower()
    telling = translator(found, after=after, retry=RETRY if patient else b"")
    opening = GREETING + telling.opening()
    return streams.follow(process, caller, place, found.row.id, START, opening, render=telling.render)


def hold(process: WebProcess, caller: Caller, place: str, found: Found) -> Response:
    """The object, once it has ended. No thread waits for it: the socket waits in the hub."""
    silent = translator(found, tells=False)
    silent.opening()

    def render(cursor: Cursor, payload: bytes) -> bytes:
        silent.render(cursor, payload)
        return orjson.dumps(silent.response()) if silent.ended else b""

    return streams.follow(
        process, caller, place, found.row.id, START, b"", render=render, heartbeat=BLANK, headers=JSON_HEADERS
    )


def resume(
    process: WebProcess, caller: Caller, found: Found, starting_after: int | None, last_event_id: str | None
) -> Response:
    """The stream for somebody who has a part of it. An EventSource that has all of it is told to stop: 204."""
    seen = _number(last_event_id)
    if seen is not None and found.row.final is not None and seen >= _last(process, found):
        return Response(status=204)
    after = seen if seen is not None else starting_after
    with streams.place_for(process, caller) as place:
        return stream(process, caller, place, found, -1 if after is None else after)


def shown(process: WebProcess, user: User, messages: Iterable[Message]) -> Iterator[dict[str, Any]]:
    """The items of messages, one after the other. An answer counts when it has ended."""
    for message in messages:
        if message.generation_id is None:
            yield from items.of_message(message)
        elif message.status in TERMINAL:
            yield from _answer(process, user, message)


def in_order(
    process: WebProcess, user: User, messages: list[Message], *, newest_first: bool
) -> Iterator[dict[str, Any]]:
    """The same, from either end."""
    if not newest_first:
        yield from shown(process, user, messages)
        return
    for message in reversed(messages):
        yield from reversed(list(shown(process, user, [message])))


def page(found: list[dict[str, Any]], *, has_more: bool) -> dict[str, Any]:
    """A page of a list."""
    first, last = (found[0]["id"], found[-1]["id"]) if found else (None, None)
    return {"object": "list", "data": found, "first_id": first, "last_id": last, "has_more": has_more}


def _answer(process: WebProcess, user: User, message: Message) -> list[dict[str, Any]]:
    if message.items is not None or message.generation_id is None:
        return items.of_message(message)
    found = process.resources.responses.logs(user, [message.generation_id])
    return [item for one, log in found.values() for item in folded(one, log).response()["output"]]


def _last(process: WebProcess, found: Found) -> int:
    """The sequence number of the last event of a response that has ended."""
    return folded(found, process.resources.responses.log(found.row)).last


def _number(text: str | None) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 12):
        raise MalformedInput("Last-Event-ID is a sequence number of this stream.", "Last-Event-ID")
    return int(text)
