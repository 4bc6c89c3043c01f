"""Server-sent events as bytes: one event, one block, the same for every reader."""

from __future__ import annotations

from typing import Any

import orjson

from app.domain.cursor import Cursor

HEADERS = (
    ("Content-Type", "text/event-stream; charset=utf-8"),
    ("Cache-Control", "no-cache, no-transform"),
    ("X-Accel-Buffering", "no"),
)

# A lone comment line. A blank line behind it would make some clients dispatch an empty event.
HEARTBEAT = b": ka\n"


def frame(cursor: Cursor, payload: bytes) -> bytes:
    """An event of the log. ``id`` stands behind ``data``, so a cut inside the data is never counted as received."""
    return b"data: %b\nid: %d-%d\n\n" % (payload, cursor.epoch, cursor.n)


def notice(fields: dict[str, Any]) -> bytes:
    """An event about the stream itself: it has no place in the log, hence no id."""
    return b"data: %b\n\n" % orjson.dumps(fields)
