"""Streams whose credential or user was revoked: they are broken, whether they are open or about to join."""

from __future__ import annotations

from app.domain import sse
from app.domain.revoked_names import RevokedNames
from app.relay.connections import Connections
from app.relay.encoded_log import chunk
from app.relay.event_loop import EventLoop
from app.relay.sender import Sender
from app.relay.stream_connection import StreamConnection

ENDED = chunk(sse.notice({"type": "auth", "detail": "access ended"}))


class Revoker:
    """``revoke`` and ``revoke_everything`` may be called from any thread, the rest from the hub's thread.

    A stream joins some time after its credential was proved. Names are kept meanwhile, so a stream that was proved
    before a revocation and joins after it is broken, too. A stream that was proved after it is not.
    """

    def __init__(self, loop: EventLoop, connections: Connections, sender: Sender) -> None:
        self._loop = loop
        self._connections = connections
        self._sender = sender
        self._recent = RevokedNames()

    def revoke(self, names: frozenset[str]) -> None:
        """Break the streams whose request has one of these names among its revocables."""
        now = self._loop.clock()
        self._recent.add(names, now)
        self._loop.post(self._break, names, now)

    def revoke_everything(self) -> None:
        """Break all streams: some names were missed."""
        now = self._loop.clock()
        self._recent.add_everything(now)
        self._loop.post(self._break, None, now)

    def admits(self, connection: StreamConnection) -> bool:
        """True when a connection that joins may be served; a connection that was revoked meanwhile is closed."""
        request = connection.request
        if not self._recent.meets(request.revocables, request.proved_at):
            return True
        if connection.notices and not connection.rest:
            self._connections.write(connection, ENDED)
        self._connections.turn_away(connection, "revoked")
        return False

    def _break(self, names: frozenset[str] | None, now: float) -> None:
        # Revocations are rare. A look at each of 5,000 streams costs less than an index of their names would hold.
        for connection in list(self._connections.open.values()):
            request = connection.request
            if request.proved_at <= now and (names is None or not names.isdisjoint(request.revocables)):
                try:
                    self._sender.dismiss(connection, ENDED, "revoked")
                except Exception as error:
                    self._connections.fail(connection, error)
