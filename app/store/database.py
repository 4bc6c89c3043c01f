"""Connections and transactions: role, user and timeouts are set in each transaction, and PostgreSQL enforces them.

A session keeps nothing that a transaction needs, so a pooler may give every transaction another session.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Literal, cast

import psycopg2
from psycopg2.extensions import TRANSACTION_STATUS_IDLE, new_type, register_type
from psycopg2.extras import Json
from sqlalchemy import Connection, CursorResult, Row, TextClause, create_engine, event, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.domain.errors import DatabaseDown
from app.store.deadline import RETRY_SECONDS, Deadlines
from app.store.openings import AS_OPERATOR, AS_OWNER, AS_SYSTEM, AS_USER
from app.store.outages import Outages

# A dead peer is noticed within some 10 s. deadline.py bounds everything else.
_CONNECT = {
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    "application_name": "unbroken",
}
# What a burst has opened is kept, the warmest first: plans of a new session are 40 ms of PostgreSQL's processor.
_KEPT: dict[str, Any] = {"max_overflow": 0, "pool_use_lifo": True, "pool_recycle": 1800}
# The beginning of a transaction that only reads: all its statements see the database as the first one saw it.
ONE_MOMENT = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
# The user of a transaction without one, as a parameter: no row has this id.
_NOBODY = "00000000-0000-0000-0000-000000000000"

# Seconds in which a transaction must begin: the default of DATABASE_TIMEOUT_SECONDS.
TIMEOUT_SECONDS = 3.0
# Seconds after which a statement is given up here; the server gives it up after its statement_timeout of 5 s.
STATEMENT_SECONDS = 6.0

Tx = Connection
Work = Callable[[Tx, list[Any]], None]


class Database:
    """A pool of up to 2 × ``pool_size`` connections to one database. ``url`` is SQLAlchemy's, with the psycopg2 driver.

    ``announced`` receives the keys that a committed transaction gave to ``announce``; it must not block or raise.
    ``timeout``: seconds for a new connection, for a place in the pool, and for the beginning of a transaction;
    ``retry``: between two tries while the server is taken for frozen.
    """

    def __init__(
        self,
        url: str,
        pool_size: int = 10,
        announced: Callable[[Set[str]], None] = lambda keys: None,
        timeout: float = TIMEOUT_SECONDS,
        retry: float = RETRY_SECONDS,
    ) -> None:
        self._announced, self.outages = announced, Outages()
        deadlines = Deadlines(timeout, max(timeout, STATEMENT_SECONDS), retry)
        self._fuse = deadlines.fuse
        self.engine = create_engine(
            url,
            pool_size=2 * pool_size,
            pool_timeout=timeout,
            # Each transaction sends its own BEGIN and COMMIT: the driver would send another BEGIN before the first.
            isolation_level="AUTOCOMMIT",
            pool_reset_on_return=None,
            # The parameters of a statement are texts of users; its error may be logged.
            hide_parameters=True,
            connect_args={**_CONNECT, **deadlines.connect_args},
            **_KEPT,
        )
        event.listen(self.engine, "connect", _read_uuids_as_text)
        event.listen(self.engine, "reset", _roll_back)

    @contextmanager
    def user(self, user_id: str, begin: str = "BEGIN") -> Iterator[Tx]:
        """A transaction of one user: rows of other users do not exist in it. It commits when the block ends well."""
        with self._transaction(f"{begin}; {AS_USER}", {"user": user_id}, lambda _: user_id) as tx:
            yield tx

    @contextmanager
    def owner(self, kind: Literal["generation", "conversation"], object_id: str, begin: str = "BEGIN") -> Iterator[Tx]:
        """A transaction of the user who owns an object; without a user where there is no such object."""
        opening = f"{begin}; {AS_USER}; {AS_OWNER.format(kind=kind)}"
        with self._transaction(opening, {"user": "", "object": object_id}, lambda row: row[0] or _NOBODY) as tx:
            yield tx

    @contextmanager
    def without_user(self) -> Iterator[Tx]:
        """A transaction without a user: no row of a user exists in it. It may call the functions of the schema."""
        with self._transaction(f"BEGIN; {AS_USER}", {"user": ""}, lambda _: _NOBODY) as tx:
            yield tx

    @contextmanager
    def operator(self) -> Iterator[Tx]:
        """A transaction of an administrator: it sees models, and calls the functions for operators."""
        with self._transaction(f"BEGIN; {AS_OPERATOR}", {"user": ""}, lambda _: _NOBODY) as tx:
            yield tx

    @contextmanager
    def system(self, begin: str = "BEGIN") -> Iterator[Tx]:
        """A transaction over the rows of all users, for workers. The login of the web processes may not begin one."""
        with self._transaction(f"{begin}; {AS_SYSTEM}", {"user": ""}, lambda _: None) as tx:
            yield tx

    def ask(self, user_id: str, sql: str, **values: Any) -> dict[str, Any] | None:
        """The first row of ``ask_all``, or None."""
        return next(iter(self.ask_all(user_id, sql, **values)), None)

    def ask_all(self, user_id: str, sql: str, **values: Any) -> list[dict[str, Any]]:
        """The rows of one reading statement of a user, by column, in one round trip; two if a connection is dead."""
        # PostgreSQL runs the statements of one message as one transaction: role and user end with it.
        asked, values = f"{AS_USER}; {_for_driver(sql)}", {**values, "user": user_id, "me": user_id}
        with self._errors():
            rows = self._ask_driver(asked, values)
            if rows is None:
                with self._opened(asked, values) as (_, answer):
                    rows = [dict(row) for row in answer.mappings()]
        return rows

    def _ask_driver(self, sql: str, values: Mapping[str, Any]) -> list[dict[str, Any]] | None:
        """The rows, by the driver alone: SQLAlchemy takes longer to describe a row than PostgreSQL to find it.

        None when the connection turned out to be dead.
        """
        self._fuse.admit()
        try:
            connection = self.engine.raw_connection()
        except psycopg2.Error as error:
            raise _wrapped(sql, error) from error
        try:
            cursor = connection.cursor()
            cursor.execute(sql, values)
            rows, names = cursor.fetchall(), [column[0] for column in cursor.description or ()]
            self._fuse.mend()
            return [dict(zip(names, row, strict=True)) for row in rows]
        except psycopg2.Error as error:
            if getattr(connection.dbapi_connection, "closed", True):
                connection.invalidate(error)
                if not self._fuse.blown:
                    return None
            raise _wrapped(sql, error) from error
        finally:
            connection.close()

    @contextmanager
    def _transaction(
        self, opening: str, values: Mapping[str, Any], whose: Callable[[Row[Any]], str | None]
    ) -> Iterator[Tx]:
        """``whose`` finds the user of the transaction in the last row of the opening; None: all users."""
        with self._errors(), self._opened(opening, values) as (tx, answer):
            # The connection is reused: a failed transaction may have left its entries.
            announced: set[str] = set()
            deferred: dict[Work, list[Any]] = {}
            tx.info.update({_ANNOUNCED: announced, _DEFERRED: deferred, _ME: whose(answer.one())})
            yield tx
            for work, items in deferred.items():
                work(tx, items)
            tx.exec_driver_sql("COMMIT")
        if announced:
            self._announced(announced)

    @contextmanager
    def _opened(self, opening: str, values: Mapping[str, Any]) -> Iterator[tuple[Tx, CursorResult[Any]]]:
        """A connection on which ``opening`` was executed, and its result.

        A pooled connection may have died since its last use. The opening notices that before anything is done.
        """
        self._fuse.admit()
        tx = self.engine.connect()
        try:
            try:
                answer = tx.exec_driver_sql(opening, values)
            except DBAPIError as error:
                if not error.connection_invalidated or self._fuse.blown:
                    raise
                # The pool has discarded all connections of this age; the next one is new.
                tx.close()
                tx = self.engine.connect()
                answer = tx.exec_driver_sql(opening, values)
            self._fuse.mend()
            yield tx, answer
        finally:
            # Not earlier: the pool lends the place of a detached connection again.
            if not tx.closed and not tx.invalidated and tx.info.pop(_DISCARDED, False):
                tx.detach()
            tx.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except PoolTimeout as error:
            raise DatabaseDown("Every database connection is in use just now.") from error
        except DBAPIError as error:
            if self.outages.is_one(error):
                raise DatabaseDown from error
            raise

    def close(self) -> None:
        """Close every pooled connection."""
        self.engine.dispose()


def mine(column: str = "user_id") -> str:
    """The condition that a row belongs to the transaction's user; true in a system transaction.

    Every statement that takes an id for a user has it, beside the policies of row-level security.
    """
    return f"(:me IS NULL OR {column} = :me)"


def fetch(tx: Tx, sql: str, **values: Any) -> list[Any]:
    """All rows of a statement, with attributes named as its columns."""
    return list(_execute(tx, sql, values).all())


def fetch_one(tx: Tx, sql: str, **values: Any) -> Any | None:
    """The first row, or None."""
    return _execute(tx, sql, values).first()


def execute(tx: Tx, sql: str, **values: Any) -> int:
    """Run a statement. Returns the number of rows that it changed."""
    return _execute(tx, sql, values).rowcount


def _execute(tx: Tx, sql: str, values: dict[str, Any]) -> CursorResult[Any]:
    if _names_the_user(sql):
        values["me"] = tx.info[_ME]
    return tx.execute(_clause(sql), values)


def discard(tx: Tx) -> None:
    """Have the connection closed at the end of its transaction: its driver keeps a buffer of the largest statement."""
    tx.info[_DISCARDED] = True


def defer(tx: Tx, work: Work, item: Any) -> None:
    """Run ``work`` as the last step before the commit: once, with all items given for it, in order."""
    tx.info[_DEFERRED].setdefault(work, []).append(item)


def announce(tx: Tx, *keys: str) -> None:
    """Publish these keys after the commit of this transaction. The notification may be lost."""
    tx.info[_ANNOUNCED].update(keys)


def as_json(value: Any) -> Any:
    """A value for a jsonb parameter."""
    return Json(value)


@lru_cache(maxsize=1000)
def _clause(sql: str) -> TextClause:
    return text(sql)


@lru_cache(maxsize=1000)
def _names_the_user(sql: str) -> bool:
    return re.search(r":me\b", sql) is not None


@lru_cache(maxsize=1000)
def _for_driver(sql: str) -> str:
    """A statement with its parameters in the driver's notation."""
    return str(_clause(sql).compile(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]


def _roll_back(connection: Any, *_: Any) -> None:
    """Roll back a transaction that a failed block has left open, before the connection is used again."""
    if connection.get_transaction_status() != TRANSACTION_STATUS_IDLE:
        connection.cursor().execute("ROLLBACK")


def _wrapped(sql: str, error: psycopg2.Error) -> Exception:
    """The driver's error in the class that SQLAlchemy raises for it."""
    return cast(Exception, DBAPIError.instance(sql, None, error, psycopg2.Error))


def _read_uuids_as_text(connection: Any, record: Any) -> None:
    """Read ids as text: they are opaque everywhere in this service."""
    register_type(_UUID_TEXT, connection)


# The keys of a connection's info.
_ANNOUNCED, _DEFERRED, _DISCARDED, _ME = "announced", "deferred", "discarded", "me"
_UUID_OID = 2950
_UUID_TEXT = new_type((_UUID_OID,), "UUID_TEXT", lambda value, cursor: value)
