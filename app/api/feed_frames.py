"""The changes of a feed in the form readers get: named events, the same JSON in every feed that has them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import orjson

from app.api import render
from app.domain.cursor import Cursor
from app.relay.follow import Render
from app.services.feeds import Line, Replay
from app.store.conversations import Message
from app.store.generations import Generation

# What the last event of a conversation's feed begins with.
LAST = b"conversation.deleted "
_REPLAYED = ("message.new", "message.updated")
# How an event begins that may tell of an answer nobody has begun yet; how the name of any event begins.
_NEW = b'{"type":"message.new",'
_TYPE = b'{"type":"'


def show(line: Line) -> bytes:
    """A line as an entry of a log: the name of the event, a space, its JSON."""
    name, body = _said(line)
    return b"%b %b" % (name.encode(), _json(body))


def frame(cursor: Cursor, payload: bytes) -> bytes:
    """An entry on the wire. ``id`` stands behind ``data``, so a cut inside the data is never counted as received."""
    name, _, data = payload.partition(b" ")
    return b"event: %b\ndata: %b\nid: %d\n\n" % (name, data, cursor.n)


def named(cursor: Cursor, data: bytes) -> bytes:
    """The same frame, made of its JSON alone, which has the name too."""
    return frame(cursor, b"%b %b" % (data[len(_TYPE) : data.index(b'"', len(_TYPE))], data))


def begins(data: bytes) -> str | None:
    """The generation whose answer an event tells of as new; None when it is about anything else."""
    if not data.startswith(_NEW):
        return None
    generation_id: str | None = orjson.loads(data)["generation_id"]
    return generation_id


def of_answer(generation_id: str) -> Render:
    """How the events of an answer are shown among those of a feed: whose they are and where stands in the data.

    They have no ``id``: what a client sends back with its next request must stay the feed's own position.
    """
    head = b'event: generation.event\ndata: {"generation_id":"%b","cursor":"' % generation_id.encode()

    def show(cursor: Cursor, payload: bytes) -> bytes:
        return b'%b%d-%d",%b\n\n' % (head, cursor.epoch, cursor.n, payload[1:])

    return show


def carried(row: Generation, after: Cursor) -> bytes:
    """What is said of an answer that is being made when a feed opens: whose it is, and from where it will go on."""
    body = render.opening(row, after, conversation_created=False)
    return b"event: generation.event\ndata: %b\n\n" % _json(body)


def opening(replay: Replay, conversation_id: str | None, connection_id: str) -> bytes:
    """What a feed begins with: who is connected, what was missed, and that this was all of it."""
    established = {
        "conversation_id": conversation_id,
        "from_seq": replay.after,
        "connection_id": connection_id,
        "timestamp": datetime.now(UTC),
        "missed": replay.missed,
    }
    end = {
        "conversation_id": conversation_id,
        "last_replayed_seq": replay.top,
        "total_available": replay.available,
        "missed": replay.missed,
    }
    replayed = b"".join(map(_replayed, replay.lines))
    return notice("connection.established", established) + replayed + notice("replay.end", end)


def notice(name: str, fields: dict[str, Any]) -> bytes:
    """An event about the feed itself: it has no number."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), _json({"type": name, **fields}))


def presence(conversation_id: str, connections: int) -> bytes:
    """How many connections follow a conversation's feed."""
    return notice("presence", {"conversation_id": conversation_id, "connections": connections})


def _replayed(line: Line) -> bytes:
    name, body = _said(line)
    shown = "message.replay" if name in _REPLAYED else name
    return b"event: %b\ndata: %b\nid: %d\n\n" % (shown.encode(), _json(body), line.change.seq)


def _said(line: Line) -> tuple[str, dict[str, Any]]:
    change, message = line.change, line.message
    head = {"feed_seq": change.conversation_seq, "conversation_id": change.conversation_id}
    match change.kind:
        case "message.new" if message is not None:
            return _named(change.kind, head, render.message(_as_begun(message)))
        case "message.updated" if message is not None:
            return _named(change.kind, head, render.message(message))
        case "message.deleted" if message is not None:
            return _named(change.kind, head, {"message_id": message.id, "seq": message.seq})
        case "conversation.updated" if change.body is not None:
            return _named(change.kind, head, change.body | _times(change.body))
        case "generation.updated" if change.body is not None:
            return _named(change.kind, head, {"message_id": change.message_id, **change.body})
    # What it was about is gone, and with it its conversation: that is the news.
    return _named("conversation.deleted", head, {})


def _named(name: str, head: dict[str, Any], fields: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    return name, {"type": name, **head, **fields}


def _times(body: dict[str, Any]) -> dict[str, Any]:
    """The times of a stored body, to be written like every other one."""
    return {name: datetime.fromisoformat(body[name]) for name in ("archived_at", "last_updated") if body.get(name)}


def _as_begun(message: Message) -> Message:
    """A message as it was when it was new, also when its answer has been made since."""
    if message.generation_id is None:
        return message
    return replace(
        message, status="queued", content="", reasoning="", tools=[], usage=None, last_updated=message.created_at
    )


def _json(body: dict[str, Any]) -> bytes:
    return orjson.dumps(body, option=orjson.OPT_UTC_Z)
