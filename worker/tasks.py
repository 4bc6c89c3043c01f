"""Celery's tasks: thin. What a task does is the runner's business; whether it may is PostgreSQL's."""

from __future__ import annotations

from celery import Celery

from app.queue import RUN_GENERATION
from worker.process import WorkerProcess


def register(celery: Celery, process: WorkerProcess) -> None:
    """Give the application its tasks."""

    @celery.task(name=RUN_GENERATION)
    def run_generation(generation_id: str) -> None:
        process.run(generation_id)
