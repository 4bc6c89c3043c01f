"""Celery's remote control of a worker, as Flower and ``celery control`` use it: what could cost an answer is refused.

A command is a broadcast that nobody keeps, and Celery's commands act on tasks, which are hints here. The reply of a
refused command names the request that does what its sender wants. ``shutdown`` is SIGTERM.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from functools import partial
from typing import Any

import structlog
from celery.worker.control import Panel

_CANCEL = "cancel the answer: POST /api/v1/ops/generations/{generation_id}/cancel"
_DRAIN = "drain the worker: POST /api/v1/ops/workers/{name}/drain"
_SLOTS = "set WORKER_CONCURRENCY and start the worker again"
_RUNTIME = "set FIRST_TOKEN_TIMEOUT, TOKEN_TIMEOUT or GENERATION_TIMEOUT"
_RATE = "set RATELIMIT_GENERATIONS or MAX_RUNNING_PER_USER"

# By name of the command: the way to what it is for.
REFUSED: Mapping[str, str] = {
    "revoke": _CANCEL,
    "revoke_by_stamped_headers": _CANCEL,
    "terminate": _CANCEL,
    "add_consumer": _DRAIN,
    "cancel_consumer": _DRAIN,
    "pool_grow": _SLOTS,
    "pool_shrink": _SLOTS,
    "pool_restart": _SLOTS,
    "autoscale": _SLOTS,
    "time_limit": _RUNTIME,
    "rate_limit": _RATE,
}

_log = structlog.get_logger()


def install() -> None:
    """Replace Celery's commands in this process."""
    Panel.data.update({name: partial(_refuse, name) for name in REFUSED})
    Panel.data["shutdown"] = _shut_down


def _refuse(name: str, state: Any, **arguments: Any) -> dict[str, str]:
    """Change nothing; ``arguments`` come from anybody who reaches the broker."""
    _log.warning("remote command refused", action="control", command=name)
    return {"error": f"{name} is not in use here: {REFUSED[name]}"}


def _shut_down(state: Any, **arguments: Any) -> dict[str, str]:
    """Leave as at SIGTERM. Celery's own command waits for running answers, and takes new ones meanwhile."""
    _log.warning("shutdown requested over the broker", action="control")
    os.kill(os.getpid(), signal.SIGTERM)
    return {"ok": "the worker gives its answers back and leaves"}
