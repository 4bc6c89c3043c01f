"""A real PgBouncer in transaction mode, in front of a PostgreSQL server of the tests.

    with PgBouncer(directory, postgres) as pooler:
        url = pooler.url(database_url)        # the same login and database, through the pooler

It drops the startup parameter ``options``, as operators set it up after its first refusal. Every transaction may get
another server connection. So state that is kept in a session is lost, or appears in a session of another client.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import psycopg2
from sqlalchemy.engine import make_url

from dev.postgres import LOGINS, Postgres
from dev.process import CannotRun, Process, Program, last_lines, wait_until
from dev.server import HOST, free_port

# Fewer server connections than a process of the service has of its own: they are really shared.
POOL = 3


def binary() -> str | None:
    """The path of PgBouncer, None when it is not installed. Debian keeps it outside an ordinary user's PATH."""
    return shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")


class PgBouncer:
    """A pooler, started by ``start`` or ``with``. It keeps ``port`` when it is started again.

    It accepts ``logins`` and no others, on ``host`` and ``port`` (0: a free one). ``settings`` override the settings
    made here.
    """

    def __init__(
        self,
        directory: Path,
        server: Postgres,
        pool: int = POOL,
        logins: Sequence[str] = LOGINS,
        *,
        host: str = HOST,
        port: int = 0,
        **settings: str,
    ) -> None:
        self.host = host
        self.port = port or free_port()
        self._server = server
        self._directory = directory
        self._logins = logins
        self._settings = {
            "listen_addr": host,
            "listen_port": str(self.port),
            "unix_socket_dir": "",
            "auth_type": "scram-sha-256",
            "auth_file": str(directory / "users.txt"),
            "pool_mode": "transaction",
            "ignore_startup_parameters": "options",
            "default_pool_size": str(pool),
            "max_client_conn": "1000",
            "server_round_robin": "1",
            "query_wait_timeout": "60",
            **settings,
        }
        self._process: Process | None = None

    def __enter__(self) -> PgBouncer:
        self.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        """Start the pooler. Raises CannotRun where PgBouncer is not installed, or does not start."""
        program = binary()
        if program is None:
            raise CannotRun("pgbouncer is not installed (apt-get install pgbouncer)")
        self._directory.mkdir(parents=True, exist_ok=True)
        self._write_configuration()
        log = self._directory / "pgbouncer.log"
        argv = (program, str(self._directory / "pgbouncer.ini"))
        # It refuses to run as root, as PostgreSQL does.
        self._process = Program("pgbouncer", argv, log, way=self._server.way).start()
        if not wait_until(self._answers, 20):
            self.stop()
            raise CannotRun(f"pgbouncer did not start:\n{last_lines(log)}")

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process = None

    @property
    def process(self) -> Process:
        """The pooler's process, for tests that stop or freeze it."""
        assert self._process is not None, "it was started"
        return self._process

    def url(self, database_url: str) -> str:
        """The address through this pooler."""
        return make_url(database_url).set(host=self.host, port=self.port).render_as_string(hide_password=False)

    def _write_configuration(self) -> None:
        users = "".join(f'"{login}" "{self._server.passwords[login]}"\n' for login in self._logins)
        settings = "".join(f"{name} = {value}\n" for name, value in self._settings.items())
        databases = f"[databases]\n* = host={self._server.host} port={self._server.port}\n"
        for name, text in (("users.txt", users), ("pgbouncer.ini", f"{databases}[pgbouncer]\n{settings}")):
            path = self._directory / name
            path.write_text(text)
            path.chmod(0o644)

    def _answers(self) -> bool:
        url = make_url(self.url(self._server.url("postgres", self._logins[0]))).set(drivername="postgresql")
        try:
            psycopg2.connect(url.render_as_string(hide_password=False), connect_timeout=2).close()
        except psycopg2.OperationalError:
            return False
        return True
