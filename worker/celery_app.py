"""What ``celery -A worker.celery_app`` loads."""

from __future__ import annotations

import gc
import sys
from typing import Any

from celery.signals import setup_logging, worker_init, worker_shutdown, worker_shutting_down

from app import logs
from app.config import InvalidSettings, Settings
from app.ops import metrics
from app.queue import producer
from worker.process import WorkerProcess
from worker.tasks import register

try:
    settings = Settings.load()
except InvalidSettings as error:
    sys.exit(f"Unbroken cannot start:\n{error}")

celery = producer(settings.broker_url, settings.redis_namespace)
process = WorkerProcess(settings)
register(celery, process)


@setup_logging.connect(weak=False)
def _log(**_: Any) -> None:
    logs.configure(settings.log_level)


@worker_init.connect(weak=False)
def _start(**_: Any) -> None:
    try:
        process.start()
    except Exception as error:
        # Celery would log it, and go on without what runs the generations.
        sys.exit(f"Unbroken cannot start: {error!r}")
    if settings.worker_metrics_port:
        metrics.serve(settings.worker_metrics_port)
    # What is loaded stays loaded: looking through all of it for garbage takes some 50 ms, and every token waits.
    gc.freeze()


@worker_shutting_down.connect(weak=False)
def _leave(**_: Any) -> None:
    process.drain()


@worker_shutdown.connect(weak=False)
def _stop(**_: Any) -> None:
    process.close()
