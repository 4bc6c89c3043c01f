"""A dead letter that an operator sends again is answered by a real worker."""

from __future__ import annotations

import json
from pathlib import Path

from app.domain.audit import SERVICE
from tests.fakes.upstream import FakeUpstream
from tests.stack import Stack


def test_a_requeued_answer_is_made(tmp_path: Path, database_url: str, redis_url: str) -> None:
    with FakeUpstream() as upstream:
        stack = Stack(tmp_path, database_url, redis_url, OPENAI_BASE_URL=upstream.base_url, MAX_ATTEMPTS=1)
        stack.worker()
        said = json.dumps({"fake": {"tokens": 20, "rate": 100, "status": 500, "once": True}})
        dead = stack.finished(stack.start(said, model="fake").generation.id)
        assert (dead.status, dead.finish_reason) == ("error", "error")
        again = stack.finished(stack.resources.admin.requeue(SERVICE, dead.id).id)
        assert again.status == "completed"
        assert again.user_message_id == dead.user_message_id
        assert len(stack.archive(again.id)) > 2
        stack.stop()
