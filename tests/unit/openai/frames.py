"""A strict parser of event streams, which fails a test at one wrong byte."""

from __future__ import annotations

import re
from typing import Any

import orjson

from app.api.openai.response_events import ResponseTranslator
from app.domain.events import Entry
from tests.unit.openai.logs import MESSAGE, base

_FRAME = re.compile(rb"event: ([a-z_.]+)\ndata: (\{.*\})\nid: (\d+)\n\n")


def frames(entries: list[Entry], **options: Any) -> list[bytes]:
    """The whole stream of a log, frame by frame."""
    return split(stream(entries, **options))


def stream(entries: list[Entry], background: bool = True, **options: Any) -> bytes:
    telling = ResponseTranslator(base(background=background), MESSAGE, **options)
    return telling.opening() + b"".join(telling.render(cursor, payload) for cursor, payload in entries)


def split(data: bytes) -> list[bytes]:
    found = [match[0] for match in _FRAME.finditer(data)]
    assert b"".join(found) == data, "something stands between the frames"
    return found


def events(found: list[bytes]) -> list[dict[str, Any]]:
    """The data of each frame. Name, id and data must agree."""
    read = []
    for frame in found:
        match = _FRAME.fullmatch(frame)
        assert match is not None
        data = orjson.loads(match[2])
        assert data["type"] == match[1].decode()
        assert data["sequence_number"] == int(match[3])
        assert not data.get("error")
        read.append(data)
    return read
