"""Repeated attempts: how long a client goes on, and its pauses."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from unbroken_client.errors import Problem, UnbrokenError


@dataclass(frozen=True, slots=True)
class Patience:
    """The limits of a client. Times are in seconds.

    ``failures``: in a row, until the last one is raised. ``first_pause`` doubles with each failure, up to
    ``longest_pause``; a pause is a random part of it. ``longest_wait``: a refusal that asks for a longer one is raised
    at once. ``connecting``: to reach the service. ``reply``: without a byte of a reply. ``silence``: without a byte of
    a stream, whose heartbeats come every 15 seconds. ``largest``: bytes of a reply or an event.
    """

    failures: int = 10
    first_pause: float = 0.5
    longest_pause: float = 30.0
    longest_wait: float = 120.0
    connecting: float = 10.0
    reply: float = 20.0
    silence: float = 45.0
    largest: int = 64 * 2**20


PATIENCE = Patience()


@dataclass(frozen=True, slots=True)
class Notice:
    """An attempt has failed for ``cause``, the failure of this number in a row; the next one follows in ``seconds``."""

    cause: UnbrokenError
    failures: int
    seconds: float


class Attempts:
    """The attempts of one request or one follower."""

    def __init__(self, patience: Patience, on_notice: Callable[[Notice], object] | None) -> None:
        self._patience = patience
        self._on_notice = on_notice
        self._failures = 0

    def progress(self) -> None:
        """Something new was received: the failures are counted from 0 again."""
        self._failures = 0

    def pause(self, cause: UnbrokenError) -> float:
        """The seconds until the next attempt. Raises ``cause`` where there is none."""
        patience = self._patience
        self._failures += 1
        wait = (cause.retry_after or 0.0) if isinstance(cause, Problem) else 0.0
        if not cause.is_passing or self._failures >= patience.failures or wait > patience.longest_wait:
            raise cause
        # The exponent is bounded, because a float is.
        limit = min(patience.longest_pause, patience.first_pause * 2 ** min(self._failures - 1, 32))
        seconds = max(wait, random.uniform(0, limit))
        if self._on_notice:
            self._on_notice(Notice(cause, self._failures, seconds))
        return seconds
