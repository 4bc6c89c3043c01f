"""The objects of one web process. They are built after the fork: two processes must not share a connection."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from threading import BoundedSemaphore, Lock
from typing import TYPE_CHECKING

from flask import current_app, g

from app.api import feed_frames
from app.api.bodies import BodyKind
from app.api.json_body import LARGE_BYTES
from app.broker.queue import Queue
from app.config import Settings
from app.domain.commands import User
from app.domain.errors import Overloaded
from app.eventlog.client_count import ClientCount
from app.eventlog.expiring_members import ExpiringMembers
from app.ops.health import Dependencies, Health
from app.ops.looking import Look
from app.ops.metrics import DOORBELLS_LOST, GENERATIONS_STARTED
from app.ops.publisher import Publisher
from app.ops.relay_metrics import RelayMetrics
from app.ops.revocation_metrics import RevocationMetrics
from app.ops.telemetry_metrics import SpanCounts
from app.relay.event_stream import Streams
from app.relay.hub import Hub
from app.relay.log_type import LogType
from app.relay.presence import Presence
from app.relay.stream_quota import StreamQuota
from app.services.departures import Departures
from app.services.feeds import CONVERSATION, USER, FeedReader, Scope
from app.services.generation_start import Started
from app.services.placement import Command
from app.services.poller import Poller
from app.services.session_keeper import SessionKeeper
from app.services.user_places import UserPlaces
from app.telemetry import current as telemetry
from app.wiring import Resources, build

if TYPE_CHECKING:
    from app.api.auth.caller import Method
    from app.api.auth.tokens import Verifier
    from app.api.limits import Limits

EXTENSION = "unbroken"
# Changes of a feed in one page. A change holds a whole message.
FEED_PAGE = 50


@dataclass(frozen=True, slots=True)
class Live:
    """The objects of a process that have connections or threads."""

    resources: Resources
    poller: Poller
    quota: StreamQuota
    # The shared count of ``quota``.
    stream_places: ExpiringMembers
    hub: Hub
    conversation_feeds: LogType
    user_feeds: LogType
    presence: Presence
    departures: Departures
    session_keeper: SessionKeeper
    streams: Streams
    health: Health
    publisher: Publisher
    broker: Look[int | None]

    @classmethod
    def begin(cls, settings: Settings) -> Live:
        """Build and start all of them."""
        resources = build(settings)
        hub = _hub(settings, resources)
        shared = ExpiringMembers.of_streams(resources.redis, settings.redis_namespace)
        quota = StreamQuota(shared, settings.max_streams, settings.max_streams_per_user)
        live = cls(
            resources=resources,
            poller=Poller(resources.generations, resources.reader),
            quota=quota,
            stream_places=shared,
            hub=hub,
            conversation_feeds=_feeds(resources, CONVERSATION, "conversation_id", feed_frames.LAST),
            user_feeds=_feeds(resources, USER, "user_id", None),
            presence=Presence(
                ExpiringMembers.of_feeds(resources.redis, settings.redis_namespace),
                resources.feed_notifier.publish_notice,
                feed_frames.presence,
            ),
            departures=Departures(
                ClientCount(resources.redis, settings.redis_namespace, 2 * settings.generation_timeout),
                resources.generations.cancel,
            ),
            session_keeper=SessionKeeper(resources.sessions.touch, settings.session_idle_seconds),
            streams=Streams(hub, quota),
            publisher=Publisher(
                RelayMetrics(hub.stats).publish,
                partial(_count_lost, resources.queue),
                partial(resources.open_streams.report_soon, lambda: quota.total),
            ),
            broker=Look("the broker", resources.queue.messages),
            health=_health(settings, resources, hub),
        )
        hub.start()
        live.session_keeper.start()
        resources.revocations.listen(hub.revoker)
        resources.revocations.observe(RevocationMetrics(resources.revocations).publish)
        resources.revocations.start()
        live.publisher.start()
        return live

    def close(self) -> None:
        """Stop the threads and close the connections."""
        self.publisher.close()
        self.resources.open_streams.leave()
        self.hub.close()
        self.departures.close()
        self.session_keeper.close()
        self.quota.close()
        self.presence.close()
        self.resources.close()


class WebProcess:
    """One application in one process. Objects with connections are made by ``start`` or at their first use."""

    def __init__(self, settings: Settings, verifier: Verifier, methods: Sequence[Method], limits: Limits) -> None:
        """``methods``: the ways to authenticate a request, in the order in which they are tried."""
        self.settings = settings
        self.verifier = verifier
        self.methods = methods
        self.limits = limits
        self._lock = Lock()
        self._live: Live | None = None
        self._large_bodies: dict[str, BoundedSemaphore] = {}
        # A completion of an upload holds a connection and uses a second one; the pool has twice DATABASE_POOL.
        self.completions = UserPlaces(max(1, settings.database_pool // 2), "files of parts", "DATABASE_POOL")

    def start(self) -> Live:
        """Connect and start the threads, once. Must not be called before the fork."""
        with self._lock:
            if self._live is None:
                telemetry.start(self.settings.telemetry, "web", SpanCounts())
                self._live = Live.begin(self.settings)
            return self._live

    def close(self) -> None:
        """Close all connections and stop all threads."""
        with self._lock:
            if self._live is not None:
                self._live.close()
                self._live = None

    @property
    def live(self) -> Live:
        """The objects with connections and threads."""
        return self._live or self.start()

    @property
    def resources(self) -> Resources:
        """The services and stores."""
        return self.live.resources

    @contextmanager
    def place_for_body(self, kind: BodyKind, length: int | None) -> Iterator[None]:
        """A place for a large body while it is parsed and used; ``length`` is in bytes. Raises Overloaded."""
        if kind.at_once is None or (length is not None and length <= LARGE_BYTES):
            yield
            return
        most = int(getattr(self.settings, kind.at_once))
        with self._lock:
            places = self._large_bodies.setdefault(kind.at_once, BoundedSemaphore(most))
        if not places.acquire(blocking=False):
            raise Overloaded(f"No more than {most} {kind.name} at once are read here ({kind.at_once.upper()}).")
        try:
            yield
        finally:
            places.release()

    def begin(self, user: User, command: Command, *, with_position: bool = False, by_program: bool = False) -> Started:
        """Start a generation within the limit on new conversations. A repeated request does not count.

        ``by_program``: new conversations are not limited. A program that sends whole conversations begins one with each
        request.
        """
        admit = nothing if by_program else self.limits.new_conversations
        begun = self.resources.starter.start(
            user, command, admit, g.get("request_id"), with_position=with_position, trace=g.get("trace")
        )
        g.generation_id = begun.generation.id
        if not begun.repeated:
            GENERATIONS_STARTED.inc()
        return begun


def nothing() -> None:
    """Admit without a limit."""


def web() -> WebProcess:
    """The process of the current application."""
    process: WebProcess = current_app.extensions[EXTENSION]
    return process


def _count_lost(queue: Queue) -> None:
    """Add the tasks that the broker has not taken to the metrics."""
    DOORBELLS_LOST.inc(queue.take_lost())


def _feeds(resources: Resources, scope: Scope, id_name: str, last: bytes | None) -> LogType:
    return LogType(
        FeedReader(resources.database, scope, feed_frames.show),
        resources.feed_notifier.channel,
        feed_frames.frame,
        last=last,
        page=FEED_PAGE,
        id_name=id_name,
    )


def _health(settings: Settings, resources: Resources, hub: Hub) -> Health:
    dependencies = Dependencies(
        resources.database,
        resources.redis,
        settings.redis_namespace,
        hub_lives=lambda: hub.alive,
        revocations_age=lambda: resources.revocations.age,
        upstreams=resources.upstream_statuses.every,
    )
    return Health(
        dependencies,
        settings.worker_lost_seconds,
        settings.worker_gap_seconds,
        one_login=settings.database_logins == "one",
    )


def _hub(settings: Settings, resources: Resources) -> Hub:
    log = resources.log
    return Hub(
        LogType(resources.reader, lambda key: log.keys(key).channel),
        settings.redis_url,
        settings.redis_namespace,
        resources.redis.publish,
        keepalive=settings.keepalive_seconds,
    )
