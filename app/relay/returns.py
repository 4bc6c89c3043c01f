"""Readers that come back: requests that the main thread has read, and one thread that opens streams for all of them.

A request that ``Opener`` recognises waits in a queue. The thread takes everything that is there, MOST_AT_ONCE at a
time; while it works, the next requests collect. So there is no timer, and a single reader waits for nobody.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from threading import Condition, Thread
from typing import Any, NamedTuple, Protocol

import structlog

from app.relay.event_stream import EventStream

# Requests of one batch: what a message to a store holds, and what the thread does without a look at its queue.
MOST_AT_ONCE = 64

# Entries for the environment of a request that is handed on.
Notes = dict[str, Any]

_log = structlog.get_logger()


class Opened(NamedTuple):
    """A stream that may begin, and the headers of its response, whose status is 200."""

    stream: EventStream
    headers: Sequence[tuple[str, str]]


class Batch(NamedTuple):
    """The outcomes of requests, in their order: a stream, or notes for a request that is handed on.

    ``behind``: notes for the requests that have waited behind these, where a store has failed; they do not wait again.
    """

    outcomes: Sequence[Opened | Notes]
    behind: Notes | None = None


class Opener(Protocol):
    """An application that opens streams for several requests at once."""

    def recognise(self, environ: dict[str, Any]) -> Any | None:
        """The request, if it may be opened in a batch. Never blocks."""
        ...

    def open_all(self, requests: Sequence[Any]) -> Batch:
        """Open the streams of requests that were recognised. Raises nothing."""
        ...


class _Waiting(NamedTuple):
    """A connection, and its request as the opener has recognised it."""

    conn: Any
    request: Any


class Returns:
    """The queue and its thread. ``settle`` and ``hand_on`` are called in the thread.

    ``settle``: the connections of a batch with their streams. ``hand_on``: a connection whose request takes the
    ordinary way, with notes for it.
    """

    def __init__(
        self,
        opener: Opener,
        settle: Callable[[list[tuple[Any, Opened]]], None],
        hand_on: Callable[[Any, Notes], None],
    ) -> None:
        self._opener = opener
        self._settle = settle
        self._hand_on = hand_on
        self._waiting: deque[_Waiting] = deque()
        self._wake = Condition()
        self._thread: Thread | None = None

    def offer(self, conn: Any, environ: dict[str, Any]) -> bool:
        """Take a request that is recognised. False for all others. For the main thread; never blocks."""
        request = self._opener.recognise(environ)
        if request is None:
            return False
        if self._thread is None:
            self._thread = Thread(target=self._run, name="returns", daemon=True)
            self._thread.start()
        with self._wake:
            self._waiting.append(_Waiting(conn, request))
            self._wake.notify()
        return True

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._waiting:
                    self._wake.wait()
                taken = [self._waiting.popleft() for _ in range(min(len(self._waiting), MOST_AT_ONCE))]
            try:
                self._open(taken)
            except Exception:
                _log.exception("streams not settled", action="request")

    def _open(self, taken: list[_Waiting]) -> None:
        try:
            batch = self._opener.open_all([one.request for one in taken])
        except Exception:
            _log.exception("streams not opened together", action="request")
            batch = Batch([{} for _ in taken])
        opened = []
        for (conn, _), outcome in zip(taken, batch.outcomes, strict=True):
            if isinstance(outcome, Opened):
                opened.append((conn, outcome))
            else:
                self._pass_on(conn, outcome)
        if opened:
            self._settle(opened)
        if batch.behind is not None:
            self._hand_on_waiting(batch.behind)

    def _hand_on_waiting(self, notes: Notes) -> None:
        with self._wake:
            behind = list(self._waiting)
            self._waiting.clear()
        for conn, _ in behind:
            self._pass_on(conn, dict(notes))

    def _pass_on(self, conn: Any, notes: Notes) -> None:
        """Hand a request on. A connection that cannot be handed on keeps none of the others."""
        try:
            self._hand_on(conn, notes)
        except Exception as error:
            # The server ends, and takes no connection any more.
            _log.warning("request not handed on", action="request", error=repr(error))
