"""gunicorn's settings, for `make run` and docker-compose.yml alike; `gunicorn wsgi:app` finds this file by its name."""

import ctypes
import gc
import os
import signal
import sys
from typing import Any

from gunicorn import glogging
from prometheus_client import multiprocess

from app import logs

PR_SET_PDEATHSIG = 1

bind = os.environ.get("BIND") or f"127.0.0.1:{os.environ.get('PORT') or 8000}"
workers = int(os.environ.get("WEB_CONCURRENCY") or 2)
threads = int(os.environ.get("WEB_THREADS") or 64)
worker_class = "app.relay.worker.StreamWorker"
# Imported once, shared by all workers; whatever has connections or threads is made after the fork.
preload_app = True
# Longer than a proxy keeps its connections, so that it never writes a request into one we are closing.
keepalive = 30
# Streams are not requests in flight: the relay says goodbye to them itself.
graceful_timeout = 10
# One socket for all instances of a user is one too few, and nobody asks for it.
control_socket_disable = True
# Beating in memory: a slow disk must not look like a hanging worker.
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


class JsonLogger(glogging.Logger):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's own sentences in the form of all others."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        for handler in (*self.error_log.handlers, *self.access_log.handlers):
            handler.setFormatter(logs.formatter())


logger_class = JsonLogger


def post_fork(server: Any, worker: Any) -> None:
    """A worker without its master would keep the port from the next one: it goes down at once."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != server.pid:
            os._exit(1)


def post_worker_init(worker: Any) -> None:
    """Connect, sweep and listen from the start, not from the first request on."""
    worker.app.wsgi().extensions["unbroken"].start()
    # What is loaded stays loaded: looking through all of it for garbage takes some 50 ms, and every stream waits.
    gc.freeze()


def child_exit(server: Any, worker: Any) -> None:
    """Take a gone worker's gauges out of the metrics of all."""
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        multiprocess.mark_process_dead(worker.pid)
