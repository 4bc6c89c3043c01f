"""nginx with the configuration of deploy/nginx; only addresses, the port and the places of its files are replaced."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from dev.server import free_port

ROOT = Path(__file__).resolve().parents[2]
CONFIGURATION = ROOT / "deploy" / "nginx"
MOUNTED = "/etc/nginx/unbroken"


def binary() -> str | None:
    """The path of nginx, None when it is not installed. Debian keeps it outside an ordinary user's PATH."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


class Proxy:
    """One running nginx. `groups` has the addresses ("host:port") of the containers of `web` and of `streams`.

    ``changes``: texts of nginx.conf and what stands there instead, such as a shorter time.
    """

    def __init__(
        self, groups: dict[str, list[str]], command: list[str] | None = None, changes: dict[str, str] | None = None
    ) -> None:
        self.port = free_port()
        self.operators_port = free_port()
        self._directory = Path(tempfile.mkdtemp(prefix="unbroken-nginx-"))
        # The workers of an nginx started by root run as another user, who must be able to read the files.
        self._directory.chmod(0o755)
        self._output = self._directory / "output.log"
        write_configuration(self._directory, groups, "127.0.0.1", (self.port, self.operators_port))
        _change(self._directory / "nginx.conf", changes or {})
        found = binary()
        assert found, "nginx is not installed"
        arguments = [word.replace(MOUNTED, str(self._directory)) for word in command or ["sh", f"{MOUNTED}/start.sh"]]
        path = f"{Path(found).parent}:{os.environ['PATH']}"
        with self._output.open("ab") as output:
            self._process = subprocess.Popen(
                [*arguments, "-p", str(self._directory)],
                env={**os.environ, "PATH": path},
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
            )
        self._await_port()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        return self._process.pid

    def output(self) -> str:
        """The content of both of nginx's logs."""
        return self._output.read_text()

    def accesses(self, count: int, patience: float = 30.0) -> list[dict[str, Any]]:
        """The access log, once it has at least `count` lines or `patience` seconds have passed."""
        deadline = time.monotonic() + patience
        while True:
            lines = [json.loads(line) for line in self.output().splitlines() if line.startswith("{")]
            if len(lines) >= count or time.monotonic() > deadline:
                return lines
            time.sleep(0.02)

    def access(self, request_id: str, patience: float = 30.0) -> dict[str, Any]:
        """The line of a request in the access log. It is written after the response, and may follow later ones."""
        deadline = time.monotonic() + patience
        while True:
            found = [line for line in self.accesses(0) if line["request_id"] == request_id]
            if found or time.monotonic() > deadline:
                [line] = found
                return line
            time.sleep(0.02)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(60)
        shutil.rmtree(self._directory, ignore_errors=True)

    def _await_port(self) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self._process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        raise AssertionError(f"nginx did not start:\n{self.output()}")


def write_configuration(directory: Path, groups: dict[str, list[str]], host: str, ports: tuple[int, int]) -> None:
    """Copy the configuration with other addresses. ``ports``: the clients' port and the operators' port on ``host``."""
    shutil.copytree(CONFIGURATION, directory, dirs_exist_ok=True)
    file = directory / "nginx.conf"
    text = file.read_text()
    assert text.count("listen 8080 ") == 1
    text = text.replace("listen 8080 ", f"listen {host}:{ports[0]} ")
    assert text.count("listen 8081 ") == 1
    text = text.replace("listen 8081 ", f"listen {host}:{ports[1]} ")
    text = text.replace("        8081    open;", f"        {ports[1]}    open;")
    text = re.sub(r"(?m)^(\s*\w+_path|pid|    include) /tmp/", rf"\1 {directory}/", text)
    file.write_text(text)
    # Written by start.sh; without it nginx needs no name server, because it gets addresses.
    (directory / "resolver.conf").touch()
    start = directory / "start.sh"
    start.write_text(start.read_text().replace("/tmp/", f"{directory}/").replace(MOUNTED, str(directory)))
    for upstream in (directory / "upstreams").iterdir():
        # Addresses instead of names, because Debian's nginx cannot resolve a name again.
        text = upstream.read_text()
        upstream.write_text(re.sub(r"(?m)^server (\w+):8000 resolve(.*);$", lambda line: _servers(line, groups), text))


def _change(file: Path, changes: dict[str, str]) -> None:
    text = file.read_text()
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    file.write_text(text)


def _servers(line: re.Match[str], groups: dict[str, list[str]]) -> str:
    return "\n".join(f"server {address}{line[2]};" for address in groups[line[1]])
