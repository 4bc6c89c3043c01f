"""The addresses of the database for `make run`: one for the owner, one for the web processes, one for the worker.

The embedded server has all three. For another server an operator often gives one, DATABASE_URL, which owns everything:
then the owner creates two logins for this instance, whose passwords are in DATA_DIR/secrets. A pooler may know only the
given login: then all three addresses have that login, and the services get DATABASE_LOGINS=one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg2
from sqlalchemy.engine import make_url

from app.store.logins import LoginRefused, connect, prepare
from dev.postgres import OWNER, WEB, WORKER, Postgres
from dev.server import keep_secret

# Variables that the services do not get.
OF_THE_OWNER = ("MIGRATION_DATABASE_URL", "WORKER_DATABASE_URL")


@dataclass(frozen=True)
class Addresses:
    """The three addresses. ``given`` is the fallback for a ``web`` or ``worker`` login made for this instance."""

    owner: str
    web: str
    worker: str
    given: str | None = None
    logins: str = "separate"

    @classmethod
    def embedded(cls, server: Postgres) -> Addresses:
        return cls(server.url(login=OWNER), server.url(login=WEB), server.url(login=WORKER))

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], secrets: Path) -> Addresses:
        given = name_driver(environment["DATABASE_URL"])
        owner = name_driver(environment.get("MIGRATION_DATABASE_URL") or given)
        worker = environment.get("WORKER_DATABASE_URL")
        return cls(
            owner,
            _made(given, "web", secrets) if owner == given else given,
            name_driver(worker) if worker else _made(given, "worker", secrets),
            given,
        )

    def prepared(self) -> tuple[Addresses, str | None]:
        """The addresses that work once the database is migrated, and a remark for the terminal or None."""
        try:
            prepare(self.owner, self.web, self.worker)
            reason = _unreachable(self.web) or _unreachable(self.worker)
        except (LoginRefused, psycopg2.Error) as error:
            reason = str(error).strip()
        if reason is None:
            return self, None
        if self.given is None:
            return self, reason
        prepare(self.owner, self.given, self.given)
        return replace(self, web=self.given, worker=self.given, logins="one"), (
            f"web processes and worker share the login of DATABASE_URL, because none of their own can be used: {reason}"
        )

    def of_web(self) -> dict[str, str]:
        """Variables of the web processes."""
        return {"DATABASE_URL": self.web, "DATABASE_LOGINS": self.logins}

    def of_worker(self) -> dict[str, str]:
        """Variables of the worker."""
        return {"DATABASE_URL": self.worker, "DATABASE_LOGINS": self.logins}


def name_driver(url: str) -> str:
    """Add the driver to an address without one: SQLAlchemy needs its name."""
    return re.sub(r"^postgres(ql)?://", "postgresql+psycopg2://", url)


def _made(given: str, kind: str, secrets: Path) -> str:
    """The address with a login of this instance: others may share the server."""
    password = keep_secret(secrets / f"database_{kind}")
    name = f"unbroken_{kind}_{hashlib.sha256(password.encode()).hexdigest()[:8]}"
    return make_url(given).set(username=name, password=password).render_as_string(hide_password=False)


def _unreachable(url: str) -> str | None:
    """The reason why the login of an address cannot be used; None when it can."""
    try:
        with closing(connect(url)) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT session_user")
            found = cursor.fetchone()[0]
    except psycopg2.Error as error:
        return str(error).strip()
    wanted = make_url(url).username
    return None if found == wanted else f"the address gives a session of {found} to the login {wanted}"
