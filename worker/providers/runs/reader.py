"""The reading side of a run that an upstream keeps, pure: the bytes of its bodies to the pieces of one answer."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

import orjson

from worker.limits import Limits
from worker.providers.base import ALIVE, Piece, ProviderError, TooManyCalls, Usage
from worker.providers.reading.sse import SseParser
from worker.providers.reading.upstream_errors import from_event

# The most characters of a run's id.
MOST_ID_CHARS = 512

Event = dict[str, Any]


class RunReader(ABC):
    """Reads one run. It raises nothing: an error is in ``failure``, after the pieces that came before it.

    ``run_id`` is the upstream's name of the run, ``sequence`` the number of the last event that was read. ``ended``:
    the run has come to its end; then the last piece was a Finished, or ``failure`` is set. A reader whose body ended
    without that is used again with the next body, after ``reconnect``. ``usage`` is None until there is a count.
    """

    def __init__(self, *, secrets: Iterable[str] = (), limits: Limits = Limits()) -> None:  # noqa: B008  # frozen
        self._limits = limits
        self._secrets = tuple(secrets)
        self._parser = SseParser(limits.event_bytes)
        self._last: list[Piece] = []
        self._is_unreadable = False
        self._nameless_bytes = 0  # before the id of the run
        self.run_id: str | None = None
        self.sequence = -1
        self.usage: Usage | None = None
        self.ended = False
        self.failure: ProviderError | None = None

    @property
    def done(self) -> bool:
        """True when no more of this body is read: the run has ended, or a part of the body is missing."""
        return self.ended or self._is_unreadable

    @property
    def finish_seen(self) -> bool:
        """True when the run is complete, even if the rest of the body is lost."""
        return self.ended

    @abstractmethod
    def attach(self, run_id: str) -> None:
        """Begin to read a known run."""

    @abstractmethod
    def query(self) -> str:
        """The query of the request for the events that were not read yet."""

    def reconnect(self) -> None:
        """Begin to read another body of the run."""
        self._parser, self._is_unreadable = SseParser(self._limits.event_bytes), False

    def feed(self, data: bytes) -> list[Piece]:
        """The pieces of one network read; the list is the caller's."""
        events = self._parser.feed(data)
        self._nameless_bytes += len(data) if self.run_id is None else 0
        self._read(event.data for event in events)
        if self._parser.overflown:
            self._fail(self._limits.exceeded("event_bytes"))
        if self.run_id is None and self._nameless_bytes > self._limits.event_bytes:
            message = "The upstream does not say the id of its run."
            self._fail(ProviderError("upstream_malformed", message, retryable=True))
        return self._take() or ([ALIVE] if events else [])

    def close(self) -> list[Piece]:
        """The pieces left at the end of a body, which need not be the end of the run."""
        self._read(event.data for event in self._parser.close())
        return self._take()

    def feed_document(self, body: bytes) -> list[Piece]:
        """The pieces of a run that comes as one object; it has ``ended`` if the object says so."""
        run = _loads(body)
        if isinstance(run, dict):
            self._event({"error": run["error"]} if "error" in run and "status" not in run else self._as_event(run))
        else:
            self._is_unreadable = True
        return self._take()

    @abstractmethod
    def _is_next(self, event: Event) -> bool:
        """Count an event. False for one that was read before, or that others are missing in front of."""

    @abstractmethod
    def _as_event(self, run: Event) -> Event:
        """The event that says what the object of the run says."""

    @abstractmethod
    def _receive(self, event: Event) -> None:
        """Read an event. Raises what a malformed one leads to."""

    @abstractmethod
    def _pieces(self) -> list[Piece]:
        """The pieces of the events that were read since the last call."""

    def _take(self) -> list[Piece]:
        pieces = self._pieces() + self._last
        self._last = []
        return pieces

    def _read(self, events: Iterable[bytes]) -> None:
        for data in events:
            if self.done:
                return
            if not data or data.strip() == b"[DONE]":
                continue
            event = _loads(data)
            if not isinstance(event, dict):
                self._is_unreadable = True  # the events behind it must not be read without it
            elif self._is_next(event):
                self._event(event)

    def _event(self, event: Event) -> None:
        try:
            self._receive(event)
        except TooManyCalls:
            self._fail(self._limits.exceeded("tool_calls"))
        except ProviderError as limit:
            self._fail(limit)
        except (AttributeError, KeyError, TypeError, ValueError):
            message = "The upstream sent an event of a run that cannot be read."
            self._fail(ProviderError("upstream_malformed", message, retryable=True))

    def _broken_off(self, status: str, error: Any) -> ProviderError:
        """The failure of a run that has ended as ``failed`` or ``cancelled``."""
        if status == "cancelled":
            return ProviderError("upstream_error", "The upstream cancelled its run.", retryable=True)
        return from_event(error or "", secrets=self._secrets)

    def _fail(self, failure: ProviderError) -> None:
        if not self.ended:
            failure.usage = self.usage
            self.failure, self.ended = failure, True


def is_id(value: Any) -> bool:
    """True for an id that can be stored, and stand in an address."""
    return isinstance(value, str) and 0 < len(value) <= MOST_ID_CHARS and value.isascii() and value.isprintable()


def _loads(data: bytes) -> Any:
    """JSON, read leniently where orjson rightly refuses: broken UTF-8, halves of pairs. None: it is no JSON."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        try:
            return json.loads(data.decode("utf-8", "replace"), strict=False)
        except (ValueError, RecursionError):
            return None
