"""What one web process keeps. Built after the fork: no connection may be shared by two processes."""

from __future__ import annotations

from dataclasses import dataclass
from threading import BoundedSemaphore, Lock
from typing import TYPE_CHECKING

from flask import current_app

from app.api import feed_frames
from app.config import Settings
from app.domain.commands import User
from app.domain.cursor import Cursor
from app.eventlog.places import PlaceBook
from app.eventlog.presence import PresenceBook
from app.ops.health import Health
from app.ops.metrics import GENERATIONS_STARTED
from app.relay.book import Book
from app.relay.hub import Hub
from app.relay.places import Places
from app.relay.presence import Presence
from app.relay.stream import Streams
from app.services.dispatch import Sweeper
from app.services.feeds import CONVERSATION, USER, FeedReader
from app.services.polling import Poller
from app.services.starting import Command, Started
from app.wiring import Resources, build

if TYPE_CHECKING:
    from app.api.identity import Verifier
    from app.api.limits import Limits

EXTENSION = "unbroken"
# Who waits for an event holds a thread of the server. Beyond this many, pollers are answered at once.
MOST_WAITING = 24
# Whole messages, not tokens.
FEED_PAGE = 50


@dataclass(frozen=True, slots=True)
class Live:
    """Everything with connections and threads."""

    resources: Resources
    poller: Poller
    places: Places
    hub: Hub
    conversation_feeds: Book
    user_feeds: Book
    presence: Presence
    streams: Streams
    sweeper: Sweeper
    health: Health

    @classmethod
    def begin(cls, settings: Settings) -> Live:
        """Everything, wired and started."""
        resources = build(settings)
        hub = _hub(settings, resources)
        shared = PlaceBook(resources.redis, settings.redis_namespace)
        places = Places(shared, settings.max_streams, settings.max_streams_per_user)
        ring = resources.queue.run_generation
        live = cls(
            resources=resources,
            poller=Poller(resources.generations, resources.reader),
            places=places,
            hub=hub,
            conversation_feeds=Book(
                FeedReader(resources.database, CONVERSATION, feed_frames.show),
                resources.bell.channel,
                feed_frames.frame,
                last=feed_frames.LAST,
                page=FEED_PAGE,
            ),
            user_feeds=Book(
                FeedReader(resources.database, USER, feed_frames.show),
                resources.bell.channel,
                feed_frames.frame,
                last=None,
                page=FEED_PAGE,
            ),
            presence=Presence(
                PresenceBook(resources.redis, settings.redis_namespace, resources.bell), feed_frames.presence
            ),
            streams=Streams(hub, places),
            sweeper=Sweeper(
                resources.database,
                settings.lease_seconds,
                settings.sweep_seconds,
                ring,
                grace=settings.sweep_seconds * 1.5,
                tidy=resources.feeds.prune,
            ),
            health=Health(resources.database, resources.redis, lambda: hub.alive),
        )
        hub.start()
        live.sweeper.start()
        return live

    def close(self) -> None:
        """Stop the threads, close the connections."""
        self.sweeper.stop()
        self.hub.close()
        self.places.close()
        self.presence.close()
        self.resources.close()


class WebProcess:
    """One application in one process. What has connections is made at first use, or when told to start."""

    def __init__(self, settings: Settings, verifier: Verifier, limits: Limits) -> None:
        self.settings = settings
        self.verifier = verifier
        self.limits = limits
        self._lock = Lock()
        self._live: Live | None = None
        self._waiting = BoundedSemaphore(MOST_WAITING)

    def start(self) -> Live:
        """Connect and begin to work, if that has not happened yet. Not before the fork."""
        with self._lock:
            if self._live is None:
                self._live = Live.begin(self.settings)
            return self._live

    def close(self) -> None:
        """Give everything back."""
        with self._lock:
            if self._live is not None:
                self._live.close()
                self._live = None

    @property
    def live(self) -> Live:
        """What has connections and threads."""
        return self._live or self.start()

    @property
    def resources(self) -> Resources:
        """Services and stores."""
        return self.live.resources

    def begin(self, user: User, command: Command) -> Started:
        """Start a generation, within the limit on new conversations, which repeats do not touch."""
        begun = self.resources.starter.start(user, command, self.limits.new_conversations)
        if not begun.repeated:
            GENERATIONS_STARTED.inc()
        return begun

    def wait(self, generation_id: str, after: Cursor, seconds: float) -> bool:
        """Wait for an event past ``after``; whether there is one. At once when too many wait already."""
        if not self._waiting.acquire(blocking=False):
            return False
        try:
            return self.live.streams.wait(generation_id, after, seconds)
        finally:
            self._waiting.release()


def web() -> WebProcess:
    """The process's things, for the code that serves a request."""
    process: WebProcess = current_app.extensions[EXTENSION]
    return process


def _hub(settings: Settings, resources: Resources) -> Hub:
    log = resources.log
    return Hub(
        Book(resources.reader, lambda key: log.keys(key).channel),
        settings.redis_url,
        settings.redis_namespace,
        resources.redis.publish,
        keepalive=settings.keepalive_seconds,
    )
