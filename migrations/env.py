"""Alembic's door: the address comes from the environment, the connection is the owner's."""

from __future__ import annotations

import os

from alembic import context
from sqlalchemy import create_engine, pool


def run() -> None:
    """Apply the migrations, in one transaction each."""
    url = context.config.get_main_option("sqlalchemy.url") or os.environ["DATABASE_URL"]
    url = url.replace("postgresql://", "postgresql+psycopg2://", 1)
    engine = create_engine(url, poolclass=pool.NullPool)
    with engine.connect() as connection:
        # Two deployments may start at once; the second waits and finds nothing to do.
        connection.exec_driver_sql("SELECT pg_advisory_lock(7225661)")
        connection.commit()
        context.configure(connection=connection, transaction_per_migration=True)
        with context.begin_transaction():
            context.run_migrations()
    engine.dispose()


if context.is_offline_mode():
    raise SystemExit("Migrations need a database: offline mode is not supported.")
run()
