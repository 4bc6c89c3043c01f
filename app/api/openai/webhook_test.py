"""A test of a webhook endpoint: a worker sends one event, and the request waits for the receiver's response."""

from __future__ import annotations

from contextlib import suppress
from threading import BoundedSemaphore
from time import monotonic

from flask import Response

from app.api.auth.caller import Caller
from app.api.json_response import respond
from app.api.openai import ids
from app.api.openai.errors import error_body
from app.api.web_process import WebProcess
from app.domain.errors import LogDown, Overloaded
from app.services.users import new_id
from app.services.webhook_deliveries import ShownDelivery

# Tests that wait in one process. Each has a connection to Redis.
TESTS_AT_ONCE = 32
# Seconds that a request waits for the response of the receiver.
TEST_SECONDS = 30.0
_places = BoundedSemaphore(TESTS_AT_ONCE)
_BAD_GATEWAY, _TIMEOUT = 502, 504


class TestWait:
    """A wait for a worker's word that the test was attempted. It is a Wait (app.connections.parking).

    ``place`` is one of the user's streams; it is released at the end.
    """

    def __init__(self, process: WebProcess, caller: Caller, place: str, endpoint_id: str, event_type: str) -> None:
        if not _places.acquire(blocking=False):
            raise Overloaded(f"No more than {TESTS_AT_ONCE} tests of webhooks wait here (TESTS_AT_ONCE).")
        self._process = process
        self._user_id = caller.user.id
        self._place = place
        self._endpoint_id = endpoint_id
        self._event_type = event_type
        self._delivery_id = new_id()
        self._is_there = False
        try:
            # First: a worker may attempt the test as soon as it is committed.
            self._word = process.resources.mailbox.expect(self._delivery_id)
            try:
                process.resources.webhooks.add_test(self._user_id, endpoint_id, event_type, self._delivery_id)
            except BaseException:
                self._word.cancel()
                raise
        except BaseException:
            _places.release()
            raise
        self.deadline = monotonic() + TEST_SECONDS

    def fileno(self) -> int:
        """The descriptor that becomes readable with the word."""
        return self._word.fileno()

    def take(self) -> bool:
        """True when the test was attempted."""
        self._is_there = self._word.is_there
        return self._is_there

    def close(self) -> None:
        """Stop to wait."""
        if not self._is_there:
            self._word.cancel()

    def end(self) -> None:
        """Give the places back."""
        _places.release()
        self._process.live.quota.release(self._user_id, self._place)

    def finish(self) -> Response:
        """The receiver's response, or the refusal."""
        try:
            # The row is the truth: the word may be lost.
            if self._is_there:
                with suppress(LogDown):
                    self._word.read()
            shown = self._process.resources.webhook_deliveries.outcome_of_test(self._user_id, self._delivery_id)
        finally:
            self.end()
        return self._respond(shown)

    def _respond(self, shown: ShownDelivery) -> Response:
        last = shown.attempts[-1] if shown.attempts else None
        if last is None:
            message = f"No worker has sent the test within {TEST_SECONDS:.0f} s. Try again a little later."
            return _refuse(_TIMEOUT, message, "webhook_test_not_sent")
        if last.status is None:
            return _refuse(_BAD_GATEWAY, f"The endpoint has not responded: {last.error}.", "webhook_unreachable")
        return respond(
            {
                "object": "webhook_endpoint.test",
                "event_type": self._event_type,
                "status_code": last.status,
                "success": True,
                "webhook_endpoint_id": ids.webhook_endpoint(self._endpoint_id),
            }
        )


def _refuse(status: int, message: str, code: str) -> Response:
    # Each repeat by an SDK would be another test.
    return respond(error_body(message, status, None, code), status, {"x-should-retry": "false"})
