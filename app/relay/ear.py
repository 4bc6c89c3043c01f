"""Hears what is published: keeps one subscription alive, and knows when it is not. Belongs to the hub's thread."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from math import inf
from random import random
from select import EPOLLIN, EPOLLOUT, epoll
from time import monotonic
from typing import Any

import structlog

from app.relay.subscription import ConnectionLost, Subscription

logger = structlog.get_logger()

# A message to ourselves over another connection. Not heard in time: the subscription is deaf, whatever its socket says.
CANARY_SECONDS = 5.0
BACK_OFF_FIRST = 0.1
BACK_OFF_LONGEST = 3.0

# Runs the first in a thread and gives its result, or its exception, to the second in the hub's thread.
Work = Callable[[Callable[[], Any], Callable[[Any], None]], None]


class Ear:
    """Tells ``heard(channel, message)``, ``confirmed(channel)``, ``lost()`` and ``found()``."""

    def __init__(
        self,
        url: str,
        namespace: str,
        publish: Callable[[bytes, bytes], object],
        work: Work,
        *,
        heard: Callable[[bytes, bytes], None],
        confirmed: Callable[[bytes], None],
        lost: Callable[[], None],
        found: Callable[[], None],
    ) -> None:
        self._url = url
        self._publish = publish
        self._work = work
        self._epoll: epoll
        self._heard, self._confirmed, self._lost, self._found = heard, confirmed, lost, found
        self._subscription: Subscription | None = None
        self.fd = -1
        self._events = 0
        self._dialling = False
        self._dial_at = -inf
        self._failures = 0
        # SUBSCRIBEs on their way: a channel may be left and wanted again before the first one is confirmed.
        self._asked: dict[bytes, int] = {}
        self._canary = b"%b:canary:%b" % (namespace.encode(), secrets.token_hex(8).encode())
        self._canary_at = inf
        self._canary_due = inf
        self.connects = 0
        self.canary_failures = 0

    def open(self, waiter: epoll) -> None:
        """Where to register; the first ``tick`` dials."""
        self._epoll = waiter

    @property
    def connected(self) -> bool:
        """Whether there is a subscription that is believed in."""
        return self._subscription is not None

    def listen(self, channels: Iterable[bytes]) -> None:
        """Subscribe to ``channels``. Without a connection nothing happens: ``found`` asks again."""
        if self._subscription is None:
            return
        wanted = list(channels)
        for channel in wanted:
            self._asked[channel] = self._asked.get(channel, 0) + 1
        self._try(lambda subscription: subscription.subscribe(wanted))

    def leave(self, channel: bytes) -> None:
        """Unsubscribe."""
        self._try(lambda subscription: subscription.unsubscribe((channel,)))

    def ready(self, events: int) -> None:
        """The connection can be read or written."""
        if events & EPOLLOUT:
            self._try(Subscription.flush)
        if events & ~EPOLLOUT:
            self._try(self._receive)

    def tick(self, now: float) -> None:
        """Dial when it is time, send the canary, and miss it. To be called about every half second."""
        if self._subscription is None:
            if not self._dialling and now >= self._dial_at:
                self._dial()
        elif now >= self._canary_due:
            self.canary_failures += 1
            logger.warning("The subscription has gone deaf; it is rebuilt.", action="canary_missed")
            self._hang_up()
        elif now >= self._canary_at:
            self._canary_at, self._canary_due = inf, now + CANARY_SECONDS
            # Whether it was sent does not matter: only hearing it does.
            self._work(lambda: self._publish(self._canary, b"1"), lambda outcome: None)

    def close(self) -> None:
        """Close the connection for good."""
        self._dial_at = inf
        if self._subscription is not None:
            self._subscription.close()
            self._subscription = None

    def _receive(self, subscription: Subscription) -> None:
        heard, canary = self._heard, self._canary
        for kind, channel, what in subscription.receive():
            if kind == b"message":
                if channel != canary:
                    heard(channel, what)
                else:
                    self._canary_due, self._canary_at = inf, monotonic() + CANARY_SECONDS
            elif kind == b"subscribe":
                self._confirm(channel)

    def _confirm(self, channel: bytes) -> None:
        left = self._asked.pop(channel, 1) - 1
        if left > 0:
            self._asked[channel] = left
        elif channel == self._canary:
            self._failures = 0
        else:
            self._confirmed(channel)

    def _dial(self) -> None:
        self._dialling = True
        self._work(lambda: Subscription.dial(self._url), self._dialled)

    def _dialled(self, outcome: Subscription | Exception) -> None:
        self._dialling = False
        if isinstance(outcome, Subscription):
            self._connect(outcome)
        else:
            self._failures += 1
            self._dial_at = monotonic() + _back_off(self._failures)
            logger.warning("Redis cannot be heard.", action="redis_dial_failed", error=str(outcome))

    def _connect(self, subscription: Subscription) -> None:
        self._subscription = subscription
        self.fd = subscription.fileno()
        self._events = EPOLLIN
        self._epoll.register(self.fd, EPOLLIN)
        self.connects += 1
        self._asked.clear()
        self._canary_at, self._canary_due = monotonic() + CANARY_SECONDS, inf
        self.listen([self._canary])
        self._found()

    def _try(self, action: Callable[[Subscription], None]) -> None:
        subscription = self._subscription
        if subscription is None:
            return
        try:
            action(subscription)
            self._wait_for(EPOLLIN | EPOLLOUT if subscription.unsent else EPOLLIN)
        except ConnectionLost as error:
            logger.warning("The connection to Redis is lost.", action="redis_lost", error=str(error))
            self._hang_up()

    def _wait_for(self, events: int) -> None:
        if events != self._events:
            self._events = events
            self._epoll.modify(self.fd, events)

    def _hang_up(self) -> None:
        if self._subscription is None:
            return
        self._epoll.unregister(self.fd)
        self._subscription.close()
        self._subscription, self.fd = None, -1
        self._canary_at = self._canary_due = inf
        self._failures += 1
        self._dial_at = monotonic() + _back_off(self._failures)
        self._lost()


def _back_off(failures: int) -> float:
    """Seconds before the next attempt: doubled each time, and spread, so that processes do not come all at once."""
    return min(BACK_OFF_FIRST * 2.0 ** min(failures - 1, 10), BACK_OFF_LONGEST) * (0.5 + random() / 2)
