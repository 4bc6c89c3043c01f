"""Feeds: what happens in one conversation, or to everything a user has, as named server-sent events.

The feed of everything carries the answers that are being made too, for who asks for them.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from typing import Literal

from flask import Response
from pydantic import Field

from app.api import feed_frames, streams
from app.api.conversations import ConversationPath
from app.api.identity import Caller
from app.api.process import WebProcess, web
from app.api.reading import Headers, Query
from app.api.routing import EVENT_STREAM, Answer, Routes
from app.domain.cursor import Cursor
from app.domain.errors import MalformedInput
from app.relay.book import Book
from app.relay.strands import Strands
from app.services.feeds import Replay
from app.services.tickets import FEED
from app.store.generations import Generation

routes = Routes("feeds", __name__, "/api/v1", "What happens, as it happens")

_FEED = Answer(200, "What was missed past the position, then what happens, without an end", content_type=EVENT_STREAM)
_HEADER = "Last-Event-ID"
# As many digits as the number of an event can have.
_SEQ = re.compile(r"0|[1-9][0-9]{0,8}")
# As many positions as an address has room for.
MOST_POSITIONS = 50
_POSITION = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}):([0-9]+-[0-9]+)")


class FeedQuery(Query):
    """Where to go on."""

    from_seq: str | None = Field(None, description="The number of an event; the feed goes on behind it. 0 is the start")


class EverythingQuery(FeedQuery):
    """Where to go on, and whether answers come along."""

    generations: Literal["live"] | None = Field(None, description="Also the events of answers that are being made")
    after: str | None = Field(
        None,
        description="With generations: the answers you have a part of, and the cursor of the last event of each, as "
        "`<generation id>:<cursor>`, separated by commas; they go on behind it, the others begin at their start",
    )


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
def follow_everything(caller: Caller, query: EverythingQuery, header: FeedHeaders) -> Response:
    """Follow all conversations of the user in one stream. Its events have numbers of their own.

    With `generations=live` it also carries the user's answers while they are made, as `generation.event`.
    """
    process = web()
    heard = _positions(query.after) if query.generations and query.after is not None else {}
    replay = _replay(header, query, lambda after: process.resources.feeds.of_user(caller.user, after))
    # Behind the replay: an answer that begins after this is told of by the feed.
    answers = process.resources.generations.underway(caller.user, heard) if query.generations else None
    return _respond(caller, caller.user.id, process.live.user_feeds, replay, None, answers)


def _respond(
    caller: Caller,
    key: str,
    book: Book,
    replay: Replay,
    conversation_id: str | None,
    answers: list[tuple[Generation, Cursor]] | None = None,
) -> Response:
    process, connection_id = web(), secrets.token_hex(8)
    with streams.place_for(process, caller) as place:
        retry = streams.RETRY if streams.asked_by_event_source() else b""
        opening = retry + feed_frames.opening(replay, conversation_id, connection_id)
        opening += b"".join(feed_frames.carried(row, after) for row, after in answers or ())
        return streams.follow(
            process,
            caller,
            place,
            key,
            Cursor(1, replay.top),
            opening,
            book=book,
            left=process.live.presence.join(key) if conversation_id else _nobody_told,
            render=None if answers is None else feed_frames.named,
            strands=None if answers is None else _strands(process, answers),
        )


def _strands(process: WebProcess, answers: list[tuple[Generation, Cursor]]) -> Strands:
    begun = [(row.id, after) for row, after in answers]
    return Strands(process.live.hub.book, feed_frames.of_answer, feed_frames.begins, begun)


def _nobody_told() -> None:
    """Following everything is following nothing in particular."""


def _replay(header: FeedHeaders, query: FeedQuery, read: Callable[[int], Replay]) -> Replay:
    """What was missed past the position the request names; the header wins."""
    text, name = (query.from_seq, "from_seq") if header.last_event_id is None else (header.last_event_id, _HEADER)
    try:
        return read(0 if text is None else _seq(text))
    except MalformedInput as error:
        raise MalformedInput(error.detail, name) from None


def _positions(text: str) -> dict[str, Cursor]:
    """The cursors by generation. Raises MalformedInput."""
    pairs = text.split(",")
    if len(pairs) > MOST_POSITIONS:
        raise MalformedInput(f"At most {MOST_POSITIONS} positions can be named.", "after")
    return dict(map(_position, pairs))


def _position(text: str) -> tuple[str, Cursor]:
    match = _POSITION.fullmatch(text.lower())
    if match is None:
        shown = text if len(text) <= 60 else text[:60] + "…"
        raise MalformedInput(f"{shown!r} is not <generation id>:<cursor>.", "after")
    return match[1], Cursor.parse(match[2])


def _seq(text: str) -> int:
    if not _SEQ.fullmatch(text):
        shown = text if len(text) <= 40 else text[:40] + "…"
        raise MalformedInput(f"{shown!r} is not a position in this feed; it is the number of an event.")
    return int(text)
