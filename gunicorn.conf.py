"""gunicorn's settings, for `make run` and docker-compose.yml alike; `gunicorn wsgi:app` finds this file by its name."""

import ctypes
import gc
import os
import signal
import sys
from typing import Any

from gunicorn import glogging
from prometheus_client import multiprocess

from app import log_lines, logs

PR_SET_PDEATHSIG = 1
# glibc's numbers. Blocks of this size and above go back to the system when they are freed; left to itself, the C
# library raises the size with the first large body and keeps what later ones took.
M_MMAP_THRESHOLD = -3
LARGE_BLOCK_BYTES = 1 << 20

# Loading makes no garbage, and the searches for it are a fifth of what it costs. On again in `when_ready`.
gc.disable()
log_lines.install(log_lines.level())

bind = os.environ.get("BIND") or f"127.0.0.1:{os.environ.get('PORT') or 8000}"
workers = int(os.environ.get("WEB_CONCURRENCY") or 2)
threads = int(os.environ.get("WEB_THREADS") or 64)
worker_class = "app.relay.gunicorn_worker.StreamWorker"
worker_connections = int(os.environ.get("MAX_CONNECTIONS") or 2000)
# Bytes of the address, and of a field such as a bearer token of 16,384 bytes. MAX_HEADER_BYTES bounds the whole header.
limit_request_line = 8190
limit_request_field_size = 17_408
# Files are sent like all other bodies, so that a slow reader has no thread.
sendfile = False
# Imported once, shared by all workers. Connections and threads are made after the fork.
preload_app = True
# Longer than a proxy keeps its connections, so that it never writes a request into a connection that is being closed.
keepalive = 30
# Streams are not requests in flight: the relay breaks them itself.
graceful_timeout = 10
# gunicorn has one control socket for all instances of a user. It is not used here.
control_socket_disable = True
# The heartbeat file is in memory: a slow disk must not look like a hanging worker.
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


class JsonLogger(glogging.Logger):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's own log lines in the form of all others."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        for handler in (*self.error_log.handlers, *self.access_log.handlers):
            handler.setFormatter(logs.formatter())


logger_class = JsonLogger


def when_ready(server: Any) -> None:
    """Search for garbage again, before the first worker is forked."""
    gc.freeze()
    gc.enable()


def post_fork(server: Any, worker: Any) -> None:
    """Tie the worker to its master, without which it would keep the port from the next one; return large blocks."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):
            libc.mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK_BYTES)
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != server.pid:
            os._exit(1)


def post_worker_init(worker: Any) -> None:
    """Connect the process to its stores and subscribe, before its first request."""
    application = worker.app.wsgi()
    worker.bound(application.extensions["connection-bounds"])
    application.extensions["unbroken"].start()
    worker.return_by(application.extensions["short-way"])
    # Loaded modules stay loaded: a search through them for garbage takes some 50 ms, while every stream waits.
    gc.freeze()


def child_exit(server: Any, worker: Any) -> None:
    """Remove the gauges of a worker that has ended from the metrics of all."""
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        multiprocess.mark_process_dead(worker.pid)
