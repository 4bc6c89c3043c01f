"""Brings the database up to date, then prepares the logins of the service: ``python -m app.ops.migrate``.

MIGRATION_DATABASE_URL   the owner of the tables; DATABASE_URL where it is not set
DATABASE_URL             the login of the web processes
WORKER_DATABASE_URL      the login of the workers; DATABASE_URL where it is not set
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from alembic import command
from alembic.config import Config

from app.store.logins import LoginRefused, prepare

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    """Migrate and prepare the logins. Returns 1 when a login could not be prepared."""
    command.upgrade(Config(str(ROOT / "alembic.ini")), "head")
    web = os.environ["DATABASE_URL"]
    owner = os.environ.get("MIGRATION_DATABASE_URL") or web
    try:
        prepare(owner, web, os.environ.get("WORKER_DATABASE_URL") or web)
    except LoginRefused as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
