"""Feeds: what happens in one conversation, or to everything a user has, as named server-sent events."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable

from flask import Response
from pydantic import Field

from app.api import feed_frames, streams
from app.api.conversations import ConversationPath
from app.api.identity import Caller
from app.api.process import web
from app.api.reading import Headers, Query
from app.api.routing import EVENT_STREAM, Answer, Routes
from app.domain.cursor import Cursor
from app.domain.errors import MalformedInput
from app.relay.book import Book
from app.services.feeds import Replay
from app.services.tickets import FEED

routes = Routes("feeds", __name__, "/api/v1", "What happens, as it happens")

_FEED = Answer(200, "What was missed past the position, then what happens, without an end", content_type=EVENT_STREAM)
_HEADER = "Last-Event-ID"
# As many digits as the number of an event can have.
_SEQ = re.compile(r"0|[1-9][0-9]{0,8}")


class FeedQuery(Query):
    """Where to go on."""

    from_seq: str | None = Field(None, description="The number of an event; the feed goes on behind it. 0 is the start")


class FeedHeaders(Headers):
    """Where to go on, as EventSource says it."""

    last_event_id: str | None = Field(None, alias="Last-Event-ID", description="The same as from_seq, and wins over it")


@routes.route_for(
    "get",
    "/conversations/<conversation_id>/events",
    access="user",
    limit="reads",
    answers=(_FEED,),
    opens=lambda path: path["conversation_id"],
)
def follow_conversation(caller: Caller, path: ConversationPath, query: FeedQuery, header: FeedHeaders) -> Response:
    """Follow a conversation: at most 200 missed events, then live, each numbered without a gap."""
    process, conversation_id = web(), path.conversation_id
    of_conversation = process.resources.feeds.of_conversation
    replay = _replay(header, query, lambda after: of_conversation(caller.user, conversation_id, after))
    return _respond(caller, conversation_id, process.live.conversation_feeds, replay, conversation_id)


@routes.route_for("get", "/feed", access="user", limit="reads", answers=(_FEED,), opens=lambda path: FEED)
def follow_everything(caller: Caller, query: FeedQuery, header: FeedHeaders) -> Response:
    """Follow all conversations of the user in one stream. Its events have numbers of their own."""
    process = web()
    replay = _replay(header, query, lambda after: process.resources.feeds.of_user(caller.user, after))
    return _respond(caller, caller.user.id, process.live.user_feeds, replay, None)


def _respond(caller: Caller, key: str, book: Book, replay: Replay, conversation_id: str | None) -> Response:
    process, connection_id = web(), secrets.token_hex(8)
    with streams.place_for(process, caller) as place:
        retry = streams.RETRY if streams.asked_by_event_source() else b""
        opening = retry + feed_frames.opening(replay, conversation_id, connection_id)
        left = process.live.presence.join(key) if conversation_id else _nobody_told
        return streams.follow(process, caller, place, key, Cursor(1, replay.top), opening, book=book, left=left)


def _nobody_told() -> None:
    """Following everything is following nothing in particular."""


def _replay(header: FeedHeaders, query: FeedQuery, read: Callable[[int], Replay]) -> Replay:
    """What was missed past the position the request names; the header wins."""
    text, name = (query.from_seq, "from_seq") if header.last_event_id is None else (header.last_event_id, _HEADER)
    try:
        return read(0 if text is None else _seq(text))
    except MalformedInput as error:
        raise MalformedInput(error.detail, name) from None


def _seq(text: str) -> int:
    if not _SEQ.fullmatch(text):
        shown = text if len(text) <= 40 else text[:40] + "…"
        raise MalformedInput(f"{shown!r} is not a position in this feed; it is the number of an event.")
    return int(text)
