"""A worker's drain on request: its modes, its request and the worker's view of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

DrainMode = Literal["finish", "hand_over"]
WorkerState = Literal["working", "draining", "lost"]


@dataclass(frozen=True, slots=True)
class DrainRequest:
    """An operator's request to a worker: take nothing new.

    ``finish``: running answers end in this worker. ``hand_over``: other workers continue them.
    """

    requested_at: datetime
    mode: DrainMode
    reason: str | None


@dataclass(frozen=True, slots=True)
class DrainOrder:
    """A request as its worker reads it. ``free_elsewhere``: free slots of the other workers that take answers."""

    mode: DrainMode
    free_elsewhere: int
