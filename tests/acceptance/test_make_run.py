"""`make run` from outside: a clean copy in a closed home, an empty environment, and kill -9 for every part.

The copy borrows this checkout's .venv. A new machine installs into a fresh one at the beginning of .ci/run.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

from dev.process import ROOT, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")]

# Bounds of waiting on a busy machine, in seconds. They are no promises.
READY_SECONDS = 180
RECOVERED_SECONDS = 120
STOPPED_SECONDS = 60
AS_NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class House:
    """A copy of the repository and the `make run` in it."""

    def __init__(self, home: Path, user: tuple[str, ...] = ()) -> None:
        self.home = home
        self.copy = home / "a copy"
        self.user = user
        self.environment = {"HOME": str(home), "PATH": os.environ["PATH"]}
        # The one user of these tests starts more conversations than the default limit allows.
        self.environment["RATELIMIT_NEW_CONVERSATIONS"] = "1000/minute"
        self.lines: list[str] = []
        self.url = self.token = ""

    def start(self) -> None:
        """Start `make run` and return when it has printed its address and its token."""
        self.lines.clear()
        fresh: queue.Queue[str] = queue.Queue()
        self.process = subprocess.Popen(
            [*self.user, "make", "run", "PORT=0"], cwd=self.copy, env=self.environment, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip
        threading.Thread(target=self._read, args=(self.process.stdout, fresh), daemon=True).start()
        deadline = time.monotonic() + READY_SECONDS
        while not self.token:
            try:
                line = fresh.get(timeout=1)
            except queue.Empty:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    pytest.fail("it did not become ready:\n" + "\n".join(self.lines))
                continue
            if line.startswith("ready "):
                self.url = line.split()[1]
            if line.startswith("token "):
                self.token = line.split()[1]

    def _read(self, stream: Any, fresh: queue.Queue[str]) -> None:
        for line in stream:
            self.lines.append(line.rstrip("\n"))
            fresh.put(self.lines[-1])

    def restart(self) -> None:
        self.token = ""
        self.start()

    def processes(self) -> dict[int, str]:
        """Command line by pid of each process whose working directory is inside the home, make included."""
        found = {}
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if os.readlink(entry / "cwd").startswith(str(self.home)):
                    found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        return found

    def pid(self, *words: str) -> int:
        """The pid of the oldest process whose command line has all `words`."""
        return min(pid for pid, line in self.processes().items() if all(word in line for word in words))

    def call(self, method: str, path: str, body: Any = None, token: str = "") -> Any:
        request = urllib.request.Request(self.url + path, method=method)
        request.add_header("Authorization", f"Bearer {token or self.token}")
        if body is not None:
            request.add_header("Content-Type", "application/json")
            request.data = json.dumps(body).encode()
        with OPENER.open(request, timeout=30) as response:
            return json.loads(response.read() or b"null")

    def answer(self) -> str:
        """Start a generation, wait until it is completed, and return the conversation's id."""
        body = {"message": "Tell me about tides", "model": "offline-fast"}
        started = self.call("POST", "/api/v1/generations", body)
        path = f"/api/v1/generations/{started['generation']['id']}"
        assert wait_until(lambda: self.call("GET", path)["status"] not in ("queued", "running"), 60, step=0.1)
        assert self.call("GET", path)["status"] == "completed"
        return str(started["conversation"]["id"])

    def answers_again(self, seconds: float = RECOVERED_SECONDS) -> bool:
        def try_once() -> bool:
            try:
                self.answer()
            except (OSError, HTTPException, AssertionError):
                return False
            return True

        return wait_until(try_once, seconds, step=1)

    def is_gone(self) -> bool:
        return wait_until(lambda: not self.processes(), STOPPED_SECONDS, step=0.1)


def copy_of_the_repository(target: Path) -> None:
    git = ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.check_output(git, cwd=ROOT, text=True)
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    (target / ".venv").symlink_to(ROOT / ".venv")


def can_nobody_run_this_python() -> bool:
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        return False
    command = [*AS_NOBODY, str(ROOT / ".venv/bin/python"), "-c", "import dev.run, dev.valkey"]
    return subprocess.run(command, cwd=ROOT, check=False, capture_output=True).returncode == 0


@pytest.mark.skipif(not can_nobody_run_this_python(), reason="needs root, setpriv and a .venv that nobody may use")
def test_an_ordinary_user_runs_everything_in_a_closed_home() -> None:
    home = Path(tempfile.mkdtemp())
    house = House(home, AS_NOBODY)
    try:
        copy_of_the_repository(house.copy)
        subprocess.run(["chown", "-R", "65534:65534", home], check=True)
        house.start()
        assert Path(f"/proc/{house.pid('bin/postgres')}").stat().st_uid == 65534
        house.answer()
        house.process.terminate()
        assert house.is_gone(), house.processes()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(house.process.pid, signal.SIGKILL)
        shutil.rmtree(home)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    home = tmp_path_factory.mktemp("home")
    home.chmod(0o700)
    house = House(home)
    copy_of_the_repository(house.copy)
    house.start()
    yield house
    with suppress(ProcessLookupError):
        os.killpg(house.process.pid, signal.SIGKILL)
    house.is_gone()


def test_it_says_ready_once_and_then_a_token_that_works(house: House):
    ready = [index for index, line in enumerate(house.lines) if line.startswith("ready ")]
    assert len(ready) == 1
    assert house.lines[ready[0]] == f"ready {house.url}"
    assert house.lines[ready[0] + 1] == f"token {house.token}"
    house.answer()


def test_it_says_a_link_that_signs_a_browser_in_once(house: House):
    """A person is signed in within ten seconds of `ready`, and no log has the link's code."""
    begun = time.monotonic()
    assert wait_until(lambda: any(line.startswith("sign in ") for line in house.lines), 10, step=0.01)
    (link,) = (line.removeprefix("sign in ") for line in house.lines if line.startswith("sign in "))
    assert link.startswith(f"{house.url}/signin/once/")
    signs_in(house, link, "you", "admin")
    assert time.monotonic() - begun < 10
    for log in (house.copy / ".data" / "logs").iterdir():
        assert link.rpartition("/")[2] not in log.read_text(), log


@pytest.mark.parametrize(
    ("arguments", "subject", "role"),
    [((), "you", "admin"), (("USER=ann",), "ann", None), (("USER=ann", "ROLE=admin"), "ann", "admin")],
)
def test_make_signin_prints_a_link_and_nothing_else(
    house: House, arguments: tuple[str, ...], subject: str, role: str | None
):
    environment = {**house.environment, "USER": "the name in the shell"}
    command = ["make", "signin", *arguments]
    result = subprocess.run(command, cwd=house.copy, env=environment, capture_output=True, text=True, check=True)
    assert (result.stdout.count("\n"), result.stderr) == (1, "")
    signs_in(house, result.stdout.strip(), subject, role)


def signs_in(house: House, link: str, subject: str, role: str | None) -> None:
    jar = ["-b", house.home / "jar", "-c", house.home / "jar"]
    assert curl(*jar, "-w", "%{http_code}", "-X", "POST", link) == "303"
    me = json.loads(curl(*jar, f"{house.url}/api/v1/me"))
    assert (me["subject"], me["role"], me["sign_in"]["kind"]) == (subject, role, "session")
    assert "was used before" in curl("-X", "POST", link)


def curl(*arguments: str | Path) -> str:
    return subprocess.run(["curl", "-sS", *arguments], capture_output=True, text=True, check=True).stdout


def test_the_proof_of_readiness_leaves_nothing(house: House):
    token = make_token(house, "USER=readiness-probe")
    assert house.call("GET", "/api/v1/conversations", token=token)["items"] == []


def test_make_token_prints_a_token_and_nothing_else(house: House):
    assert house.call("GET", "/api/v1/conversations", token=make_token(house, "USER=alice", "TTL=60"))["items"] == []


def make_token(house: House, *arguments: str) -> str:
    command = ["make", "token", *arguments]
    result = subprocess.run(command, cwd=house.copy, env=house.environment, capture_output=True, text=True, check=True)
    assert result.stdout.count("\n") == 1
    assert result.stderr == ""
    return result.stdout.strip()


def test_a_second_run_on_the_same_data_is_refused_in_words(house: House):
    result = subprocess.run(
        ["make", "run", "PORT=0"], cwd=house.copy, env=house.environment, capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    assert result.returncode != 0
    assert "another `make run` uses" in result.stderr


def test_a_port_that_is_taken_is_refused_in_words(house: House):
    port = house.url.rpartition(":")[2]
    result = subprocess.run(
        ["make", "run", f"PORT={port}", "DATA_DIR=elsewhere"], cwd=house.copy, env=house.environment,
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert result.returncode != 0
    assert f"port {port}" in result.stderr


@pytest.mark.parametrize(
    "words", [("celery",), ("gunicorn",), ("valkey-server",), ("bin/postgres",)], ids=lambda words: words[0]
)
def test_a_part_killed_hard_comes_back(house: House, words: tuple[str, ...]):
    killed = house.pid(*words)
    os.kill(killed, signal.SIGKILL)
    assert wait_until(lambda: killed not in house.processes(), 30)
    assert house.answers_again(), "\n".join(house.lines[-20:])
    assert house.process.poll() is None


def test_what_was_said_survives_a_supervisor_killed_hard(house: House):
    conversation = house.answer()
    os.kill(house.pid("dev.run"), signal.SIGKILL)
    assert house.is_gone(), house.processes()
    house.restart()
    assert conversation in [item["id"] for item in house.call("GET", "/api/v1/conversations")["items"]]


def stop_by_sigterm(house: House) -> None:
    house.process.terminate()


def stop_by_sigterm_of_the_supervisor(house: House) -> None:
    os.kill(house.pid("dev.run"), signal.SIGTERM)


def stop_by_ctrl_c(house: House) -> None:
    os.killpg(house.process.pid, signal.SIGINT)


def stop_by_killing_make(house: House) -> None:
    house.process.kill()


@pytest.mark.parametrize(
    "stop", [stop_by_sigterm, stop_by_sigterm_of_the_supervisor, stop_by_ctrl_c, stop_by_killing_make]
)
def test_it_stops_with_nothing_left_and_starts_again(house: House, stop: Callable[[House], None]):
    stop(house)
    house.process.wait(STOPPED_SECONDS)
    assert house.is_gone(), house.processes()
    house.restart()
    house.answer()
