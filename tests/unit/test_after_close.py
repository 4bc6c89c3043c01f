"""A service that is used while its process stops raises no error: the sweeper finds the tasks that it does not send."""

from __future__ import annotations

import redis

from app.broker.queue import Queue
from app.eventlog.feed_notifier import FeedNotifier

NOBODY = "redis://127.0.0.1:1/0"


def test_a_queue_that_is_closed_leaves_the_task_to_the_sweeper() -> None:
    queue = Queue(NOBODY, "test")
    queue.close()
    for _ in range(3):
        queue.run_generation("g1")
    queue.close()


def test_a_bell_that_is_closed_does_nothing() -> None:
    notifier = FeedNotifier(redis.Redis.from_url(NOBODY), "test")
    notifier.close()
    for _ in range(3):
        notifier.notify({"c1"})
    notifier.close()
