"""Connections and transactions: who is asking is set in each, and PostgreSQL enforces it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager
from typing import Any

from psycopg2.extensions import new_type, register_type
from psycopg2.extras import Json
from sqlalchemy import Connection, create_engine, event, text
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
            pool_pre_ping=True,
            pool_recycle=1800,
            connect_args={**_CONNECT, "options": options},
        )
        event.listen(self.engine, "connect", _read_uuids_as_text)

    @contextmanager
    def user(self, user_id: str) -> Iterator[Tx]:
        """A transaction in a user's name: rows of others do not exist in it. Commits when the block ends well."""
        with self._begin() as tx:
            tx.execute(_AS_USER, {"id": user_id})
            yield tx

    @contextmanager
    def system(self) -> Iterator[Tx]:
        """A transaction over everybody's rows: for the worker, the sweeper and the operator."""
        with self._begin() as tx:
            tx.exec_driver_sql("SET LOCAL ROLE unbroken_system")
            yield tx

    @contextmanager
    def _begin(self) -> Iterator[Tx]:
        try:
            with self.engine.begin() as tx:
                # The connection is an old one: what a transaction that failed has left is not ours.
                announced: set[str] = set()
                deferred: dict[Work, list[Any]] = {}
                tx.info.update({_ANNOUNCED: announced, _DEFERRED: deferred})
                yield tx
                for work, items in deferred.items():
                    work(tx, items)
        except PoolTimeout as error:
            raise DatabaseDown("Every database connection is in use just now.") from error
        except DBAPIError as error:
            if is_unavailable(error):
                raise DatabaseDown from error
            raise
        if announced:
            self._announced(announced)

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
    return list(tx.execute(text(sql), values).all())


def fetch_one(tx: Tx, sql: str, **values: Any) -> Any | None:
    """The first row, or None."""
    return tx.execute(text(sql), values).first()


def execute(tx: Tx, sql: str, **values: Any) -> int:
    """Run a statement; how many rows it touched."""
    return tx.execute(text(sql), values).rowcount


def defer(tx: Tx, work: Work, item: Any) -> None:
    """Have something done as the last thing before the commit: once, with all items given for it, in order."""
    tx.info[_DEFERRED].setdefault(work, []).append(item)


def announce(tx: Tx, *keys: str) -> None:
    """Have it said, when this transaction is committed, that something happened to these. It may be lost."""
    tx.info[_ANNOUNCED].update(keys)


def as_json(value: Any) -> Any:
    """A value for a jsonb parameter."""
    return Json(value)


def _read_uuids_as_text(connection: Any, record: Any) -> None:
    """Ids are opaque text everywhere in this service."""
    register_type(_UUID_TEXT, connection)


_ANNOUNCED = "announced"
_DEFERRED = "deferred"
_UUID_OID = 2950
_UUID_TEXT = new_type((_UUID_OID,), "UUID_TEXT", lambda value, cursor: value)
_AS_USER = text("SELECT set_config('app.user_id', :id, true)")
