"""A body on its way from the socket to its reader: decoded, in turns of bounded work, and held while the reader rests.

A body that is not compressed goes from the socket's callback to the sink without a detour. Everything else waits in a
Backlog.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from worker.providers.http.backlog import Backlog
from worker.providers.http.interface import HttpFailure, Sink

# Unread bytes at which the socket is left alone until they are read.
HIGH_WATER_BYTES = 256 * 1024
# A read of this size means that more is waiting: others have their turn before it is fetched.
LARGE_READ_BYTES = 64 * 1024
# So many steps of decoding, a megabyte, are done before others have their turn.
TURN_STEPS = 16


class Body:
    """One body. ``throttle(True)`` stops the reading of the socket, ``throttle(False)`` resumes it.

    ``quiet`` counts the bytes that the connection has read since the last ones that belong to the body. ``is_complete``
    is whether all of the body has come, ``failure`` what ended it early.
    """

    __slots__ = ("_backlog", "_held", "_loop", "_sink", "_sink_error", "_throttle",
                 "_throttled", "_unwanted", "_waiter", "_yielding", "failure", "is_complete", "quiet")  # fmt: skip

    def __init__(self, throttle: Callable[[bool], None]) -> None:
        self.quiet = 0
        self._throttle = throttle
        self._throttled = False
        self._loop = asyncio.get_running_loop()
        self._backlog = Backlog()
        self._sink: Sink | None = None
        self._sink_error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._held = False
        self._yielding = False
        self._unwanted = False
        self.is_complete = False
        self.failure: HttpFailure | None = None

    # --- the connection's side

    def begin(self, encodings: str) -> None:
        """Begin after the headers; ``encodings`` is the content encoding they name."""
        self._backlog.encodings = encodings
        self._wake()

    def take(self, data: bytes) -> None:
        """Take the next bytes. This is the token path."""
        self.quiet = 0
        if self._unwanted or self._sink_error is not None:
            return
        backlog = self._backlog
        if backlog.plain is None and not backlog.begin(data):
            self._note_failure()
            self._wake()
            return
        if backlog.plain and self._sink is not None and not self._held and backlog.is_empty:
            self._deliver(data)
        else:
            backlog.append(data)
            if self._sink is not None and not self._yielding:
                self._turn()
        if len(data) >= LARGE_READ_BYTES:
            self._let_others()
        self._regulate()
        self._wake()

    def end(self) -> None:
        """End the body: all of it has come."""
        self.is_complete = True
        if self._throttled:
            self._throttled = False
            self._throttle(False)  # the connection may serve another one
        if self._sink is not None and not self._yielding:
            self._turn()
        self._wake()

    def fail(self, failure: HttpFailure) -> None:
        """End the body early: no byte follows. The bytes before are still read."""
        if not self.is_complete and self.failure is None:
            self.failure = failure
        self._wake()

    # --- the reader's side

    async def read(self) -> bytes:
        """See Answer.read."""
        while True:
            for _ in range(TURN_STEPS):
                data = self._next()
                if data is None:
                    break
                if data:
                    return data
            else:
                await asyncio.sleep(0)
                continue
            if self.failure is not None:
                raise self.failure
            if self.is_complete:
                return b""
            await self.wait()

    async def pour(self, sink: Sink) -> bool:
        """See Answer.pour. The sink is called from the socket's callback: nothing wakes for a token."""
        self._sink = sink
        try:
            self._turn()
            while self._sink is not None and not self._is_over:
                await self.wait()
            enough = self._sink is None
        finally:
            self._sink = None
        if self._sink_error is not None:
            # Not kept: its traceback refers to all that was received.
            error, self._sink_error, self._unwanted = self._sink_error, None, True
            try:
                raise error
            finally:
                del error
        if self.failure is not None and not enough:
            raise self.failure
        return enough

    def pause(self) -> None:
        """See Answer.pause in http.py."""
        self._held = True
        self._regulate()

    def resume(self) -> None:
        """See Answer.resume."""
        self._held = False
        if self._sink is not None and not self._yielding:
            self._turn()
        self._regulate()
        self._wake()

    def drop(self) -> None:
        """Discard the rest of the body, now and as it comes."""
        self._unwanted = True
        self._backlog.clear()
        self._held = False
        self._regulate()

    async def wait(self) -> None:
        """Wait for a change."""
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    # --- between them

    @property
    def _is_over(self) -> bool:
        """True when nothing is left to hand over, now or later."""
        return not (self._backlog.has_more or self._yielding) and (self.is_complete or self.failure is not None)

    def _next(self) -> bytes | None:
        """The next part, maybe empty; None when nothing waits."""
        data = self._backlog.step(complete=self.is_complete)
        self._note_failure()
        self._regulate()
        return data

    def _note_failure(self) -> None:
        if self._backlog.failure is not None and not self._unwanted:
            self.failure, self._unwanted = self._backlog.failure, True

    def _turn(self) -> None:
        """Hand over what is there, for one turn."""
        for _ in range(TURN_STEPS):
            if self._held or self._sink is None:
                return
            data = self._next()
            if data is None:
                self._wake()
                return
            if data:
                self._deliver(data)
        self._let_others()

    def _deliver(self, data: bytes) -> None:
        sink = self._sink
        assert sink is not None, "asked before"
        try:
            if sink(data):
                self._sink = None
                self._wake()
        except Exception as error:  # the parser is no place for it: it belongs to the one who pours
            self._sink, self._sink_error = None, error
            self._wake()

    def _let_others(self) -> None:
        """Go on when everybody else has had a turn."""
        if not self._yielding:
            self._yielding = True
            self._loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        self._yielding = False
        if self._sink is not None:
            self._turn()
        self._regulate()
        self._wake()

    def _regulate(self) -> None:
        wanted = not self.is_complete and (self._held or self._yielding or self._backlog.unread > HIGH_WATER_BYTES)
        if wanted is not self._throttled:
            self._throttled = wanted
            self._throttle(wanted)

    def _wake(self) -> None:
        """Let the reader go on, if this is what it waits for. A token that is poured wakes no task."""
        waiter = self._waiter
        if waiter is not None and not waiter.done() and (self._sink is None or self._is_over):
            waiter.set_result(None)
