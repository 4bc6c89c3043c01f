"""Scripts whose replies are read later: the caller works while Redis does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import redis

from app.eventlog.log import Script


class DeferredScripts:
    """Runs scripts over connections that it borrows from a client's pool and keeps. Any thread may use it.

    Errors are the client library's, its timeouts those of the client.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._pool: Any = client.connection_pool
        # Borrowing from the library's pool takes longer than the command. The pool still counts and closes these.
        self._idle: list[Any] = []

    def send(self, script: Script, key: str, *args: Any) -> Callable[[], Any]:
        """Send a script. The returned function waits for the reply, and has to be called once."""
        connection = self._lent()
        try:
            connection.send_command("EVALSHA", script.digest, 1, key, *args)
        except BaseException:
            self._pool.release(connection)
            raise

        def receive() -> Any:
            try:
                try:
                    reply = connection.read_response()
                except redis.exceptions.NoScriptError:
                    connection.send_command("EVAL", script.source, 1, key, *args)
                    reply = connection.read_response()
            except BaseException:
                # It may be closed. Kept here, the next use would connect it twice: for the check, and for the command.
                self._pool.release(connection)
                raise
            self._idle.append(connection)
            return reply

        return receive

    def _lent(self) -> Any:
        """A connection with nothing left to be read from it; one that is closed connects when it is used."""
        try:
            connection = self._idle.pop()
        except IndexError:
            return self._pool.get_connection()
        try:
            spoilt = connection.can_read()
        except redis.RedisError:
            spoilt = True
        if spoilt:
            connection.disconnect()
        return connection
