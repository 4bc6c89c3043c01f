"""Celery's consumer with four changes: task events wait for tasks, neither a message nor a broker ends the worker, it
takes tasks only while the worker's intake is open, and a quorum queue brings no other queues.

A message that is no task of ours is dropped and counted; a connection that fails is made again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from celery.utils.log import get_logger
from celery.worker import consumer

from worker.intake import Intake
from worker.transport import drop

SEND_SECONDS = 0.1
# Seconds before the next connection to a broker that refuses the first commands, one that is full for instance.
RETRY_SECONDS = 0.5
# The part of Celery's consumer for tasks with a countdown. Time belongs to PostgreSQL: no task of ours has one.
DELAYED_DELIVERY = "celery.worker.consumer.delayed_delivery:DelayedDelivery"

_celerys_log = get_logger(__name__)


class Consumer(consumer.Consumer):  # type: ignore[misc]  # Celery has no types
    """Sends the events of tasks (received, started, ended) ``SEND_SECONDS`` later, all of them in one message.

    Celery would publish each at once, in the thread that has the next task to take, while a generation begins.
    """

    _is_planned = False

    class Blueprint(consumer.Consumer.Blueprint):  # type: ignore[misc]
        """The parts of the consumer, without the 28 queues in which RabbitMQ would keep tasks that have a countdown.

        Celery declares them beside each quorum queue, under names that all deployments of a virtual host share.
        """

        default_steps = tuple(step for step in consumer.Consumer.Blueprint.default_steps if step != DELAYED_DELIVERY)

    # Messages

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], None]:
        """The function that Celery calls with each message of the queue."""
        handle = super().create_task_handler(*args, **kwargs)

        def survive(message: Any) -> None:
            try:
                handle(message)
            except Exception as error:  # headers of any shape lead to any error
                # kombu counts a KeyError among those of the connection.
                if isinstance(error, self.connection_errors) and not isinstance(error, LookupError):
                    raise
                self._refuse("malformed", message, error)

        return survive

    def on_unknown_message(self, body: Any, message: Any) -> None:
        """A message that is no task."""
        self._refuse("unknown", message, body)

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:
        """A task of another name."""
        self._refuse("unknown", message, exc)

    def on_invalid_task(self, body: Any, message: Any, exc: Exception) -> None:
        """A task whose message is not as Celery writes them."""
        self._refuse("malformed", message, exc)

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """A message whose body cannot be read."""
        self._refuse("unreadable", message, exc)

    def _refuse(self, reason: str, message: Any, shown: object) -> None:
        drop(reason, shown)
        message.reject_log_error(_celerys_log, self.connection_errors)

    # The connection

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Pause after a connection or a command has failed; Celery makes another connection."""
        super().on_connection_error_after_connected(exc)
        time.sleep(RETRY_SECONDS)

    def on_connection_error_before_connected(self, exc: Exception) -> None:
        """Pause after a connection could not be made."""
        super().on_connection_error_before_connected(exc)
        time.sleep(RETRY_SECONDS)

    # The intake

    def register_with_event_loop(self, hub: Any) -> None:
        """Called with each connection, before its first task: a closed intake begins without its queue."""
        super().register_with_event_loop(hub)
        self._follow_intake()
        hub.add_reader(self._intake.descriptor, self._follow_intake)

    @property
    def _intake(self) -> Intake:
        intake: Intake = self.app.intake
        return intake

    def _follow_intake(self) -> None:
        """Take tasks as long as the intake is open. Called by the consumer's thread."""
        intake, queue = self._intake, self.app.conf.task_default_queue
        intake.acknowledge()
        if intake.is_open:
            super().add_task_queue(queue)
        else:
            super().cancel_task_queue(queue)
            intake.follow()

    # Events

    def on_send_event_buffered(self) -> None:
        """Plan to send the buffered events. Called by the thread in which an event arises."""
        if self.hub and not self._is_planned:
            self._is_planned = True
            self.hub.call_soon(self._plan)

    def shutdown(self) -> None:
        """Send the buffered events, and leave."""
        self._send_events()
        super().shutdown()

    def _plan(self) -> None:
        self.hub.call_later(SEND_SECONDS, self._send_events)

    def _send_events(self) -> None:
        # Before they are sent: an event that comes meanwhile plans another turn.
        self._is_planned = False
        if self.event_dispatcher:
            self.event_dispatcher.flush()
