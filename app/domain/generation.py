"""The statuses of a generation."""

from __future__ import annotations

from typing import Literal

Status = Literal["queued", "running", "completed", "error", "cancelled"]

QUEUED: Status = "queued"
RUNNING: Status = "running"
COMPLETED: Status = "completed"
ERROR: Status = "error"
CANCELLED: Status = "cancelled"

TERMINAL: tuple[Status, ...] = (COMPLETED, ERROR, CANCELLED)
