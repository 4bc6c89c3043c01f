"""Feeds: the changes of one conversation, or of all objects of a user, as named server-sent events.

On request the feed of everything also carries the events of running generations.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from functools import partial
from typing import Literal

from flask import Response
from pydantic import Field

from app.api import feed_frames, streams
from app.api.auth.caller import Caller
from app.api.conversations import ConversationPath
from app.api.request_parsing import Headers, Query
from app.api.routing import EVENT_STREAM, Answer, Routes
from app.api.web_process import WebProcess, web
from app.domain.cursor import Cursor
from app.domain.errors import MalformedInput
from app.ops.metrics import FEED_REPLAYED
from app.relay.log_type import LogType
from app.relay.stream_connection import StreamRequest
from app.relay.substreams import Multiplexer
from app.services.feeds import Replay
from app.services.tickets import FEED
from app.store.generations import Generation

routes = Routes("feeds", __name__, "/api/v1", "What happens, as it happens")

_FEED = Answer(200, "What was missed past the position, then what happens, without an end", content_type=EVENT_STREAM)
_HEADER = "Last-Event-ID"
# The number of an event has at most nine digits.
_SEQ = re.compile(r"0|[1-9][0-9]{0,8}")
# An address has room for so many positions, and so many conversations.
MOST_POSITIONS = 50
MOST_SHOWN = 50
_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_POSITION = re.compile(f"({_ID.pattern}):([0-9]+-[0-9]+)")


class FeedQuery(Query):
    """The position after which the feed continues."""

    from_seq: str | None = Field(None, description="The number of an event; the feed goes on behind it. 0 is the start")


class EverythingQuery(FeedQuery):
    """The position after which the feed continues, the generations it carries, the conversations its client shows."""

    generations: Literal["live"] | None = Field(None, description="Also the events of answers that are being made")
    after: str | None = Field(
        None,
        description="With generations: the answers you have a part of, and the cursor of the last event of each, as "
        "`<generation id>:<cursor>`, separated by commas; they go on behind it, the others begin at their start",
    )
    presence: str | None = Field(
        None,
        description="The conversations that you show, as ids separated by commas. Their `presence` counts you",
    )


class FeedHeaders(Headers):
    """The position, as an EventSource sends it."""

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
    return _respond(
        caller, process.live.conversation_feeds, replay, conversation_id=conversation_id, shown=[conversation_id]
    )


@routes.route_for("get", "/feed", access="user", limit="reads", answers=(_FEED,), opens=lambda path: FEED)
def follow_everything(caller: Caller, query: EverythingQuery, header: FeedHeaders) -> Response:
    """Follow all conversations of the user in one stream. Its events have numbers of their own.

    With `generations=live` it also carries the user's answers while they are made, as `generation.event`.
    """
    process = web()
    feeds = process.resources.feeds
    shown = feeds.existing(caller.user, _conversations(query.presence)) if query.presence else []
    heard = _positions(query.after) if query.generations and query.after is not None else {}
    replay = _replay(header, query, lambda after: feeds.of_user(caller.user, after))
    # Read after the replay: the feed itself announces a generation that begins later.
    answers = process.resources.generations.underway(caller.user, heard) if query.generations else None
    return _respond(caller, process.live.user_feeds, replay, answers=answers, shown=shown)


def _respond(
    caller: Caller,
    log_type: LogType,
    replay: Replay,
    *,
    conversation_id: str | None = None,
    answers: list[tuple[Generation, Cursor]] | None = None,
    shown: list[str],
) -> Response:
    process, connection_id = web(), secrets.token_hex(8)
    user_id = caller.user.id
    with streams.place_for(process, caller) as place:
        FEED_REPLAYED.inc(len(replay.lines))
        retry = streams.RETRY if streams.asked_by_event_source() else b""
        opening = retry + feed_frames.opening(replay, user_id, conversation_id, connection_id)
        opening += b"".join(feed_frames.carried(row, after) for row, after in answers or ())
        wanted = StreamRequest(
            conversation_id or user_id,
            Cursor(1, replay.top),
            log_type,
            render=None if answers is None else feed_frames.named,
            multiplexer=None if answers is None else _multiplexer(process, answers),
        )
        joins = partial(process.live.presence.join, shown, user_id) if shown else None
        return streams.follow(process, caller, place, wanted, opening, joins=joins)


def _multiplexer(process: WebProcess, answers: list[tuple[Generation, Cursor]]) -> Multiplexer:
    begun = [(row.id, after) for row, after in answers]
    return Multiplexer(process.live.hub.log_type, feed_frames.of_answer, feed_frames.begins, begun)


def _replay(header: FeedHeaders, query: FeedQuery, read: Callable[[int], Replay]) -> Replay:
    """The events after the position that the request names. The header wins over the query."""
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


def _conversations(text: str) -> list[str]:
    """The ids of conversations. Raises MalformedInput."""
    ids = text.lower().split(",")
    if len(ids) > MOST_SHOWN:
        raise MalformedInput(f"At most {MOST_SHOWN} conversations can be named.", "presence")
    for wrong in (each for each in ids if not _ID.fullmatch(each)):
        shown = wrong if len(wrong) <= 60 else wrong[:60] + "…"
        raise MalformedInput(f"{shown!r} is not the id of a conversation.", "presence")
    return ids


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
