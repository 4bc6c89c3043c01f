"""The invariants of a hub's connections after each step: each state has its place in the hub's collections."""

from __future__ import annotations

from math import inf

from app.relay.hub import Hub
from app.relay.pacing import LONGEST_INTERVAL
from app.relay.stream_connection import ConnectionState, StreamConnection
from app.relay.topic import Topic

# Bytes of the longest encoded event of these tests with its frame, and of a few notices sent while it waited.
MOST_KEPT = 9_000


def check(hub: Hub) -> None:
    """Raise AssertionError where the tables of a hub contradict each other."""
    followers: dict[int, int] = {}
    for fd, connection in hub.connections.open.items():
        assert connection.fd == fd
        _check_connection(hub, connection)
        for topic in _topics(connection):
            followers[id(topic)] = followers.get(id(topic), 0) + 1
    for topic in hub.registry.topics.values():
        _check_topic(hub, topic)
        assert topic.readers == followers.get(id(topic), 0), "a topic counts who follows it"
    for fd in hub.connections.half_closed:
        assert fd not in hub.connections.open, "a half-closed stream is served no more"


def _topics(connection: StreamConnection) -> list[Topic]:
    carried = connection.multiplexer.carried.values() if connection.multiplexer else ()
    return [connection.topic, *(substream.topic for substream in carried)]


def _check_connection(hub: Hub, connection: StreamConnection) -> None:
    state, topic, fd = connection.state, connection.topic, connection.fd
    assert (fd in topic.live) == (state is ConnectionState.LIVE), "live is who stands among the live"
    assert (topic.waiting.get(fd) is connection) == (state is ConnectionState.WAITING), "waiting is who stands there"
    assert connection.page is None or state is ConnectionState.BACKFILLING, "only who is behind keeps a page"
    match state:
        case ConnectionState.JOINING:
            raise AssertionError("who joins is not open yet")
        case ConnectionState.LIVE:
            assert not connection.rest
            assert connection.render is None
        case ConnectionState.WAITING:
            assert not connection.rest
            assert connection.cursor >= topic.delivered or not topic.tail.covers(connection.cursor)
        case ConnectionState.BACKFILLING:
            assert connection in hub.connections.ready or hub.backfill.is_waiting(topic, connection), "somebody acts"
        case ConnectionState.BLOCKED:
            assert len(connection.rest) <= MOST_KEPT, "a blocked reader keeps the rest of one event"
        case ConnectionState.CLOSING:
            assert b"0\r\n\r\n".endswith(connection.rest)
    if connection.multiplexer:
        for substream in connection.multiplexer.carried.values():
            assert not substream.rest, "the connection keeps what a substream could not send"
            assert substream.page is None or not substream.held


def _check_topic(hub: Hub, topic: Topic) -> None:
    pacing, now = hub.fan_out.pacing, hub.loop.now
    if topic.pending:
        assert topic in pacing.collected, "what was received in a round is delivered in it, or collected"
        assert now < pacing.deliver_at <= now + LONGEST_INTERVAL, "what is collected is delivered soon"
        assert not topic.tail.complete or topic.live == set(), "the end of an answer does not wait"
    else:
        assert topic.delivered == topic.end
    assert topic.live <= hub.connections.open.keys()
    assert (topic.empty < inf) == (not topic.readers)
