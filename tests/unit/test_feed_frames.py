"""The frames of a feed: a change that is read again, later, has the same bytes."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta

from app.api.feed_frames import show
from app.services.feeds import Line
from app.store.feed import Change
from app.store.messages import Message

BEGUN = datetime(2026, 11, 30, 12, tzinfo=UTC)
CHANGE = Change(1, "c", 1, "message.new", "m", None, 0)
NEW = Message(
    id="m",
    conversation_id="c",
    parent_id="p",
    seq=2,
    role="assistant",
    status="queued",
    content="",
    reasoning="",
    tools=[],
    model="offline",
    client_msg_id=None,
    generation_id="g",
    usage=None,
    metadata={},
    created_at=BEGUN,
    last_updated=BEGUN,
)
# The fields of an answer that never change after its creation.
KEPT = {"id", "conversation_id", "parent_id", "seq", "role", "model", "client_msg_id", "generation_id", "metadata"}
KEPT |= {"created_at", "items"}
ENDED = {
    "status": "failed",
    "content": "Hel",
    "reasoning": "Hm",
    "tools": [{"call_id": "1"}],
    "usage": {"input_tokens": 1},
    "finish_reason": "length",
    "error": {"code": "upstream_timeout"},
    "feedback": {"rating": 1, "comment": None},
    "last_updated": BEGUN + timedelta(seconds=9),
}


def test_an_announced_answer_is_the_same_before_and_after_its_end() -> None:
    assert {field.name for field in fields(Message)} == KEPT | ENDED.keys(), "each field is kept or changes"
    for name, value in ENDED.items():
        assert show(Line(CHANGE, replace(NEW, **{name: value}))) == show(Line(CHANGE, NEW)), name
