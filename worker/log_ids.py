"""The ids that every log line about an answer carries: those of its generation, its request and its trace."""

from __future__ import annotations

from app.domain.lease import Claimed
from app.domain.trace_context import log_fields


def log_ids(claimed: Claimed) -> dict[str, str | None]:
    """Fields of a log line, or context variables of a task that was not begun by the answer's own task.

    Callbacks of sockets and of timers run in the context in which the socket or timer was made: with the ids of another
    answer, or with none.
    """
    ids = {"request_id": claimed.request_id, "generation_id": claimed.lease.generation_id}
    return {**ids, **log_fields(claimed.trace)}
