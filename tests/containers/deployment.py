"""The services of docker-compose.yml in containers, started stage by stage.

``podman-compose up`` waits for ever on a health check where no systemd runs it: each stage runs its health checks here.
"""

from __future__ import annotations

import json
import resource
import secrets
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import jwt
import yaml

from dev.process import CannotRun
from dev.server import free_port
from tests.containers.engine import FILES, PROCESSES, call, limit, podman, succeeds
from tests.containers.image import NAME, ROOT
from tests.deploy import compose

PROJECT = "unbroken-checked"
LABEL = f"--filter=label=io.podman.compose.project={PROJECT}"


# Small, so that a takeover comes within seconds.
SETTINGS = {
    "WORKER_CONCURRENCY": "10",
    "WEB_CONCURRENCY": "1",
    "STREAMS_CONCURRENCY": "1",
    "LEASE_SECONDS": "8",
    "HEARTBEAT_SECONDS": "1",
    "SWEEP_SECONDS": "1",
    "RATELIMIT_READS": "100000 per minute",
    "RATELIMIT_GENERATIONS": "1000 per minute",
    "RATELIMIT_NEW_CONVERSATIONS": "1000 per minute",
}
PASSWORDS = (
    "JWT_SECRET",
    "POSTGRES_PASSWORD",
    "DATABASE_PASSWORD",
    "WEB_DATABASE_PASSWORD",
    "WORKER_DATABASE_PASSWORD",
    "VALKEY_PASSWORD",
)
STORES = ("postgres", "valkey")
STAGES = (("web", "streams", "worker", "flower"), ("nginx",))


class Deployment:
    """One deployment of the file, with secrets and ports of its own."""

    def __init__(self, directory: Path) -> None:
        self.given = {name: secrets.token_hex(20) for name in PASSWORDS} | SETTINGS
        self.given |= {"FLOWER_BASIC_AUTH": f"operator:{secrets.token_hex(20)}", "UNBROKEN_IMAGE": NAME}
        self.given["LISTEN"] = "127.0.0.1"
        for name in ("PORT", "OPERATORS_PORT", "FLOWER_PUBLISHED_PORT"):
            self.given[name] = str(free_port())
        self.url = f"http://127.0.0.1:{self.given['PORT']}"
        self.operators_url = f"http://127.0.0.1:{self.given['OPERATORS_PORT']}"
        self.services: dict[str, Any] = compose.load(self.given)["services"]
        self._variables = directory / "variables"
        self._variables.write_text("".join(f"{name}={value}\n" for name, value in self.given.items()))
        self._variables.chmod(0o600)
        self._limits = directory / "limits.yml"
        self._limits.write_text(_changed(self.services))
        self._scaled: dict[str, int] = {}

    def start(self) -> None:
        """Start every service in the order of `depends_on`."""
        self._stage(*STORES)
        self.migrate()
        self.start_application()

    def start_application(self) -> None:
        """Start what stands on migrated stores."""
        for stage in STAGES:
            self._stage(*stage)

    def _stage(self, *stage: str) -> None:
        for service in stage:
            self._scaled.pop(service, None)
            self.up(service)
        for service in stage:
            self.await_health(service)

    def up(self, service: str, count: int = 1) -> None:
        """Start the containers of a service, without waiting for their health."""
        self._scaled[service] = count
        scale = [f"--scale={name}={number}" for name, number in self._scaled.items() if number > 1]
        self.compose("up", "-d", "--no-deps", "--no-recreate", *scale, service, seconds=120)

    def migrate(self) -> None:
        """Run the migrations to their end. Raises CannotRun when they fail."""
        self.compose("run", "--rm", "--no-deps", "migrate", seconds=240)

    def compose(self, *arguments: str, seconds: float = 60) -> str:
        """A command of podman-compose on the file."""
        program = str(Path(sys.executable).with_name("podman-compose"))
        files = ["-f", str(ROOT / "docker-compose.yml"), "-f", str(self._limits)]
        options = ["--env-file", str(self._variables), "--project-name", PROJECT, "--in-pod", "false"]
        return call([program, *options, *files, *arguments], seconds, directory=ROOT)

    def containers(self, service: str) -> list[str]:
        """The names of the running containers of a service, the oldest first."""
        return sorted(
            podman(
                "ps", "--format", "{{.Names}}", LABEL, f"--filter=label=com.docker.compose.service={service}"
            ).split()
        )

    def await_health(self, service: str, seconds: float = 240) -> None:
        """Run the health check of each container until it passes. Raises CannotRun with the end of its log."""
        deadline = time.monotonic() + seconds
        while True:
            names = self.containers(service)
            sick = [name for name in names if not succeeds("healthcheck", "run", name, seconds=60)]
            if names and not sick:
                return
            if time.monotonic() > deadline:
                raise CannotRun(f"{service} is not healthy\n{self.log(service)}")
            time.sleep(0.5)

    def log(self, service: str) -> str:
        """The end of the log of each container of a service, also of one that has ended."""
        names = podman("ps", "-a", "--format", "{{.Names}}", f"--filter=label=com.docker.compose.service={service}")
        return "\n".join(call(["sh", "-c", f"podman logs --tail 15 {name} 2>&1"], 30) for name in names.split())

    def inspect(self, container: str) -> dict[str, Any]:
        """Podman's description of a container."""
        found: dict[str, Any] = json.loads(podman("inspect", container))[0]
        return found

    def run_in(self, service: str, *command: str, seconds: float = 60, given: bytes | None = None) -> str:
        """The output of a command in the first container of a service."""
        options = ["-i"] if given is not None else []
        return podman("exec", *options, self.containers(service)[0], *command, seconds=seconds, given=given)

    def token(self, user: str, **claims: str) -> str:
        """A token of a user that is valid for an hour."""
        now = int(time.time())
        claims = {"sub": user, "aud": "unbroken", "iss": "unbroken", **claims}
        return jwt.encode({**claims, "iat": now, "exp": now + 3600}, self.given["JWT_SECRET"], "HS256")


def _changed(services: dict[str, Any]) -> str:
    """A second Compose file with the two things that this engine cannot do.

    A container may not have more open files than root may give here, and Podman 4.3 knows no `start_interval`.
    """
    changed: dict[str, Any] = {}
    for name, service in services.items():
        part = changed.setdefault(name, {})
        if "ulimits" in service:
            # Podman forgets its own defaults where a service has limits.
            files, processes = limit(resource.RLIMIT_NOFILE, FILES), limit(resource.RLIMIT_NPROC, PROCESSES)
            part["ulimits"] = {"nofile": files, "nproc": processes}
        if "start_interval" in service["healthcheck"]:
            part["healthcheck"] = {"start_interval": None}
    text = yaml.safe_dump({"services": {name: part for name, part in changed.items() if part}})
    return text.replace("start_interval: null", "start_interval: !reset null")


def remove() -> None:
    """Remove the containers, networks and volumes of the project, also those of an earlier run that was killed."""
    for name in podman("ps", "-aq", LABEL).split():
        with suppress(CannotRun):
            podman("rm", "-f", "-t", "2", name)
    for kind in ("network", "volume"):
        for name in podman(kind, "ls", "-q").split():
            if name.startswith(PROJECT):
                with suppress(CannotRun):
                    podman(kind, "rm", "-f", name)


def left() -> list[str]:
    """Containers, networks and volumes of the project that are still there."""
    found = podman("ps", "-aq", LABEL).split()
    names = podman("network", "ls", "-q").split() + podman("volume", "ls", "-q").split()
    return found + [name for name in names if name.startswith(PROJECT)]
