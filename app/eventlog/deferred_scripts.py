"""Scripts whose replies are read later: the caller works while Redis does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import redis

from app.eventlog import allowance
from app.eventlog.log import Script


class Scripts(Protocol):
    """An object that sends scripts, and receives their replies later."""

    def send(self, script: Script, key: str, *args: Any) -> Callable[[], Any]:
        """Send a script. The returned function waits for the reply, and has to be called once."""
        ...


class _Call(NamedTuple):
    """A script with the key and the arguments of one call."""

    script: Script
    key: str
    args: tuple[Any, ...]


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

    def together(self) -> ScriptBatch:
        """A batch of scripts over one of these connections."""
        return ScriptBatch(self)

    def send_all(self, calls: Sequence[_Call]) -> Callable[[], list[Any]]:
        """Send scripts in one message. The returned function waits for the replies, and has to be called once.

        The reply to a script that Redis refuses is the error.
        """
        connection = self._lent()
        try:
            commands = [("EVALSHA", call.script.digest, 1, call.key, *call.args) for call in calls]
            connection.send_packed_command(connection.pack_commands(commands))
        except BaseException:
            self._pool.release(connection)
            raise

        def receive() -> list[Any]:
            try:
                with allowance.spending():
                    replies = [_reply(connection) for _ in calls]
                unknown = [n for n, reply in enumerate(replies) if isinstance(reply, redis.exceptions.NoScriptError)]
                if unknown:
                    sources = [("EVAL", calls[n].script.source, 1, calls[n].key, *calls[n].args) for n in unknown]
                    connection.send_packed_command(connection.pack_commands(sources))
                    for n in unknown:
                        replies[n] = _reply(connection)
            except BaseException:
                self._pool.release(connection)
                raise
            self._idle.append(connection)
            return replies

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


class ScriptBatch:
    """Scripts that leave in one message. For one thread.

    The order: ``send`` for each, ``leave``, then the functions that ``send`` has returned. They raise the error of the
    message, where it could not be sent or its replies did not arrive.
    """

    def __init__(self, scripts: DeferredScripts) -> None:
        self._scripts = scripts
        self._calls: list[_Call] = []
        self._receive: Callable[[], list[Any]] | None = None
        self._replies: list[Any] = []
        self._error: Exception | None = redis.ConnectionError("The message was not sent.")

    def send(self, script: Script, key: str, *args: Any) -> Callable[[], Any]:
        """Add a script to the message. The returned function waits for its reply."""
        place = len(self._calls)
        self._calls.append(_Call(script, key, args))
        return lambda: self._reply(place)

    def leave(self) -> None:
        """Send the message. Raises nothing: the functions of ``send`` raise the error."""
        try:
            self._receive, self._error = self._scripts.send_all(self._calls), None
        except (redis.RedisError, OSError) as error:
            self._error = error

    def _reply(self, place: int) -> Any:
        receive, self._receive = self._receive, None
        if receive is not None:
            try:
                self._replies = receive()
            except (redis.RedisError, OSError) as error:
                self._error = error
        if self._error is not None:
            raise self._error
        reply = self._replies[place]
        if isinstance(reply, redis.ResponseError):
            raise reply
        return reply


def _reply(connection: Any) -> Any:
    """The next reply of a connection, or the error that it is."""
    try:
        return connection.read_response()
    except redis.ResponseError as refusal:
        return refusal
