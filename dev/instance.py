"""One instance: everything `make run` keeps under DATA_DIR.

secrets/jwt          signs the tokens of this instance
postgres/ valkey/    the embedded servers' data
logs/                a file for each child
run/lock             held while the instance runs
run/instance.json    address and signing key of the running instance, for `make token`
run/metrics/         Prometheus files of the web processes
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from dev.process import ROOT, CannotRun
from dev.server import keep_secret

LOG_BYTES = 5_000_000


@dataclass(frozen=True)
class Identity:
    """What the tokens of an instance are signed with and for; `secret` is None when others sign them (JWKS)."""

    secret: str | None
    audience: str = "unbroken"
    issuer: str = "unbroken"


class Instance:
    def __init__(self, directory: Path) -> None:
        self.directory = directory.resolve()
        self.logs = self.directory / "logs"
        self.metrics = self.directory / "run" / "metrics"
        self._lock_path = self.directory / "run" / "lock"
        self._record = self.directory / "run" / "instance.json"
        self._jwt_secret = self.directory / "secrets" / "jwt"
        self._lock: IO[str] | None = None

    @classmethod
    def from_environment(cls) -> Instance:
        return cls(ROOT / (os.environ.get("DATA_DIR") or ".data"))

    def prepare(self) -> None:
        """Make the directories, and put away logs that have grown. Raises CannotRun."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            for path in (self.logs, self._lock_path.parent, self._jwt_secret.parent):
                path.mkdir(exist_ok=True, mode=0o700)
        except OSError as error:
            raise CannotRun(f"DATA_DIR cannot be used: {error}") from None

    def rotate_logs(self) -> None:
        for log in self.logs.glob("*.log"):
            if log.stat().st_size > LOG_BYTES:
                log.replace(log.with_suffix(".log.1"))

    def lock(self, patience: float = 2.0) -> None:
        """Hold the instance until `release()` or our end, however that comes. Raises CannotRun when another has it.

        A predecessor that is on its way out gets `patience` seconds, and more when it says so in the file.
        """
        lock = self._lock_path.open("a+")
        deadline = time.monotonic() + patience
        while not _try_lock(lock):
            if "stopping" in self._lock_path.read_text():
                deadline = max(deadline, time.monotonic() + 1)
            if time.monotonic() > deadline:
                holder = self._lock_path.read_text().strip()
                raise CannotRun(f"another `make run` uses {self.directory} ({holder}); set DATA_DIR for a second one")
            time.sleep(0.1)
        self._lock = lock
        self._say_in_lock(f"process {os.getpid()}")

    def stopping(self) -> None:
        """Tell a successor that waiting is worth while."""
        self._say_in_lock(f"process {os.getpid()}, stopping")

    def release(self) -> None:
        if self._lock is not None:
            self._record.unlink(missing_ok=True)
            self._lock.close()
            self._lock = None

    def _say_in_lock(self, text: str) -> None:
        if self._lock is not None:
            self._lock.seek(0)
            self._lock.truncate()
            self._lock.write(text + "\n")
            self._lock.flush()

    def keep_jwt_secret(self) -> str:
        return keep_secret(self._jwt_secret)

    def record(self, url: str, identity: Identity) -> None:
        """Leave a note for `identity()`, readable only by its owner."""
        self._record.unlink(missing_ok=True)
        self._record.touch(mode=0o600)
        self._record.write_text(json.dumps({"url": url, "identity": asdict(identity)}))

    def identity(self) -> Identity:
        """Of the running instance, or of the one that a `make run` without JWT settings will be. Raises CannotRun."""
        try:
            return Identity(**json.loads(self._record.read_text())["identity"])
        except FileNotFoundError:
            pass
        except PermissionError as error:
            raise CannotRun(f"the instance belongs to somebody else: {error}") from None
        if not self._jwt_secret.exists():
            raise CannotRun(f"there is no instance in {self.directory}; `make run` makes one")
        return identity_from_environment(self._jwt_secret.read_text())


def identity_from_environment(own_secret: str) -> Identity:
    """What JWT_* say, and `own_secret` where they say nothing."""
    return Identity(
        secret=os.environ.get("JWT_SECRET") or (None if os.environ.get("JWT_JWKS_URL") else own_secret),
        audience=os.environ.get("JWT_AUDIENCE") or "unbroken",
        issuer=os.environ.get("JWT_ISSUER") or "unbroken",
    )


def _try_lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
