"""The services of docker-compose.yml as processes, with the commands, variables and health checks of that file.

Only the parts that containers would give are replaced: addresses, ports, and the places of files.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import redis

from dev.postgres import ADMINISTRATOR, Postgres
from dev.postgres import binaries as postgres_binaries
from dev.process import Process, Program, last_lines, wait_until
from dev.server import free_port
from dev.valkey import binary as valkey_binary
from tests.deploy import compose
from tests.deploy.proxy import Proxy

GIVEN = {
    "JWT_SECRET": "of-this-test-only-" + "j" * 32,
    "POSTGRES_PASSWORD": "administrator",
    "DATABASE_PASSWORD": "application",
    "WEB_DATABASE_PASSWORD": "of-the-web",
    "WORKER_DATABASE_PASSWORD": "of-the-worker",
    "VALKEY_PASSWORD": "valkey",
    "FLOWER_BASIC_AUTH": "operator:flower",
    # Beside other tests, on a small machine.
    "WORKER_CONCURRENCY": "20",
    "WEB_CONCURRENCY": "1",
    "STREAMS_CONCURRENCY": "1",
}
# The folder of the volume `files` in its containers.
FILES = "/var/lib/unbroken/files"
OPENED = {"web": 8000, "streams": 8000, "flower": 5555, "valkey": 6379, "postgres": 5432, "nginx": 8080}


class Stack:
    """The services of one deployment. A test starts them one by one, in the order of their `depends_on`."""

    def __init__(self, directory: Path, **given: str) -> None:
        self.directory = directory
        # A worker shows its metrics on all addresses, in a container of its own: here several runs share the machine.
        self.given = {**GIVEN, "WORKER_METRICS_PORT": str(free_port()), **given}
        self.services = compose.load(self.given)["services"]
        self.ports = {name: free_port() for name in OPENED}
        self.processes: dict[str, Process] = {}
        self.database: Postgres | None = None
        self.proxy: Proxy | None = None

    def change(self, **given: str) -> None:
        """Change lines of `.env`. Running services keep what they were started with."""
        self.given |= given
        self.services = compose.load(self.given)["services"]

    def stop(self) -> None:
        for process in reversed(self.processes.values()):
            process.stop(15)
        if self.proxy:
            self.proxy.stop()
        if self.database:
            self.database.stop()

    def start_postgres(self, volume: str = "postgres") -> None:
        """Make the cluster, configure it by the command's arguments, and run the mounted scripts, as the image does."""
        service = self.services["postgres"]
        program, *arguments = service["command"]
        assert program == "postgres"
        settings = dict(argument.removeprefix("--").split("=", 1) for argument in arguments)
        self.database = Postgres(self.directory / volume, settings=settings)
        self.database.start()
        self.ports["postgres"] = self.database.port
        [folder] = (self._mounted(volume) for volume in service["volumes"] if volume.startswith("./"))
        for script in sorted(folder.glob("*.sh")):
            environment = {
                **compose.environment(service, self.given),
                "PATH": f"{postgres_binaries()}:/usr/bin:/bin",
                "PGHOST": "127.0.0.1",
                "PGPORT": str(self.database.port),
                "PGPASSWORD": self.database.passwords[ADMINISTRATOR],
            }
            subprocess.run([str(script)], env=environment, check=True)

    def start(self, name: str, is_ready: Callable[[], bool] | None = None) -> None:
        """Start a service and wait for ``is_ready``, or for its health check, as `depends_on` does."""
        self.processes[name] = self._program(name).start()
        log, is_ready = self._log(name), is_ready or partial(self.is_healthy, name)
        healthy = wait_until(lambda: self.ended(name) or is_ready(), 180, step=0.2)
        assert healthy, f"{name} is not healthy:\n{last_lines(log, 40)}"
        assert not self.ended(name), f"{name} has ended:\n{last_lines(log, 40)}"

    def start_valkey(self) -> None:
        """Start Valkey and wait for its PONG: the health check needs valkey-cli, which the embedded server lacks."""
        self.processes["valkey"] = self._program("valkey").start()
        url = f"redis://:{self.given['VALKEY_PASSWORD']}@127.0.0.1:{self.ports['valkey']}"
        with redis.Redis.from_url(url, socket_timeout=1) as client:
            assert wait_until(lambda: _answers(client), 60), self.log("valkey")

    def run(self, name: str) -> None:
        """Run a service that ends by itself. Raises CannotRun when it fails or runs for more than 180 s."""
        self._program(name).run(timeout=180)

    def start_nginx(self) -> None:
        groups = {group: [f"127.0.0.1:{self.ports[group]}"] for group in ("web", "streams")}
        self.proxy = Proxy(groups, self.services["nginx"]["command"])
        self.ports["nginx"] = self.proxy.port
        assert wait_until(lambda: self.is_healthy("nginx"), 60), self.proxy.output()

    def ended(self, name: str) -> bool:
        return self.processes[name].poll() is not None

    def is_healthy(self, name: str) -> bool:
        """True when the health check of the service passes within its timeout."""
        environment = self.environment(name)
        command = [self._place(name, word) for word in compose.check(self.services[name])]
        seconds = int(self.services[name]["healthcheck"]["timeout"].removesuffix("s"))
        try:
            result = subprocess.run(
                command, env=environment, cwd=compose.ROOT, capture_output=True, check=False, timeout=seconds
            )
        except subprocess.TimeoutExpired:
            return False
        return result.returncode == 0

    def grace(self, name: str) -> int:
        """The service's `stop_grace_period`: the seconds between SIGTERM and SIGKILL."""
        return int(self.services[name]["stop_grace_period"].removesuffix("s"))

    def log(self, name: str) -> str:
        return self._log(name).read_text()

    def _program(self, name: str) -> Program:
        command = [self._place(name, word) for word in self.services[name]["command"]]
        if name == "valkey":
            data = self.directory / "valkey"
            data.mkdir(exist_ok=True)
            command[0] = str(valkey_binary())
            command += ["--port", str(self.ports["valkey"]), "--bind", "127.0.0.1", "--dir", str(data)]
        else:
            command[0] = str(Path(sys.executable).with_name(command[0]))
        return Program(name, tuple(command), self._log(name), self.environment(name))

    def environment(self, name: str) -> dict[str, str]:
        """The variables of the service's container with places of this machine, and PATH and HOME."""
        service = self.services[name]
        container = {key: self._place(name, value) for key, value in compose.environment(service, self.given).items()}
        if name == "flower":
            container |= {"FLOWER_ADDRESS": "127.0.0.1", "FLOWER_PORT": str(self.ports["flower"])}
        places = {"/run/prometheus": f"prometheus-{name}", "/var/lib/flower": "flower", FILES: "files"}
        for place, folder in places.items():
            for variable, value in container.items():
                if value.removeprefix("file:").startswith(place):
                    (self.directory / folder).mkdir(exist_ok=True)
                    container[variable] = value.replace(place, str(self.directory / folder))
        return {
            "PATH": f"{Path(sys.executable).parent}:{postgres_binaries()}:{os.environ['PATH']}",
            "HOME": str(self.directory),
            "PYTHONUNBUFFERED": "1",
            "PGPORT": str(self.ports["postgres"]),
            **container,
        }

    def _place(self, name: str, text: str) -> str:
        """Replace addresses of the containers' network, and a container's own ones, by addresses of this machine."""
        text = re.sub(r"@(postgres|valkey):\d+", lambda found: f"@127.0.0.1:{self.ports[found[1]]}", text)
        return re.sub(rf"(127\.0\.0\.1|0\.0\.0\.0):{OPENED.get(name)}\b", f"127.0.0.1:{self.ports.get(name)}", text)

    def _mounted(self, volume: str) -> Path:
        return compose.ROOT / volume.split(":")[0]

    def _log(self, name: str) -> Path:
        return self.directory / f"{name}.log"


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False
