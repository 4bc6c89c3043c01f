"""One instance: the files of `make run` under DATA_DIR.

secrets/jwt          signs the tokens of this instance
secrets/database_*   passwords of the logins that were made on a server of DATABASE_URL
postgres/ valkey/    the embedded servers' data
logs/                a file for each child
run/lock             held while the instance runs
run/instance.json    addresses and signing key of the running instance, for `make token` and `make signin`
run/metrics          link to the Prometheus files of the web processes, which are in memory
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from dev.process import ROOT, CannotRun
from dev.server import keep_secret

LOG_BYTES = 5_000_000
# Processes map their Prometheus files: a write to one on a full disk would end the process (SIGBUS).
MEMORY = Path("/dev/shm")
_METRICS_PREFIX = "unbroken-metrics-"
# In a directory of Prometheus files: a link to the instance's own link to that directory.
_BACK = "instance"


@dataclass(frozen=True)
class Identity:
    """Secret, audience and issuer of an instance's tokens; `secret` is None when they are signed elsewhere (JWKS)."""

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
        self.secrets = self.directory / "secrets"
        self._jwt_secret = self.secrets / "jwt"
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
        """Hold the instance until `release()` or the end of this process. Raises CannotRun when another one holds it.

        A predecessor that is ending gets `patience` seconds, and more when its lock file has the note of `stopping()`.
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
        """Write into the lock file that the instance is stopping, so that a successor waits."""
        self._say_in_lock(f"process {os.getpid()}, stopping")

    def release(self) -> None:
        if self._lock is not None:
            self._record.unlink(missing_ok=True)
            self._remove_metrics()
            self._lock.close()
            self._lock = None

    def _say_in_lock(self, text: str) -> None:
        if self._lock is not None:
            self._lock.seek(0)
            self._lock.truncate()
            self._lock.write(text + "\n")
            self._lock.flush()

    def empty_metrics(self) -> None:
        """Replace the Prometheus files of the last run by an empty directory."""
        self._remove_metrics()
        if os.access(MEMORY, os.W_OK):
            _remove_orphans()
            made = Path(tempfile.mkdtemp(prefix=_METRICS_PREFIX, dir=MEMORY))
            self.metrics.symlink_to(made)
            (made / _BACK).symlink_to(self.metrics)
        else:
            self.metrics.mkdir(mode=0o700)

    def _remove_metrics(self) -> None:
        if self.metrics.is_symlink():
            shutil.rmtree(self.metrics.resolve(), ignore_errors=True)
            self.metrics.unlink()
        shutil.rmtree(self.metrics, ignore_errors=True)

    def keep_jwt_secret(self) -> str:
        return keep_secret(self._jwt_secret)

    def record(self, url: str, identity: Identity, owner: str = "") -> None:
        """Leave a note for `identity()` and `running()`, readable only by its owner.

        `owner` is the database's address with the login of the owner of the tables.
        """
        self._record.unlink(missing_ok=True)
        self._record.touch(mode=0o600)
        self._record.write_text(json.dumps({"url": url, "identity": asdict(identity), "owner": owner}))

    def running(self) -> tuple[str, str]:
        """The address of the running instance, and its database's with the owner's login. Raises CannotRun."""
        try:
            noted = json.loads(self._record.read_text())
        except FileNotFoundError:
            raise CannotRun(f"no instance runs in {self.directory}; `make run` starts one") from None
        except PermissionError as error:
            raise CannotRun(f"the instance belongs to another user: {error}") from None
        return noted["url"], noted["owner"]

    def identity(self) -> Identity:
        """The identity of the running instance, or of a next one without JWT settings. Raises CannotRun."""
        try:
            return Identity(**json.loads(self._record.read_text())["identity"])
        except FileNotFoundError:
            _remove_orphans()
        except PermissionError as error:
            raise CannotRun(f"the instance belongs to another user: {error}") from None
        if not self._jwt_secret.exists():
            raise CannotRun(f"there is no instance in {self.directory}; `make run` makes one")
        return identity_from_environment(self._jwt_secret.read_text())


def identity_from_environment(own_secret: str) -> Identity:
    """The identity of the variables JWT_*, and of `own_secret` where they are not set."""
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


def _remove_orphans() -> None:
    """Remove the Prometheus files of instances that were killed and whose DATA_DIR has been deleted since."""
    for found in MEMORY.glob(f"{_METRICS_PREFIX}*"):
        back = found / _BACK
        if found.lstat().st_uid == os.geteuid() and back.is_symlink() and back.resolve() != found.resolve():
            shutil.rmtree(found, ignore_errors=True)
