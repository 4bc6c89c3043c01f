"""The life of a generation as a table: which move is allowed from which status, and where it leads."""

from __future__ import annotations

from typing import Literal

from app.domain.errors import UnbrokenError

Status = Literal["queued", "running", "completed", "error", "cancelled"]
Move = Literal["claim", "complete", "fail", "cancel"]

QUEUED: Status = "queued"
RUNNING: Status = "running"
COMPLETED: Status = "completed"
ERROR: Status = "error"
CANCELLED: Status = "cancelled"

LIVE: tuple[Status, ...] = (QUEUED, RUNNING)
TERMINAL: tuple[Status, ...] = (COMPLETED, ERROR, CANCELLED)

MOVES: dict[tuple[Status, Move], Status] = {
    (QUEUED, "claim"): RUNNING,
    (RUNNING, "claim"): RUNNING,  # a takeover: stalled worker, cancel, deletion
    (RUNNING, "complete"): COMPLETED,
    (RUNNING, "fail"): ERROR,
    (RUNNING, "cancel"): CANCELLED,
}


class MoveNotAllowed(UnbrokenError):
    """This generation cannot make that move from where it is."""


def after(status: Status, move: Move) -> Status:
    """The status that ``move`` leads to. Raises MoveNotAllowed when the table has no such row."""
    try:
        return MOVES[status, move]
    except KeyError:
        raise MoveNotAllowed(f"A generation that is {status} cannot {move}.") from None
