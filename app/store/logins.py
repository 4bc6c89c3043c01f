"""The two logins of the running service. They own nothing; each may set certain roles.

A login inherits no rights: without a role set in the transaction it can read nothing at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import Any

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import encrypt_password
from sqlalchemy.engine import URL, make_url

from app.domain.errors import UnbrokenError

# A web process acts for a user or an administrator. A worker also sees the rows of all users.
WEB_ROLES = ("unbroken_app", "unbroken_operator")
WORKER_ROLES = (*WEB_ROLES, "unbroken_system")

_NOTHING_MORE = "LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"


class LoginRefused(UnbrokenError):
    """A login cannot be prepared; the message says which statement an administrator has to run."""


def prepare(owner_url: str, web_url: str, worker_url: str) -> None:
    """Create or change the logins of both addresses, as the owner. The owner's own login stays as it is.

    Raises LoginRefused, and what psycopg2 raises when the owner cannot log in.
    """
    owner, web, worker = (make_url(url) for url in (owner_url, web_url, worker_url))
    roles: dict[str, tuple[URL, Sequence[str]]] = {login(worker): (worker, WORKER_ROLES)}
    if login(web) not in roles:
        roles[login(web)] = (web, WEB_ROLES)
    with closing(connect(owner_url)) as connection, connection, connection.cursor() as cursor:
        for name, (url, granted) in roles.items():
            if name != login(owner):
                _prepare(cursor, name, url.password, granted)


def connect(url: str) -> Any:
    """A connection of the driver to an address as the settings have it."""
    parts = make_url(url).set(drivername="postgresql")
    return psycopg2.connect(parts.render_as_string(hide_password=False), connect_timeout=5)


def login(url: URL) -> str:
    """The name that an address logs in with."""
    return url.username or ""


def _prepare(cursor: Any, name: str, password: str | None, roles: Sequence[str]) -> None:
    try:
        _keep(cursor, name, password)
        granted = sql.SQL(", ").join(map(sql.Identifier, roles))
        cursor.execute(sql.SQL("GRANT {} TO {} WITH INHERIT FALSE, SET TRUE").format(granted, sql.Identifier(name)))
        if "unbroken_system" not in roles:
            cursor.execute(sql.SQL("REVOKE unbroken_system FROM {}").format(sql.Identifier(name)))
        cursor.execute("SELECT current_database()")
        database = sql.Identifier(cursor.fetchone()[0])
        cursor.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(database, sql.Identifier(name)))
    except psycopg2.errors.InsufficientPrivilege as error:
        raise LoginRefused(_advice(name, roles, error)) from None


def _keep(cursor: Any, name: str, password: str | None) -> None:
    """Create the login, or give it the password of its address."""
    cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (name,))
    verb = "ALTER" if cursor.fetchone() else "CREATE"
    # The password is hashed here, so the server's log never has it.
    hashed = encrypt_password(password, name, cursor.connection, "scram-sha-256") if password else None
    rights = sql.SQL(_NOTHING_MORE if verb == "CREATE" else "LOGIN")
    statement = sql.SQL(verb + " ROLE {} {}").format(sql.Identifier(name), rights)
    cursor.execute(statement + (sql.SQL(" PASSWORD {}").format(sql.Literal(hashed)) if hashed else sql.SQL("")))


def _advice(name: str, roles: Sequence[str], error: psycopg2.Error) -> str:
    return (
        f"The login {name} cannot be prepared ({str(error).splitlines()[0]}). An administrator has to run: "
        f'CREATE ROLE "{name}" LOGIN PASSWORD \'…\'; GRANT {", ".join(roles)} TO "{name}" WITH INHERIT FALSE, SET TRUE;'
    )
