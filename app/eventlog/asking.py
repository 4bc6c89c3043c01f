"""Scripts whose answers are waited for later: in the meantime, whoever asked does something else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import redis

from app.eventlog.log import Script


class Questions:
    """Runs scripts over connections of a client that it keeps to itself. Any thread may ask.

    Errors are the client library's, its timeouts those of the client.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._pool: Any = client.connection_pool
        # The library's own lending takes longer than asking; its pool still counts these, and closes them.
        self._idle: list[Any] = []

    def ask(self, script: Script, key: str, *args: Any) -> Callable[[], Any]:
        """Send a script off. What is returned waits for the answer, and has to be called once."""
        connection = self._lent()
        try:
            connection.send_command("EVALSHA", script.digest, 1, key, *args)
        except BaseException:
            self._pool.release(connection)
            raise

        def answer() -> Any:
            try:
                try:
                    reply = connection.read_response()
                except redis.exceptions.NoScriptError:
                    connection.send_command("EVAL", script.source, 1, key, *args)
                    reply = connection.read_response()
            except BaseException:
                # Maybe closed. Here the next one would connect it for the look and again for the question.
                self._pool.release(connection)
                raise
            self._idle.append(connection)
            return reply

        return answer

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
