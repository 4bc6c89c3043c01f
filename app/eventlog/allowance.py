"""The allowance of a request: the seconds it may wait for Redis altogether, however Redis fails.

A frozen server answers nothing: each command waits for a whole timeout, and a request that has five of them to send
waits five times. With an allowance the first one spends it, and the others fail at once.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

import redis


class _Thread(threading.local):
    """The seconds that this thread has left; None: there is no allowance, and the client's timeouts count."""

    left: float | None = None
    since: float | None = None


_thread = _Thread()


def begin(seconds: float) -> None:
    """Give this thread an allowance in seconds."""
    _thread.left = seconds


def end() -> None:
    """End the allowance of this thread: the timeouts of each client count again."""
    _thread.left = None


def left() -> float | None:
    """The seconds that this thread may still wait; None without an allowance."""
    return _thread.left


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Give this block an allowance in seconds, in a thread that has none. An existing allowance stays as it is."""
    if _thread.left is not None:
        yield
        return
    begin(seconds)
    try:
        yield
    finally:
        end()


def is_spent() -> bool:
    """True when every further command fails at once."""
    return _thread.left is not None and _thread.left <= 0


def bound(client: redis.Redis) -> redis.Redis:
    """Bind the connections of a client to the allowance of the thread that uses them."""
    pool: Any = client.connection_pool
    pool.connection_class = type("Bound", (_Bound, pool.connection_class), {})
    return client


class _Bound:
    """A connection of redis-py whose every wait is taken off the allowance."""

    _sock: Any
    socket_timeout: float | None
    socket_connect_timeout: float | None
    _is_short = False

    def _connect(self) -> Any:
        given = self.socket_connect_timeout
        try:
            with spending():
                self.socket_connect_timeout = _at_most(given)
                return super()._connect()  # type: ignore[misc]  # of the class beside it
        finally:
            self.socket_connect_timeout = given

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        with spending():
            self._fit()
            super().send_packed_command(command, check_health)  # type: ignore[misc]

    def read_response(self, *args: Any, **kwargs: Any) -> Any:
        if _thread.since is not None:
            return self._read_response(*args, **kwargs)
        with spending():
            return self._read_response(*args, **kwargs)

    def _read_response(self, *args: Any, **kwargs: Any) -> Any:
        try:
            self._fit()
        except redis.TimeoutError:
            # The next command would receive the reply to this one.
            self.disconnect()  # type: ignore[attr-defined]
            raise
        return super().read_response(*args, **kwargs)  # type: ignore[misc]

    def _fit(self) -> None:
        """Give the socket the time that is left. Raises TimeoutError when there is none."""
        if _thread.left is None and not self._is_short:
            return
        seconds = _at_most(self.socket_timeout)
        if self._sock is not None:
            self._is_short = _thread.left is not None
            self._sock.settimeout(seconds)


def _at_most(seconds: float | None) -> float | None:
    """A timeout within the allowance. Raises TimeoutError when nothing is left of that."""
    left = _thread.left
    if left is None:
        return seconds
    if _thread.since is not None:
        left -= monotonic() - _thread.since
    if left <= 0:
        raise redis.TimeoutError(
            "This request has waited for Redis as long as a request may (REDIS_SECONDS_PER_REQUEST)."
        )
    return left if seconds is None else min(seconds, left)


@contextmanager
def spending() -> Iterator[None]:
    """Take the time of this block off the allowance; of nested blocks the outer one counts."""
    if _thread.left is None or _thread.since is not None:
        yield
        return
    _thread.since = began = monotonic()
    try:
        yield
    finally:
        _thread.since = None
        if _thread.left is not None:
            _thread.left -= monotonic() - began
