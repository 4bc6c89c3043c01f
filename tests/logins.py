"""The logins of the PostgreSQL servers that tests start, found by the address of any one of them."""

from __future__ import annotations

import os
import subprocess
import sys

from sqlalchemy.engine import URL, make_url

from dev.postgres import ADMINISTRATOR, OWNER, WEB, WORKER, Postgres
from dev.process import ROOT

_servers: list[Postgres] = []


def remember(server: Postgres) -> None:
    """Make a server's logins known to ``as_login``."""
    _servers.append(server)


def as_login(url: str, login: str) -> str:
    """The address with another login of the same server; a proxy or pooler in between stays where it is."""
    parts = make_url(url)
    return _render(parts.set(username=login, password=_passwords(parts)[login]))


def as_administrator(url: str) -> str:
    """The address for the superuser in the form of the driver, straight to the server."""
    parts = make_url(url)
    server = _server(parts)
    login = parts.set(username=ADMINISTRATOR, password=server.passwords[ADMINISTRATOR], port=server.port)
    return _render(login.set(drivername="postgresql"))


def migrate(url: str, *arguments: str) -> None:
    """Apply all migrations and prepare the logins, or run another command of alembic, in a process of its own."""
    environment = {
        **os.environ,
        "MIGRATION_DATABASE_URL": as_login(url, OWNER),
        "DATABASE_URL": as_login(url, WEB),
        "WORKER_DATABASE_URL": as_login(url, WORKER),
    }
    command = ["alembic", *arguments] if arguments else ["app.ops.migrate"]
    subprocess.run([sys.executable, "-m", *command], cwd=ROOT, env=environment, check=True)


def _passwords(parts: URL) -> dict[str, str]:
    return _server(parts).passwords


def _server(parts: URL) -> Postgres:
    for server in _servers:
        if server.passwords.get(parts.username or "") == parts.password:
            return server
    raise LookupError(f"no server of the tests has a login {parts.username} with this password")


def _render(url: URL) -> str:
    return url.render_as_string(hide_password=False)
