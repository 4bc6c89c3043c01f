"""Sends tasks to the broker in the background. A task that is lost costs one sweep."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import BoundedSemaphore
from uuid import uuid4

import structlog
from kombu.exceptions import ChannelError

from app.broker.application import CLASSIC, RUN_EMBEDDINGS, RUN_GENERATION, QueueType, producer

# The most tasks that wait for a slow broker. A further one is dropped; the sweeper finds its generation.
MOST_PENDING = 1000
# A process that ends gives the tasks it has accepted this long to leave.
FAREWELL_SECONDS = 1.0
# AMQP's reply to a question about a queue that does not exist.
NO_QUEUE = "404"

_log = structlog.get_logger()


class Queue:
    """The queue of generations. A broker that is slow or away costs the caller nothing: a thread of the queue sends."""

    def __init__(self, broker_url: str, namespace: str, queue_type: QueueType = CLASSIC) -> None:
        self._celery = producer(broker_url, namespace, queue_type)
        self._sender = ThreadPoolExecutor(1, thread_name_prefix="broker")
        self._room = BoundedSemaphore(MOST_PENDING)
        self._lost: deque[None] = deque()

    def announce(self, generation_id: str) -> None:
        """Send the first task of a generation soon: the task has the generation's id.

        It is dropped when MOST_PENDING wait, or the queue is closed. The message names no user: it may outlast an
        erasure in the broker. The worker that claims the generation publishes the user's id to Flower.
        """
        self._submit(RUN_GENERATION, generation_id, task_id=generation_id)

    def run_generation(self, generation_id: str) -> None:
        """Send another task of a generation soon. Its id is its own: Flower shows each task with its own outcome."""
        self._submit(RUN_GENERATION, generation_id, task_id=str(uuid4()))

    def run_embeddings(self, request_id: str) -> None:
        """Send a task of a request for embeddings soon. A lost one is answered as a timeout."""
        self._submit(RUN_EMBEDDINGS, request_id, task_id=str(uuid4()))

    def _submit(self, task: str, object_id: str, **options: str) -> None:
        if not self._room.acquire(blocking=False):
            self._lost.append(None)
            return
        try:
            self._sender.submit(self._send, task, object_id, options)
        except RuntimeError:  # closed
            self._room.release()

    def take_lost(self) -> int:
        """The number of tasks that the broker has not taken since the last call."""
        count = 0
        with suppress(IndexError):
            while True:
                self._lost.popleft()
                count += 1
        return count

    def messages(self) -> int | None:
        """The number of tasks in the broker that no worker has received; None without a reply. It may take seconds."""
        name = str(self._celery.conf.task_default_queue)
        try:
            with self._celery.connection_for_read() as connection:
                connection.ensure_connection(max_retries=1)
                return int(connection.default_channel.queue_declare(name, passive=True).message_count)
        except ChannelError as error:
            # A queue on Redis exists while it has messages.
            return 0 if str(error.reply_code) == NO_QUEUE else None
        except Exception as error:  # a transport may raise anything
            _log.warning("broker not asked", action="queues", error=repr(error))
            return None

    def close(self) -> None:
        """Stop. Tasks that have not left within FAREWELL_SECONDS are dropped."""
        with suppress(TimeoutError, RuntimeError):
            self._sender.submit(lambda: None).result(FAREWELL_SECONDS)
        self._sender.shutdown(wait=False, cancel_futures=True)

    def _send(self, task: str, object_id: str, options: dict[str, str]) -> None:
        try:
            self._celery.send_task(task, (object_id,), retry=False, **options)
        except Exception as error:  # a transport may raise anything
            self._lost.append(None)
            _log.warning("task not sent", action="enqueue", task_id=options["task_id"], error=repr(error))
        finally:
            self._room.release()
