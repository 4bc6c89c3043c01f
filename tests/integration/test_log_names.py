"""A log line about an unreadable log names its object by kind: conversation, user or generation."""

from __future__ import annotations

import socket
from contextlib import closing
from typing import Any

import pytest
from structlog.testing import capture_logs

from app.api.web_process import Live
from app.domain.cursor import Cursor
from app.relay.stream_connection import StreamRequest
from tests.factories import owner
from tests.stack import Stack, until

ID = "00000000-0000-7000-8000-000000000001"


@pytest.mark.parametrize(
    ("kind", "name"),
    [("conversation_feeds", "conversation_id"), ("user_feeds", "user_id"), (None, "generation_id")],
)
def test_a_log_that_cannot_be_read_is_named_by_its_own_kind_of_id(stack: Stack, kind: str | None, name: str) -> None:
    live = Live.begin(stack.settings)
    ours, theirs = socket.socketpair()
    with owner(stack.settings.database_url) as cursor:
        cursor.execute("ALTER TABLE feed_events RENAME TO feed_events_away")
        cursor.execute("ALTER TABLE generation_chunks RENAME TO generation_chunks_away")
    with closing(ours), capture_logs() as lines:
        try:
            log_type = getattr(live, kind) if kind else None
            live.hub.adopt(theirs, StreamRequest(ID, Cursor(0, 0), log_type))
            line: dict[str, Any] = until(lambda: next((line for line in lines if ID in line.values()), None))
        finally:
            live.close()
    assert {key for key, value in line.items() if value == ID} == {name}
