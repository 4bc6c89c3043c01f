"""The changes of a feed as frames of server-sent events. A change has the same JSON in every feed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import orjson

from app.api.representations.generation import stream_opening
from app.api.representations.message import Message
from app.domain.cursor import Cursor
from app.relay.log_cursor import Render
from app.services.feeds import Line, Replay
from app.store import messages
from app.store.generations import Generation

# The last entry of a conversation's feed begins with this.
LAST = b"conversation.deleted "
_REPLAYED = ("message.new", "message.updated")
# The JSON of an event that may announce a generation begins with the first; every event's with the second.
_NEW = b'{"type":"message.new",'
_TYPE = b'{"type":"'


def show(line: Line) -> bytes:
    """A change as an entry of a log: the name of the event, a space, its JSON."""
    name, body = _event(line)
    return b"%b %b" % (name.encode(), _json(body))


def frame(cursor: Cursor, payload: bytes) -> bytes:
    """An entry as a frame. ``id`` follows ``data``, so an event whose data was cut never counts as received."""
    name, _, data = payload.partition(b" ")
    return b"event: %b\ndata: %b\nid: %d\n\n" % (name, data, cursor.n)


def named(cursor: Cursor, data: bytes) -> bytes:
    """The frame of an event, made from its JSON, whose ``type`` is the name."""
    return frame(cursor, b"%b %b" % (data[len(_TYPE) : data.index(b'"', len(_TYPE))], data))


def begins(data: bytes) -> str | None:
    """The id of the generation that an event announces as new; None for every other event."""
    if not data.startswith(_NEW):
        return None
    generation_id: str | None = orjson.loads(data)["generation_id"]
    return generation_id


def of_answer(generation_id: str) -> Render:
    """A function that makes the frames of a generation inside a feed: the data has the generation's id and the cursor.

    The frames have no ``id``, because Last-Event-ID has to stay a position of the feed.
    """
    head = b'event: generation.event\ndata: {"generation_id":"%b","cursor":"' % generation_id.encode()

    def show(cursor: Cursor, payload: bytes) -> bytes:
        return b'%b%d-%d",%b\n\n' % (head, cursor.epoch, cursor.n, payload[1:])

    return show


def carried(row: Generation, after: Cursor) -> bytes:
    """The frame of a running generation at the opening of a feed: its ids, and the cursor its events follow."""
    body = stream_opening(row, after, conversation_created=False)
    return b"event: generation.event\ndata: %b\n\n" % _json(body)


def opening(replay: Replay, user_id: str, conversation_id: str | None, connection_id: str) -> bytes:
    """The first frames of a feed: the connection, the missed events, and the end of the replay."""
    established = {
        "user_id": user_id,
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
    """The frame of an event about the feed itself, without a number."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), _json({"type": name, **fields}))


def presence(conversation_id: str, connections: int) -> bytes:
    """The frame with the number of connections that show a conversation."""
    return notice("presence", {"conversation_id": conversation_id, "connections": connections})


def _replayed(line: Line) -> bytes:
    name, body = _event(line)
    shown = "message.replay" if name in _REPLAYED else name
    return b"event: %b\ndata: %b\nid: %d\n\n" % (shown.encode(), _json(body), line.change.seq)


def _event(line: Line) -> tuple[str, dict[str, Any]]:
    change, message = line.change, line.message
    head = {"feed_seq": change.conversation_seq, "conversation_id": change.conversation_id}
    match change.kind:
        case "message.new" if message is not None:
            return _named(change.kind, head, Message.of(_as_begun(message)))
        case "message.updated" if message is not None:
            return _named(change.kind, head, Message.of(message))
        case "message.deleted" if message is not None:
            return _named(change.kind, head, {"message_id": message.id, "seq": message.seq})
        case "conversation.updated" if change.body is not None:
            return _named(change.kind, head, change.body | _times(change.body))
        case "generation.updated" if change.body is not None:
            return _named(change.kind, head, {"message_id": change.message_id, **change.body})
    # The object of the change is deleted, and its conversation with it: this deletion is the event.
    return _named("conversation.deleted", head, {})


def _named(name: str, head: dict[str, Any], fields: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    return name, {"type": name, **head, **fields}


def _times(body: dict[str, Any]) -> dict[str, Any]:
    """The times of a stored body as datetime, so that orjson writes them like all others."""
    return {name: datetime.fromisoformat(body[name]) for name in ("archived_at", "last_updated") if body.get(name)}


def _as_begun(message: messages.Message) -> messages.Message:
    """A message as it was when it was created, without the answer that was stored since."""
    if message.generation_id is None:
        return message
    return replace(
        message,
        status="queued",
        content="",
        reasoning="",
        tools=[],
        usage=None,
        finish_reason=None,
        error=None,
        feedback=None,
        last_updated=message.created_at,
    )


def _json(body: dict[str, Any]) -> bytes:
    return orjson.dumps(body, option=orjson.OPT_UTC_Z)
