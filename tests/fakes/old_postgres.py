"""A real PostgreSQL server of an earlier version, where the machine has one: Debian 12 installs version 15.

server = OldPostgres(directory)
server.start()
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from app.store.schema import OLDEST_POSTGRESQL
from dev.postgres import Postgres

_INSTALLED = Path("/usr/lib/postgresql")


def newest_too_old() -> Path | None:
    """The directory of the newest server that is refused; None where none is installed."""
    versions = [int(path.name) for path in _INSTALLED.glob("[0-9]*") if (path / "bin" / "initdb").exists()]
    old = [version for version in versions if version < OLDEST_POSTGRESQL]
    return _INSTALLED / str(max(old)) / "bin" if old else None


class OldPostgres(Postgres):
    """A server made with options that initdb had before version 17, which brought the built-in locale provider."""

    initdb_options: ClassVar[tuple[str, ...]] = ("--encoding=UTF8", "--locale=C", "--no-sync")

    def binaries(self) -> Path:
        found = newest_too_old()
        assert found is not None, "the test is skipped where there is none"
        return found
