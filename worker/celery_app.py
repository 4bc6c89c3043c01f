"""The Celery application of a worker: ``celery -A worker.celery_app`` loads this module."""

from __future__ import annotations

import gc

# Loading makes no garbage, and the searches for it are a fifth of what it costs. On again in `_start`.
gc.disable()

import sys
from typing import Any

from celery.signals import setup_logging, worker_init, worker_shutdown, worker_shutting_down

from app import log_lines
from app.broker.application import producer
from app.config import InvalidSettings, WorkerSettings
from app.ops import metrics
from app.ops.startup import reasons
from app.ops.telemetry_metrics import SpanCounts
from app.telemetry import current as telemetry
from worker import control, memory, quiet, transport
from worker.process import WorkerProcess
from worker.providers.registry import UnknownKind
from worker.tasks import register

log_lines.install(log_lines.level())
quiet.install()
try:
    settings = WorkerSettings.load()
except InvalidSettings as error:
    sys.exit(f"Unbroken cannot start: {log_lines.one_line(error)}")

transport.install()
control.install()
celery = producer(settings.broker_url, settings.redis_namespace, settings.broker_queue_type)
process = WorkerProcess(settings)
register(celery, process)


@setup_logging.connect(weak=False)
def _log(**_: Any) -> None:
    log_lines.install(settings.log_level)


@worker_init.connect(weak=False)
def _start(sender: Any, **_: Any) -> None:
    memory.set_up()
    try:
        if reason := reasons(settings, sees_everybody=True):
            sys.exit(f"Unbroken cannot start: {reason}")
        telemetry.start(settings.telemetry, "worker", SpanCounts())
        process.start(sender.hostname)
    except UnknownKind as error:
        sys.exit(f"Unbroken cannot start: {error}")
    except Exception as error:
        # Celery would log it, and go on without what runs the generations.
        sys.exit(f"Unbroken cannot start: {error!r}")
    if settings.worker_metrics_port:
        metrics.serve(settings.worker_metrics_port)
    # Loaded modules stay loaded: a search through them for garbage takes some 50 ms, and every token waits.
    gc.freeze()
    gc.enable()


@worker_shutting_down.connect(weak=False)
def _leave(**_: Any) -> None:
    process.drain()


@worker_shutdown.connect(weak=False)
def _stop(**_: Any) -> None:
    process.close()
    telemetry.stop()
