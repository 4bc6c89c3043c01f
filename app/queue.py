"""The doorbell: names of tasks, and ringing for one. A lost ring is found by the sweeper."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import BoundedSemaphore
from urllib.parse import quote, urlsplit

import structlog
from celery import Celery
from redis.connection import parse_url

import celeryconfig

RUN_GENERATION = "unbroken.run_generation"

# More than this is waiting for a broker that does not answer: the sweeper will ring for the rest.
_PENDING = 1000
# A worker that leaves rings for its successor with its last breath.
_FAREWELL_SECONDS = 1.0

_log = structlog.get_logger()


class Queue:
    """Sends in the background: a broker that is slow or away costs the caller nothing."""

    def __init__(self, broker_url: str, namespace: str) -> None:
        self._celery = producer(broker_url, namespace)
        self._sender = ThreadPoolExecutor(1, thread_name_prefix="doorbell")
        self._room = BoundedSemaphore(_PENDING)

    def run_generation(self, generation_id: str) -> None:
        """Ask a worker to work on this generation, soon and probably."""
        if self._room.acquire(blocking=False):
            self._sender.submit(self._send, generation_id)

    def close(self) -> None:
        """Stop sending, after a second for what is about to leave; the rest is left to the sweeper."""
        with suppress(TimeoutError, RuntimeError):
            self._sender.submit(lambda: None).result(_FAREWELL_SECONDS)
        self._sender.shutdown(wait=False, cancel_futures=True)

    def _send(self, generation_id: str) -> None:
        try:
            self._celery.send_task(RUN_GENERATION, (generation_id,), task_id=generation_id, retry=False)
        except Exception as error:  # whatever the transport raises, the row stays and the sweeper comes
            _log.warning("doorbell not heard", action="enqueue", generation_id=generation_id, error=repr(error))
        finally:
            self._room.release()


def producer(broker_url: str, namespace: str) -> Celery:
    """A Celery application on our broker; deployments that share one are kept apart by their namespace."""
    celery = Celery("unbroken", broker=_address(broker_url), set_as_current=False)
    celery.config_from_object(celeryconfig)
    if broker_url.startswith(("redis", "unix")):
        options = {**celeryconfig.broker_transport_options, "global_keyprefix": f"{namespace}:"}
        celery.conf.broker_transport_options = options
    else:
        celery.conf.broker_transport_options = {}
    return celery


def _address(broker_url: str) -> str:
    """As Celery has to be told it: it has a name of its own for paths, and by itself believes every certificate."""
    parts = urlsplit(broker_url)
    if parts.scheme == "unix":
        where = parse_url(broker_url)
        secret = f"{quote(where.get('username', ''), '')}:{quote(where.get('password', ''), '')}"
        return f"redis+socket://{secret}@{where['path']}?virtual_host={where.get('db', 0)}"
    if parts.scheme == "rediss" and "ssl_cert_reqs=" not in parts.query:
        return parts._replace(query="&".join(filter(None, (parts.query, "ssl_cert_reqs=required")))).geturl()
    return broker_url
