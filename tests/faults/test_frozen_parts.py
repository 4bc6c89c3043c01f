"""The table of docs/operate/frozen-parts.md: SIGSTOP of worker, Redis and PostgreSQL, and the replies.

Each part is frozen once under a running answer that is being read. All requests are sent at the moment of the freeze.
/readyz and /metrics are requested once more after five seconds. Each cell of the table is a test over the replies.
"""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from dev.postgres import Postgres
from dev.process import ROOT
from dev.valkey import Valkey
from tests.faults.test_frozen_database import family
from tests.logins import migrate, remember
from tests.stack import Stack, Web, until

pytestmark = pytest.mark.slow

PARTS = ("worker", "Redis", "PostgreSQL")
COLUMNS = ("`/readyz`", "`/metrics`", "a POST", "a poll", "an open stream", "a new stream")
# The table promises a reply within 5 s. The slack is for a busy machine.
PROMISED, SLACK = 5.0, 3.0
# Seconds after which all data that a part sent before its freeze has arrived.
IN_FLIGHT = 0.5
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass
class Reply:
    """The reply to a request, and its duration in seconds."""

    seconds: float
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def number(self, name: str) -> float:
        return next(float(line.split()[1]) for line in self.body.decode().splitlines() if line.startswith(f"{name} "))


@dataclass
class Seen:
    """All replies and stream lines received while one part was frozen."""

    at_once: dict[str, Reply] = field(default_factory=dict)
    later: dict[str, Reply] = field(default_factory=dict)
    followed: list[bytes] = field(default_factory=list)
    resumed: list[bytes] = field(default_factory=list)
    generation_status: str = ""


def call(url: str, token: str, method: str, path: str, body: Any = None, read: int | None = None) -> Reply:
    request = urllib.request.Request(url + path, method=method, headers={"Authorization": f"Bearer {token}"})
    if body is not None:
        request.add_header("Content-Type", "application/json")
        request.data = json.dumps(body).encode()
    began = time.monotonic()
    try:
        with OPENER.open(request, timeout=20) as response:
            text = response.read() if read is None else response.readline()
            return Reply(time.monotonic() - began, response.status, dict(response.headers), text)
    except urllib.error.HTTPError as error:
        return Reply(time.monotonic() - began, error.code, dict(error.headers), error.read())


class Follower(threading.Thread):
    """A reader of one stream: its ``lines`` so far, and in ``arrived`` the monotonic time of each."""

    def __init__(self, url: str, token: str, generation: str) -> None:
        super().__init__(daemon=True)
        self.lines: list[bytes] = []
        self.arrived: list[float] = []
        self._request = urllib.request.Request(
            f"{url}/api/v1/generations/{generation}/stream", headers={"Authorization": f"Bearer {token}"}
        )

    def run(self) -> None:
        with OPENER.open(self._request, timeout=60) as response:
            for line in response:
                self.arrived.append(time.monotonic())
                self.lines.append(line)

    def between(self, first: float, last: float) -> list[bytes]:
        """The lines that arrived between two monotonic times."""
        return [line for when, line in zip(self.arrived, self.lines, strict=False) if first <= when <= last]


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, Web, dict[str, int]]]:
    """A deployment with stores of its own, which the tests freeze."""
    directory = tmp_path_factory.mktemp("frozen")
    postgres, valkey = Postgres(directory / "postgres", settings={"fsync": "off"}), Valkey(directory / "valkey")
    try:
        postgres.start(120)
        valkey.start(120)
        remember(postgres)
        postgres.ensure_database()
        migrate(postgres.url())
        stack = Stack(directory, postgres.url(), valkey.url(), LEASE_SECONDS=30, HEARTBEAT_SECONDS=5)
        try:
            worker, web = stack.worker(), stack.web()
            assert postgres.process is not None
            assert valkey.process is not None
            yield stack, web, dict(zip(PARTS, (worker.pid, valkey.process.pid, postgres.process.pid), strict=True))
        finally:
            stack.stop()
    finally:
        valkey.kill()
        postgres.kill()


@pytest.fixture(scope="module")
def seen(deployment: tuple[Stack, Web, dict[str, int]]) -> dict[str, Seen]:
    stack, web, pids = deployment
    return {part: freeze(stack, web, pids[part]) for part in PARTS}


def freeze(stack: Stack, web: Web, pid: int) -> Seen:
    """Freeze a part under a running answer for the time of the table's promises, thaw it, and return the replies."""
    token, found = stack.token(), Seen()
    generation = stack.start(model="offline").generation.id
    follower = Follower(web.url, token, generation)
    follower.start()
    until(lambda: len(follower.lines) > 30)
    requests: dict[str, tuple[Any, ...]] = {
        "`/readyz`": ("GET", "/readyz"),
        "`/metrics`": ("GET", "/metrics"),
        "a POST": ("POST", "/api/v1/generations", {"message": "Hello", "model": "offline-fast"}),
        "a poll": ("GET", f"/api/v1/generations/{generation}?after=0-0&wait=2"),
        "a new stream": ("GET", f"/api/v1/generations/{generation}/stream", None, 1),
    }

    def ask(name: str) -> None:
        found.at_once[name] = call(web.url, token, *requests[name])

    members = family(pid)
    for member in members:
        os.kill(member, signal.SIGSTOP)
    began = time.monotonic()
    try:
        threads = [threading.Thread(target=ask, args=(name,)) for name in requests]
        for thread in threads:
            thread.start()
        time.sleep(max(0.0, began + PROMISED - time.monotonic()))
        for name in ("`/readyz`", "`/metrics`"):
            found.later[name] = call(web.url, token, *requests[name])
        found.followed = follower.between(began, began + PROMISED)
        found.resumed = follower.between(began + IN_FLIGHT, began + PROMISED)
        for thread in threads:
            thread.join()
    finally:
        for member in members:
            os.kill(member, signal.SIGCONT)
    found.generation_status = stack.finished(generation).status
    until(lambda: call(web.url, token, "GET", "/readyz").status == 200)
    return found


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("column", ["`/readyz`", "`/metrics`"])
def test_probes_answer_within_three_seconds_whatever_is_frozen(seen: dict[str, Seen], part: str, column: str) -> None:
    for reply in (seen[part].at_once[column], seen[part].later[column]):
        assert reply.seconds < 3 + SLACK


@pytest.mark.parametrize("part", PARTS)
def test_everything_answers_within_five_seconds_whatever_is_frozen(seen: dict[str, Seen], part: str) -> None:
    for name, reply in seen[part].at_once.items():
        assert reply.seconds < PROMISED + SLACK, name


@pytest.mark.parametrize("part", PARTS)
def test_the_answer_that_was_running_is_completed_when_the_part_goes_on(seen: dict[str, Seen], part: str) -> None:
    assert seen[part].generation_status == "completed"


def test_worker_readyz(seen: dict[str, Seen]) -> None:
    assert seen["worker"].later["`/readyz`"].status == 503
    assert seen["worker"].later["`/readyz`"].json["reasons"][0].startswith("No worker is alive")
    assert seen["worker"].later["`/readyz`"].headers["Retry-After"]


def test_worker_metrics(seen: dict[str, Seen]) -> None:
    reply = seen["worker"].later["`/metrics`"]
    assert (reply.status, reply.number("unbroken_workers_alive")) == (200, 0)
    assert reply.number("unbroken_generations_stuck") >= 1


def test_worker_post(seen: dict[str, Seen]) -> None:
    reply = seen["worker"].at_once["a POST"]
    assert (reply.status, reply.json["generation"]["status"]) == (202, "queued")


def test_worker_poll(seen: dict[str, Seen]) -> None:
    reply = seen["worker"].at_once["a poll"]
    assert (reply.status, reply.json["status"]) == (200, "running")


def test_worker_open_stream(seen: dict[str, Seen]) -> None:
    followed = seen["worker"].followed
    assert any(line.startswith(b":") for line in followed), "heartbeats go on"
    assert not any(b'"done"' in line for line in followed)


def test_worker_new_stream(seen: dict[str, Seen]) -> None:
    reply = seen["worker"].at_once["a new stream"]
    assert reply.status == 200
    assert b'"open"' in reply.body


def test_redis_readyz(seen: dict[str, Seen]) -> None:
    reply = seen["Redis"].later["`/readyz`"]
    assert (reply.status, reply.json["checks"]["redis"]) == (200, "down")
    assert "limits are counted by each process" in reply.json["degraded"][0]


def test_redis_metrics(seen: dict[str, Seen]) -> None:
    reply = seen["Redis"].later["`/metrics`"]
    assert (reply.status, reply.number("unbroken_workers_alive")) == (200, 1)


def test_redis_post(seen: dict[str, Seen]) -> None:
    reply = seen["Redis"].at_once["a POST"]
    assert (reply.status, reply.json["generation"]["status"]) == (202, "queued")


def test_redis_poll(seen: dict[str, Seen]) -> None:
    reply = seen["Redis"].at_once["a poll"]
    assert (reply.status, reply.json["events"][0]["type"]) == (200, "snapshot")


def test_redis_open_stream(seen: dict[str, Seen]) -> None:
    resumed = seen["Redis"].resumed
    assert any(b'"token"' in line for line in resumed), "the checkpoints in PostgreSQL are read within five seconds"


def test_redis_new_stream(seen: dict[str, Seen]) -> None:
    reply = seen["Redis"].at_once["a new stream"]
    assert reply.status == 200
    assert b'"open"' in reply.body


def test_postgresql_readyz(seen: dict[str, Seen]) -> None:
    reply = seen["PostgreSQL"].later["`/readyz`"]
    assert (reply.status, reply.json["checks"]["database"]) == (503, "down")
    assert reply.json["reasons"][0].startswith("PostgreSQL")
    assert reply.headers["Retry-After"]


def test_postgresql_metrics(seen: dict[str, Seen]) -> None:
    reply = seen["PostgreSQL"].later["`/metrics`"]
    assert (reply.status, reply.number("unbroken_database_up")) == (200, 0)


@pytest.mark.parametrize("column", ["a POST", "a poll", "a new stream"])
def test_postgresql_requests(seen: dict[str, Seen], column: str) -> None:
    reply = seen["PostgreSQL"].at_once[column]
    assert reply.status == 503
    assert reply.headers["Content-Type"] == "application/problem+json"
    assert int(reply.headers["Retry-After"]) > 0
    assert "PostgreSQL does not answer" in reply.json["detail"]


def test_postgresql_open_stream(seen: dict[str, Seen]) -> None:
    assert sum(b'"token"' in line for line in seen["PostgreSQL"].followed) > 10, "Redis has the tokens"


def test_the_table_has_every_cell() -> None:
    text = (ROOT / "docs" / "operate" / "frozen-parts.md").read_text()
    rows = [[cell.strip() for cell in line.strip("| \n").split("|")] for line in text.splitlines() if "|" in line]
    header = next(row for row in rows if row[0] == "frozen")
    assert header[1:] == list(COLUMNS)
    for part in PARTS:
        [cells] = [row[1:] for row in rows if row[0] == part]
        promised = [int(re.match(r"\d{3}", cell)[0]) if cell[0].isdigit() else None for cell in cells]  # type: ignore[index]
        assert promised == STATUSES[part]


# In the table's order; an open stream has no status any more.
STATUSES = {
    "worker": [503, 200, 202, 200, None, 200],
    "Redis": [200, 200, 202, 200, None, 200],
    "PostgreSQL": [503, 200, 503, 503, None, 503],
}


@pytest.mark.parametrize("part", PARTS)
def test_the_statuses_of_the_table_are_what_is_answered(seen: dict[str, Seen], part: str) -> None:
    answered = {**seen[part].at_once, **seen[part].later}
    found = [answered[column].status if column in answered else None for column in COLUMNS]
    assert found == STATUSES[part]
