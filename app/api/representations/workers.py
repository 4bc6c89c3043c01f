"""Workers as operators see them."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime

from pydantic import BaseModel, Field

from app.api.representations.fields import Json
from app.domain.workers import DrainMode, WorkerState
from app.services.worker_admin import SeenWorker


class WorkerDrain(BaseModel):
    """An operator's request to take nothing new."""

    requested_at: datetime
    mode: DrainMode = Field(description="finish: running answers end here. hand_over: other workers continue them")
    reason: str | None


class WatchedWorker(BaseModel):
    """A worker process that has not left on purpose."""

    name: str = Field(description="Celery's name of the node")
    version: str
    state: WorkerState = Field(description="lost: it has not reported within WORKER_LOST_SECONDS")
    slots: int
    running: int
    started: datetime
    last_seen: datetime
    drain: WorkerDrain | None
    may_stop: bool = Field(description="It is drained and nothing runs in it: its end costs nobody anything")
    warning: str | None = Field(description="A consequence of the drain while no other worker takes answers")

    @staticmethod
    def of(seen: SeenWorker) -> Json:
        """A worker."""
        return {**asdict(seen.worker), "warning": seen.warning}


class WatchedWorkers(BaseModel):
    """All workers, by name."""

    items: list[WatchedWorker]

    @staticmethod
    def of(found: list[SeenWorker]) -> Json:
        """All workers."""
        return {"items": [WatchedWorker.of(seen) for seen in found]}
