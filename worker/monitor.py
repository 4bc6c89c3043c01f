"""The Celery application of Flower (``celery -A worker.monitor flower``): the broker, and no other secret."""

from __future__ import annotations

import os
from typing import cast

from app import log_lines
from app.broker.application import CLASSIC, QueueType, producer

# Before Flower: Tornado leaves a root logger with a handler as it is.
log_lines.install(log_lines.level())
celery = producer(
    os.environ.get("CELERY_BROKER_URL") or os.environ["REDIS_URL"],
    os.environ.get("REDIS_NAMESPACE") or "unbroken",
    cast(QueueType, os.environ.get("BROKER_QUEUE_TYPE") or CLASSIC),
)
