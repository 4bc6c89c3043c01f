"""Stands in for `docker compose` in the blocks of a runbook: the services are the processes of a Stack.

`exec` and `run` start their command as a process with the variables of the service. `up` starts a service that does not
run, and replaces one whose command or variables have changed, as Compose does. The shell runs the rest of a block.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from dev.postgres import ADMINISTRATOR
from tests.deploy import compose
from tests.deploy.stack import FILES, Stack

ORDER = ("postgres", "valkey", "web", "worker")
# Services that a stack of these tests goes without: `streams` runs the program of `web`.
ABSENT = {"streams", "flower", "nginx"}
_CLIENT = f"""#!{sys.executable} -IS
import json, os, socket, sys
arguments = sys.argv[1:]
with socket.socket(socket.AF_UNIX) as side:
    side.connect(os.environ["STAND_IN"])
    side.sendall(json.dumps(arguments).encode() + b"\\n")
    reply = json.loads(side.makefile().readline())
if "run" in reply:
    os.execvpe(reply["run"][0], reply["run"], reply["environment"])
sys.stdout.write(reply["said"])
sys.exit(reply["code"])
"""
# The embedded Valkey comes without valkey-cli.
_VALKEY_CLI = f"""#!{sys.executable}
import os, sys, redis
client = redis.Redis(port=int(os.environ["VALKEY_PORT"]), password=os.environ["REDISCLI_AUTH"], decode_responses=True)
client.set_response_callback("INFO", str)
reply = client.execute_command(*sys.argv[1:])
print("PONG" if reply is True and sys.argv[1] == "ping" else reply)
"""


class Docker:
    """Runs blocks of commands. ``images`` counts the builds: a service of an older image is replaced by `up`."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.images = 0
        self._started_with: dict[str, tuple[object, ...]] = {}
        self._environments: dict[str, dict[str, str]] = {}
        self._volumes = 0
        self._folder = stack.directory / "stand-in"
        self._folder.mkdir()
        for name, text in (("docker", _CLIENT), ("valkey-cli", _VALKEY_CLI)):
            (self._folder / name).write_text(text)
            (self._folder / name).chmod(0o755)

    def run(self, block: str, **variables: str) -> str:
        """The output of a block. The test fails where a command of the block fails."""
        address = self._folder / "socket"
        environment = {**os.environ, **variables, "STAND_IN": str(address)}
        environment["PATH"] = f"{self._folder}:{environment['PATH']}"
        address.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as listener, (self._folder / "said").open("w+") as said:
            listener.bind(str(address))
            listener.listen()
            listener.settimeout(0.05)
            shell = subprocess.Popen(
                ["sh", "-euc", block], env=environment, cwd=self.stack.directory, stdout=said, stderr=subprocess.STDOUT
            )
            while shell.poll() is None:
                with suppress(TimeoutError):
                    self._answer(listener.accept()[0])
            said.seek(0)
            text = said.read()
        assert shell.returncode == 0, text
        return text

    def _answer(self, side: socket.socket) -> None:
        with side:
            noun, verb, *arguments = json.loads(side.makefile().readline())
            try:
                reply = getattr(self, f"_{verb}" if noun == "compose" else f"_{noun}_{verb}")(arguments)
            except Exception as error:
                reply = {"said": f"{error!r}\n", "code": 1}
            side.sendall(json.dumps(reply).encode() + b"\n")

    def _exec(self, arguments: Sequence[str]) -> dict[str, object]:
        service, *command = [word for word in arguments if word != "-T"]
        # A container keeps the variables that it was started with.
        return self._command(service, command, self._environments[service])

    def _run(self, arguments: Sequence[str]) -> dict[str, object]:
        service, *command = [word for word in arguments if word not in ("-T", "--rm")]
        given = self.stack.environment(service)
        return self._command(service, command or self.stack.services[service]["command"], given)

    def _command(self, service: str, command: Sequence[str], given: Mapping[str, str]) -> dict[str, object]:
        stack, environment = self.stack, dict(given)
        environment["PATH"] = f"{self._folder}:{environment['PATH']}"
        environment |= {"PYTHONPATH": str(compose.ROOT), "VALKEY_PORT": str(stack.ports["valkey"])}
        if service == "postgres":
            assert stack.database
            environment |= {"PGHOST": "127.0.0.1", "PGPASSWORD": stack.database.passwords[ADMINISTRATOR]}
        # The places of volumes in their containers.
        places = {"/var/lib/postgresql": str(stack.directory), FILES: str(stack.directory / "files")}
        words = [places.get(word, word) for word in command]
        return {"run": words, "environment": environment}

    def _up(self, arguments: Sequence[str]) -> dict[str, object]:
        options = {"-d", "--wait", "--no-deps"}
        named = [word for word in arguments if word not in options]
        for name in [name for name in ORDER if not named or name in named]:
            if self._is_current(name):
                continue
            self._stop([name])
            self._start(name)
        return {"said": "", "code": 0 if set(named) <= {*ORDER, *ABSENT} else 1}

    def _start(self, name: str) -> None:
        if name == "postgres":
            self._volumes += 1
            self.stack.start_postgres(f"postgres-{self._volumes}")
        elif name == "valkey":
            self.stack.start_valkey()
        elif name == "worker":
            # Its health check loads the whole program; Celery logs that it is ready.
            before = self._ready_lines()
            self.stack.start(name, lambda: self._ready_lines() > before)
        else:
            self.stack.start(name)
        self._started_with[name] = self._now(name)
        self._environments[name] = self.stack.environment(name)

    def _ready_lines(self) -> int:
        try:
            return self.stack.log("worker").count(" ready.")
        except FileNotFoundError:
            return 0

    def _now(self, name: str) -> tuple[object, ...]:
        service = self.stack.services[name]
        image = self.images if "healthcheck" in service and name in ("web", "worker") else 0
        return (shlex.join(service["command"]), compose.environment(service, self.stack.given), image)

    def _is_current(self, name: str) -> bool:
        if name == "postgres":
            return self.stack.database is not None
        return name in self._running() and self._started_with[name] == self._now(name)

    def _running(self) -> Mapping[str, object]:
        return {name: one for name, one in self.stack.processes.items() if one.poll() is None}

    def _stop(self, arguments: Sequence[str]) -> dict[str, object]:
        for name in set(arguments) & set(self._running()):
            self.stack.processes.pop(name).stop(30)
        if "postgres" in arguments and self.stack.database:
            self.stack.database.stop()
            self.stack.database = None
        return {"said": "", "code": 0}

    def _kill(self, arguments: Sequence[str]) -> dict[str, object]:
        for name in arguments:
            self.stack.processes.pop(name).kill()
        return {"said": "", "code": 0}

    def _rm(self, arguments: Sequence[str]) -> dict[str, object]:
        options, services = arguments[0], arguments[1:]
        return self._stop(services) if "s" in options else {"said": "it runs\n", "code": 1}

    def _volume_rm(self, arguments: Sequence[str]) -> dict[str, object]:
        for name in arguments:
            folder = self.stack.directory / name.removeprefix("unbroken_")
            if folder.name in self._running():
                return {"said": "volume is in use\n", "code": 1}
            shutil.rmtree(folder)
        return {"said": "", "code": 0}

    def _build(self, arguments: Sequence[str]) -> dict[str, object]:
        self.images += 1
        return {"said": "", "code": 0}

    def _ps(self, arguments: Sequence[str]) -> dict[str, object]:
        return {"said": "".join(f"{name} running\n" for name in self._running()), "code": 0}

    def _logs(self, arguments: Sequence[str]) -> dict[str, object]:
        return {"said": "\n".join(self.stack.log(arguments[-1]).splitlines()[-20:]) + "\n", "code": 0}


def blocks(page: Path) -> list[str]:
    """The blocks of a page that are to be run, in their order. Such a block may stand in a list."""
    found: list[str] = []
    lines = iter(page.read_text().splitlines())
    for line in lines:
        if line.strip() == "```sh run":
            body = []
            for inner in lines:
                if inner.strip() == "```":
                    break
                body.append(inner)
            found.append("\n".join(body))
    return found
