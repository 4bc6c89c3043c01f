"""Connections and transactions: who is asking is set in each, and PostgreSQL enforces it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import psycopg2
from psycopg2.extensions import TRANSACTION_STATUS_IDLE, new_type, register_type
from psycopg2.extras import Json
from sqlalchemy import Connection, CursorResult, TextClause, create_engine, event, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError, InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.domain.errors import DatabaseDown

# A dead peer is noticed within some ten seconds, a slow statement given up after five.
_CONNECT = {
    "connect_timeout": 3,
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    "application_name": "unbroken",
}
_SESSION = {
    "role": "unbroken_app",
    "statement_timeout": "5s",
    "lock_timeout": "3s",
    "idle_in_transaction_session_timeout": "10s",
    "timezone": "UTC",
    "jit": "off",
}
# SQLSTATE classes that mean "not now" and not "wrong": connection, resources, intervention, system, lock, timeout.
_UNAVAILABLE = ("08", "53", "57", "58", "55P03", "40", "25006", "25P03")

# How a transaction begins that only looks, and sees with all its statements what was true with the first of them.
ONE_MOMENT = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"

Tx = Connection
Work = Callable[[Tx, list[Any]], None]


class Database:
    """A pool of connections to one database. ``url`` as SQLAlchemy writes it, with the psycopg2 driver.

    ``announced`` is told what a committed transaction said with ``announce``; it must not block or raise.
    """

    def __init__(
        self, url: str, pool_size: int = 10, announced: Callable[[Set[str]], None] = lambda keys: None
    ) -> None:
        self._announced = announced
        options = " ".join(f"-c {name}={value}" for name, value in _SESSION.items())
        self.engine = create_engine(
            url,
            pool_size=pool_size,
            max_overflow=pool_size,
            pool_timeout=5,
            pool_recycle=1800,
            # Transactions begin and end in so many words: the driver would send a BEGIN of its own before the first.
            isolation_level="AUTOCOMMIT",
            pool_reset_on_return=None,
            connect_args={**_CONNECT, "options": options},
        )
        event.listen(self.engine, "connect", _read_uuids_as_text)
        event.listen(self.engine, "reset", _roll_back)

    @contextmanager
    def user(self, user_id: str, begin: str = "BEGIN") -> Iterator[Tx]:
        """A transaction in a user's name: rows of others do not exist in it. Commits when the block ends well."""
        with self._transaction(f"{begin}; {_AS_USER}", {"user": user_id}) as tx:
            yield tx

    @contextmanager
    def system(self, begin: str = "BEGIN") -> Iterator[Tx]:
        """A transaction over everybody's rows: for the worker, the sweeper and the operator."""
        with self._transaction(f"{begin}; SET LOCAL ROLE unbroken_system") as tx:
            yield tx

    def ask(self, user_id: str, sql: str, **values: Any) -> dict[str, Any] | None:
        """The first row of one statement in a user's name, by column, or None: a transaction that is one round trip.

        It only reads: where a pooled connection turns out to be dead, it is asked again on another one.
        """
        # PostgreSQL runs what it is sent together as one transaction; with the last of it ends who was set.
        asked, values = f"{_AS_USER}; {_for_driver(sql)}", {**values, "user": user_id}
        with self._errors():
            answered, row = self._ask_driver(asked, values)
            if not answered:
                with self._opened(asked, values) as (_, answer):
                    first = answer.mappings().first()
                    row = dict(first) if first else None
        return row

    def _ask_driver(self, sql: str, values: Mapping[str, Any]) -> tuple[bool, dict[str, Any] | None]:
        """The same past SQLAlchemy, which takes longer to describe the row than PostgreSQL to find it.

        Whether there was an answer, and the row; the connection was dead when there was none.
        """
        try:
            connection = self.engine.raw_connection()
        except psycopg2.Error as error:
            raise _wrapped(sql, error) from error
        try:
            cursor = connection.cursor()
            cursor.execute(sql, values)
            row, names = cursor.fetchone(), [column[0] for column in cursor.description or ()]
            return True, dict(zip(names, row, strict=True)) if row else None
        except psycopg2.Error as error:
            if getattr(connection.dbapi_connection, "closed", True):
                connection.invalidate(error)
                return False, None
            raise _wrapped(sql, error) from error
        finally:
            connection.close()

    @contextmanager
    def _transaction(self, opening: str, values: Mapping[str, Any] | None = None) -> Iterator[Tx]:
        with self._errors(), self._opened(opening, values or {}) as (tx, _):
            # The connection is an old one: what a transaction that failed has left is not ours.
            announced: set[str] = set()
            deferred: dict[Work, list[Any]] = {}
            tx.info.update({_ANNOUNCED: announced, _DEFERRED: deferred})
            yield tx
            for work, items in deferred.items():
                work(tx, items)
            tx.exec_driver_sql("COMMIT")
        if announced:
            self._announced(announced)

    @contextmanager
    def _opened(self, opening: str, values: Mapping[str, Any]) -> Iterator[tuple[Tx, CursorResult[Any]]]:
        """A connection on which ``opening`` was executed, and what that answered.

        A pooled connection may have died since it was used last. The opening finds out: nothing is done before it.
        """
        tx = self.engine.connect()
        try:
            try:
                answer = tx.exec_driver_sql(opening, values)
            except DBAPIError as error:
                if not error.connection_invalidated:
                    raise
                # The pool has thrown away all that are as old; the next one is new.
                tx.close()
                tx = self.engine.connect()
                answer = tx.exec_driver_sql(opening, values)
            yield tx, answer
        finally:
            tx.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except PoolTimeout as error:
            raise DatabaseDown("Every database connection is in use just now.") from error
        except DBAPIError as error:
            if is_unavailable(error):
                raise DatabaseDown from error
            raise

    def close(self) -> None:
        """Close every pooled connection."""
        self.engine.dispose()


def is_unavailable(error: DBAPIError) -> bool:
    """Whether the database could not answer, as opposed to having answered that something is wrong."""
    code: str | None = getattr(error.orig, "pgcode", None)
    if code:
        return code.startswith(_UNAVAILABLE)
    return isinstance(error, (OperationalError, InterfaceError, InternalError)) or error.connection_invalidated


def fetch(tx: Tx, sql: str, **values: Any) -> list[Any]:
    """All rows of a statement, with attributes named as its columns."""
    return list(tx.execute(_clause(sql), values).all())


def fetch_one(tx: Tx, sql: str, **values: Any) -> Any | None:
    """The first row, or None."""
    return tx.execute(_clause(sql), values).first()


def execute(tx: Tx, sql: str, **values: Any) -> int:
    """Run a statement; how many rows it touched."""
    return tx.execute(_clause(sql), values).rowcount


def defer(tx: Tx, work: Work, item: Any) -> None:
    """Have something done as the last thing before the commit: once, with all items given for it, in order."""
    tx.info[_DEFERRED].setdefault(work, []).append(item)


def announce(tx: Tx, *keys: str) -> None:
    """Have it said, when this transaction is committed, that something happened to these. It may be lost."""
    tx.info[_ANNOUNCED].update(keys)


def as_json(value: Any) -> Any:
    """A value for a jsonb parameter."""
    return Json(value)


@lru_cache(maxsize=1000)
def _clause(sql: str) -> TextClause:
    return text(sql)


@lru_cache(maxsize=1000)
def _for_driver(sql: str) -> str:
    """A statement with its parameters as the driver has them."""
    return str(_clause(sql).compile(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]


def _roll_back(connection: Any, *_: Any) -> None:
    """What a block that ended badly has left open ends here, before anybody else gets the connection."""
    if connection.get_transaction_status() != TRANSACTION_STATUS_IDLE:
        connection.cursor().execute("ROLLBACK")


def _wrapped(sql: str, error: psycopg2.Error) -> Exception:
    """The driver's error as SQLAlchemy raises it."""
    wrapped: Exception = DBAPIError.instance(sql, None, error, psycopg2.Error)
    return wrapped


def _read_uuids_as_text(connection: Any, record: Any) -> None:
    """Ids are opaque text everywhere in this service."""
    register_type(_UUID_TEXT, connection)


_ANNOUNCED = "announced"
_DEFERRED = "deferred"
_UUID_OID = 2950
_UUID_TEXT = new_type((_UUID_OID,), "UUID_TEXT", lambda value, cursor: value)
_AS_USER = "SELECT set_config('app.user_id', %(user)s, true)"
