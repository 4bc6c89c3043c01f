"""The environment of Alembic: the address comes from the variables, and the connection has the owner's login."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from alembic import context
from sqlalchemy import Connection, Engine, create_engine, pool
from sqlalchemy.exc import OperationalError

from app import log_lines
from app.store.schema import too_old

TURN_SECONDS = 0.5

# The owner sees no row of a table whose row-level security is forced. Migrations have to, so they inherit the rights
# of unbroken_system, and of the owner of its functions, for as long as they run. A login that may not grant these roles
# was given them by an administrator.
INHERIT = """
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'unbroken_system')
        AND pg_has_role(current_user, 'unbroken_system', 'USAGE WITH ADMIN OPTION') THEN
        GRANT unbroken_app, unbroken_system TO CURRENT_USER WITH INHERIT {whether}, SET TRUE;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'unbroken_definer')
        AND pg_has_role(current_user, 'unbroken_definer', 'USAGE WITH ADMIN OPTION') THEN
        GRANT unbroken_definer TO CURRENT_USER WITH INHERIT {whether}, SET TRUE;
    END IF;
END $$;
"""


def run() -> None:
    """Apply the migrations, in one transaction each."""
    url = context.config.get_main_option("sqlalchemy.url") or _address()
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg2://", 1), poolclass=pool.NullPool)
    _refuse_unusable(engine)
    with engine.connect() as waiting, engine.connect() as connection:
        _await_turn(waiting)
        if _is_newer(connection):
            return
        with _rows_of_everybody(connection):
            context.configure(connection=connection, transaction_per_migration=True)
            with context.begin_transaction():
                context.run_migrations()
    engine.dispose()


def _address() -> str:
    return os.environ.get("MIGRATION_DATABASE_URL") or os.environ["DATABASE_URL"]


def _refuse_unusable(engine: Engine) -> None:
    """Connect as the owner. Ends with one sentence where the server refuses the login or is too old for the SQL."""
    place = f"{engine.url.host or 'localhost'}:{engine.url.port or 5432}"
    variable = "MIGRATION_DATABASE_URL" if os.environ.get("MIGRATION_DATABASE_URL") else "DATABASE_URL"
    try:
        with engine.connect() as connection:
            version = int(connection.exec_driver_sql("SHOW server_version_num").scalar_one())
    except OperationalError as error:
        reason = str(error.orig).strip().splitlines()[0]
        raise SystemExit(f"{variable}: the database at {place} cannot be used: {reason}") from None
    if refusal := too_old(version, variable, place):
        raise SystemExit(refusal)


def _await_turn(waiting: Connection) -> None:
    """Take the lock of migrations. Two deployments may start at once; the second one finds nothing to do.

    A transaction of its own holds the lock: a session's lock would stay behind in a pooler. The lock is tried and not
    waited for: a waiting statement holds a snapshot, and a concurrent build of an index in the first deployment would
    wait for that snapshot for ever.
    """
    while True:
        waiting.exec_driver_sql("SELECT set_config('idle_in_transaction_session_timeout', '0', true)")
        if waiting.exec_driver_sql("SELECT pg_try_advisory_xact_lock(7225661)").scalar():
            return
        waiting.rollback()
        time.sleep(TURN_SECONDS)


@contextmanager
def _rows_of_everybody(connection: Connection) -> Iterator[None]:
    try:
        _inherit(connection, "TRUE")
        yield
    finally:
        connection.rollback()
        _inherit(connection, "FALSE")


def _inherit(connection: Connection, whether: str) -> None:
    connection.exec_driver_sql(INHERIT.format(whether=whether))
    connection.commit()


def _is_newer(connection: Connection) -> bool:
    """True when a newer release has migrated the database and this one may run on it. Ends where it may not run."""
    with connection.begin():
        revisions = _values(connection, "alembic_version", "version_num")
        minimum = _values(connection, "schema_info", "minimum_code_revision")
    known = {script.revision for script in context.script.walk_revisions()}
    if known.issuperset(revisions):
        return False
    if minimum and known.issuperset(minimum):
        print(f"The database is at revision {revisions[0]} of a newer release; this release may run on it.")
        return True
    raise SystemExit(
        f"The database is at revision {revisions[0]}, and code that runs on it must know revision"
        f" {minimum[0] if minimum else revisions[0]}; this release knows {context.script.get_current_head()} at most."
        " Start the newer release, or downgrade the database with it (docs/operate/roll-back.md)."
    )


def _values(connection: Connection, table: str, column: str) -> list[str]:
    if connection.exec_driver_sql(f"SELECT to_regclass('{table}')").scalar() is None:
        return []
    return list(connection.exec_driver_sql(f"SELECT {column} FROM {table}").scalars())


log_lines.install(log_lines.level())
if context.is_offline_mode():
    raise SystemExit("Migrations need a database: offline mode is not supported.")
run()
