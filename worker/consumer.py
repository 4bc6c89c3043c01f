"""Celery's consumer, except that what Flower is told about tasks does not stand in the way of tasks."""

from __future__ import annotations

from celery.worker import consumer

TELL_SECONDS = 0.1


class Consumer(consumer.Consumer):  # type: ignore[misc]  # Celery has no types
    """Tells of received, started and ended tasks a moment later, and of all of them in one message.

    Celery would publish each at once, in the thread that has the next task to take, while a generation begins.
    """

    _telling = False

    def on_send_event_buffered(self) -> None:
        """An event waits to be sent; called by whatever thread it comes from."""
        if self.hub and not self._telling:
            self._telling = True
            self.hub.call_soon(self._plan)

    def shutdown(self) -> None:
        """Say what has not been said yet, and leave."""
        self._tell()
        super().shutdown()

    def _plan(self) -> None:
        self.hub.call_later(TELL_SECONDS, self._tell)

    def _tell(self) -> None:
        # Before it is sent: what comes while it is being sent asks for another turn.
        self._telling = False
        if self.event_dispatcher:
            self.event_dispatcher.flush()
