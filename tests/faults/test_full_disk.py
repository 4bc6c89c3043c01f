"""`make run` on a file system that fills up: refusals meanwhile, recovery after, and nothing acknowledged is lost."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from app.ops.verdicts import NO_DATABASE_WRITES
from dev.instance import Instance
from dev.process import ROOT, wait_until
from dev.token import mint

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="mounts a file system, which needs root"),
]

MEGABYTES = 420
NOTHING = "01890000-0000-7000-8000-000000000000"
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    options = f"size={MEGABYTES}m,mode=755"
    if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], check=False).returncode:
        pytest.skip("no file system can be mounted here")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


class Service:
    """A running `make run` whose data are on ``disk``."""

    def __init__(self, disk: Path, log: Path) -> None:
        self.data = disk / "data"
        self._log = log
        self.token = ""

    def __enter__(self) -> Service:
        environment = {**os.environ, "DATA_DIR": str(self.data), "PORT": "0"}
        environment |= {"RATELIMIT_NEW_CONVERSATIONS": "100000/minute", "WORKER_CONCURRENCY": "10"}
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "dev.run", "--with-parent"], cwd=ROOT, env=environment, stdout=output,
                stderr=output, start_new_session=True,
            )  # fmt: skip
        assert wait_until(lambda: "\nready " in self.said() or self._process.poll() is not None, 180), self.said()
        assert self._process.poll() is None, self.said()
        self.url = self.said().partition("\nready ")[2].split()[0]
        self.token = mint(Instance(self.data).identity(), "alice")
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        self._process.wait(60)

    def said(self) -> str:
        return self._log.read_text()

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, str, Any]:
        """Send a request. Returns status, media type and JSON of the response."""
        request = urllib.request.Request(self.url + path, method=method)
        request.add_header("Authorization", f"Bearer {self.token}")
        if body is not None:
            request.add_header("Content-Type", "application/json")
            request.data = json.dumps(body).encode()
        try:
            with OPENER.open(request, timeout=30) as response:
                return response.status, response.headers["Content-Type"], json.loads(response.read() or b"null")
        except urllib.error.HTTPError as error:
            return error.code, error.headers["Content-Type"], json.loads(error.read() or b"null")

    def start(self) -> tuple[int, str, Any]:
        body = {"message": "Tell me about tides", "model": "offline-fast"}
        return self.call("POST", "/api/v1/generations", body)

    def change_everything(self) -> list[int]:
        """Statuses of an empty change on every path. Each path has counters of its own, so the metrics grow."""
        codes = []
        for path, operations in self.call("GET", "/openapi.json")[2]["paths"].items():
            for method in {"post", "patch", "put", "delete"} & operations.keys():
                codes.append(self.call(method.upper(), re.sub(r"\{\w+\}", NOTHING, path), {})[0])
        return codes

    def status(self, generation: str) -> str:
        code, _, answer = self.call("GET", f"/api/v1/generations/{generation}")
        return str(answer["status"]) if code == 200 else f"answered {code}"


@contextmanager
def filled(disk: Path) -> Iterator[Path]:
    """Keep the disk full while the block runs; space that the servers free meanwhile is filled, too."""
    filler = disk / "filler"

    def fill() -> None:
        with suppress(OSError), filler.open("ab", buffering=0) as file:
            while True:
                file.write(bytes(1 << 16))

    fill()
    try:
        yield filler
    finally:
        filler.unlink()


@pytest.mark.slow
def test_a_full_disk_is_refused_as_a_problem_and_nothing_acknowledged_is_lost(disk: Path, tmp_path: Path) -> None:
    accepted: list[str] = []
    refused: list[tuple[int, str, Any]] = []
    with Service(disk, tmp_path / "make-run.log") as service:

        def one() -> None:
            code, media, answer = service.start()
            if code == 202:
                accepted.append(answer["generation"]["id"])
            else:
                refused.append((code, media, answer))

        one()
        assert wait_until(lambda: service.status(accepted[0]) == "completed", 60)
        with filled(disk):
            until = time.monotonic() + 120
            while len(refused) < 5:
                assert time.monotonic() < until, f"{len(accepted)} were accepted on a full disk"
                one()
            assert wait_until(lambda: NO_DATABASE_WRITES in service.call("GET", "/readyz")[2]["degraded"], 60)
            assert len(service.change_everything()) > 20
        for code, media, answer in refused:
            assert code in (503, 507), answer
            assert media == "application/problem+json"
            assert answer["status"] == code
        assert wait_until(lambda: service.call("GET", "/readyz")[0] == 200, 120), service.said()
        assert wait_until(lambda: service.start()[0] == 202, 60), service.said()
        for generation in accepted:
            assert wait_until(lambda generation=generation: service.status(generation) == "completed", 90)
