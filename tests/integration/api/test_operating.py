"""Health, readiness, metrics and log lines, for operators and for machines."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from flask.testing import FlaskClient
from flask_openapi3.openapi import OpenAPI
from prometheus_client.parser import text_string_to_metric_families
from werkzeug.test import TestResponse

from app import logs
from app.api.application import create_app
from app.api.web_process import EXTENSION, WebProcess
from app.domain.version import VERSION
from app.ops.metrics import forget_the_dead
from app.ops.verdicts import judge
from app.store import workers
from app.store.database import Database
from app.wiring import build
from dev.postgres import WORKER, Postgres
from dev.valkey import Valkey
from tests.factories import owner
from tests.logins import as_login
from tests.stack import until

from .conftest import Hand, Person, make_settings, token

ROOT = Path(__file__).resolve().parents[3]


def test_a_process_that_answers_lives_whatever_its_stores_do():
    app = create_app(make_settings("postgresql://nobody@127.0.0.1:1/none", "redis://127.0.0.1:1/0"))
    client = app.test_client()
    assert client.get("/healthz").json == {"status": "alive", "version": VERSION}
    ready = client.get("/readyz")
    assert ready.status_code == 503
    assert ready.json["checks"]["database"] == "down"
    assert ready.json["reasons"]
    numbers = client.get("/metrics")
    assert numbers.status_code == 200
    assert "unbroken_database_up 0.0" in numbers.text
    app.extensions[EXTENSION].close()


def report_a_worker(app: OpenAPI, name: str = "w@test", state: str = "working", running: int = 0) -> None:
    """A heartbeat row, as a worker writes it."""
    database = Database(as_login(app.extensions[EXTENSION].settings.database_url, WORKER), 1)
    with database.system() as tx:
        workers.beat(tx, workers.Report(name, "0", state, 20, running), 4)
    database.close()


def readiness(app: OpenAPI, status: int, state: str = "working") -> TestResponse:
    """The reply of /readyz, once it has this status while a worker goes on reporting."""
    client = app.test_client()

    def reply() -> TestResponse | None:
        report_a_worker(app, state=state)
        found = client.get("/readyz")
        return found if found.status_code == status else None

    return until(reply, step=0.2)  # type: ignore[return-value]


def test_a_migrated_database_and_redis_and_a_worker_are_ready(app: OpenAPI):
    report_a_worker(app)
    ready = app.test_client().get("/readyz")
    assert ready.status_code == 200, ready.text
    assert ready.json["checks"]["redis"] == "ok"
    assert ready.json["checks"]["hub"] == "ok"


def test_a_database_without_migrations_is_not_ready(postgres: Postgres, valkey: Valkey):
    from app.api.application import create_app

    postgres.ensure_database("test_empty")
    app = create_app(make_settings(postgres.url("test_empty"), valkey.url()))
    ready = app.test_client().get("/readyz")
    assert (ready.status_code, ready.json["checks"]["database"]) == (503, "not migrated")
    app.extensions[EXTENSION].close()


def test_without_redis_it_is_ready_and_says_what_is_missing(make_app: Any):
    app = make_app(redis_url="redis://127.0.0.1:1/0")
    report_a_worker(app)
    ready = app.test_client().get("/readyz")
    assert ready.status_code == 200
    assert ready.json["checks"]["redis"] == "down"
    assert ready.json["degraded"]


def test_work_that_nobody_does_is_not_ready(make_app: Any, database_url: str):
    app = make_app()
    person = Person(app.test_client(), "waiting")
    made = person.start()
    readiness(app, 200)
    with owner(database_url) as cursor:
        cursor.execute("UPDATE generations SET created_at = now() - interval '20 seconds'")
    assert "no worker" in readiness(app, 503).json["reasons"][0]
    second = person.start("another")
    with owner(database_url) as cursor:
        cursor.execute("UPDATE generations SET created_at = now() - interval '20 seconds'")
    resources = build(app.extensions[EXTENSION].settings.model_copy(update={"database_url": database_url}))
    Hand(resources, second["generation"]["id"])
    resources.close()
    readiness(app, 200)
    person.post(f"/api/v1/generations/{made['generation']['id']}/cancel")


IDLE = {
    "workers_alive": 1, "workers_leaving": 0, "workers_drained": 0, "oldest_queued_seconds": 0, "working": 0,
    "abandoned_seconds": 0, "lost": 0, "running": 0, "slots": 20, "workers_lost": 0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("census", "reason"),
    [
        ({}, None),
        ({"oldest_queued_seconds": 15}, None),
        ({"oldest_queued_seconds": 16}, "queued for more than"),
        ({"oldest_queued_seconds": 16, "working": 1}, None),
        ({"abandoned_seconds": 8}, None),
        ({"abandoned_seconds": 9, "working": 1}, "without a worker"),
        ({"workers_alive": 0}, "No worker is alive"),
        ({"workers_alive": 0, "workers_leaving": 1}, None),
        ({"workers_alive": 0, "workers_drained": 1}, "drained by an operator"),
        ({"workers_alive": 0, "workers_leaving": 1, "oldest_queued_seconds": 16}, "queued for more than"),
        ({"lost": 1}, None),
        ({"lost": 1, "workers_lost": 1}, None),
        ({"workers_lost": 1}, None),
        ({"workers_lost": 1, "workers_alive": 0}, "No worker is alive"),
        ({"oldest_queued_seconds": 6, "working": 20, "running": 20}, None),
        ({"oldest_queued_seconds": 16, "working": 20, "running": 20}, None),
        ({"oldest_queued_seconds": 6, "working": 19, "running": 19}, None),
    ],
)
def test_what_the_numbers_mean(census: dict[str, float], reason: str | None):
    reasons, degraded = judge({**IDLE, **census})
    assert [bool(reason and reason in said) for said in reasons] == [True] * bool(reason)
    is_full = census.get("running", 0) >= IDLE["slots"]
    is_lost = census.get("workers_lost") and census.get("workers_alive", 1)
    assert len(degraded) == bool(census.get("lost") or is_lost) + bool(census.get("workers_leaving")) + is_full


def test_only_operators_read_the_numbers(app: OpenAPI):
    """The numbers of waiting and running answers are hidden without a token and from users."""
    report_a_worker(app)
    client = app.test_client()
    for claims in ({}, {"role": "user"}, {"role": "operator of nothing"}):
        headers = {"Authorization": f"Bearer {token('mallory', **claims)}"}
        for shown in (client.get("/readyz"), client.get("/readyz", headers=headers)):
            assert set(shown.json) == {"status", "reasons", "degraded", "checks"}
            assert not any(character.isdigit() for value in shown.json["checks"].values() for character in value)
    headers = {"Authorization": f"Bearer {token('root', role='admin')}"}
    numbers = client.get("/readyz", headers=headers).json["numbers"]
    assert numbers["workers_alive"] >= 1
    assert "queued" in numbers


def test_a_login_that_reaches_the_rows_of_every_user_is_a_warning_for_administrators(
    make_app: Any, database_url: str, redis_url: str
):
    headers = {"Authorization": f"Bearer {token('root', role='admin')}"}
    apart = make_app()
    assert apart.test_client().get("/readyz", headers=headers).json["warnings"] == []
    shared = create_app(make_settings(database_url, redis_url, database_logins="one"))
    try:
        report_a_worker(apart)
        found = shared.test_client().get("/readyz", headers=headers)
        assert (found.status_code, len(found.json["warnings"])) == (200, 1)
        assert found.json["warnings"][0].startswith("DATABASE_LOGINS=one")
        assert "warnings" not in shared.test_client().get("/readyz").json
    finally:
        shared.extensions[EXTENSION].close()


def test_a_worker_that_does_not_report_is_not_alive(make_app: Any, database_url: str):
    app = make_app()
    client = app.test_client()
    with owner(database_url) as cursor:
        cursor.execute("DELETE FROM workers")
    assert client.get("/readyz").json["reasons"] == ["No worker is alive: none has reported within the last seconds."]
    readiness(app, 200)
    until(lambda: report_a_worker(app) or "unbroken_workers_alive 1.0" in client.get("/metrics").text, step=0.2)
    with owner(database_url) as cursor:
        cursor.execute("UPDATE workers SET last_seen = now() - interval '4.1 seconds'")
    # A report is at most FRESH_SECONDS old.
    until(lambda: client.get("/readyz").status_code == 503)
    assert "unbroken_workers_alive 0.0" in client.get("/metrics").text
    assert len(readiness(app, 200, "draining").json["degraded"]) == 1
    with owner(database_url) as cursor:
        cursor.execute("UPDATE workers SET last_seen = now() - interval '10.1 seconds'")
    until(lambda: client.get("/readyz").status_code == 503)


def test_numbers_can_be_read_and_count_what_happens(alice: Person):
    def started_and_queued() -> tuple[float, float]:
        page = alice.client.get("/metrics")
        assert page.content_type.startswith("text/plain")
        samples = {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(page.text)
            for sample in family.samples
        }
        return samples["unbroken_generations_started_total", ()], samples["unbroken_generations_queued", ()]

    started, queued = started_and_queued()
    alice.start()
    assert started_and_queued()[0] == started + 1
    # Waiting generations are counted in the database, at most once a second.
    until(lambda: started_and_queued()[1] == queued + 1)


def test_the_numbers_of_several_processes_are_added_up(tmp_path: Path, settings: Any):
    code = (
        "import sys; from app.ops import metrics\n"
        "metrics.EVENTS_WRITTEN.inc(5); metrics.STREAMS_OPEN.inc(2)\n"
        "census = lambda: {'queued': 1, 'running': 2, 'oldest_queued_seconds': 3, 'stuck': 0, 'workers_alive': 1,\n"
        "    'workers_drained': 0}\n"
        "print(metrics.exposition(census)[0].decode() if sys.argv[1:] else '')\n"
    )
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}

    def run(*arguments: str) -> str:
        command = [sys.executable, "-c", code, *arguments]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
        return done.stdout

    run()
    page = run("show")
    assert "unbroken_events_written_total 10.0" in page
    # The first process is gone, and its gauge must not count.
    assert "unbroken_streams_open 2.0" in page
    assert "unbroken_generations_queued 1.0" in page


def test_what_the_relay_counted_is_shown_at_the_next_scrape(process: WebProcess, anybody: FlaskClient):
    def shown() -> float:
        page = anybody.get("/metrics").text
        return float(re.search(r"^unbroken_relay_failures_total (\S+)$", page, re.MULTILINE)[1])

    before = shown()
    process.live.hub.stats.failures += 2
    assert shown() == before + 2


def test_gauges_of_the_living_stay(tmp_path: Path):
    mine, gone = tmp_path / f"gauge_livesum_{os.getpid()}.db", tmp_path / "gauge_livesum_4194400.db"
    mine.touch()
    gone.touch()
    forget_the_dead(tmp_path.iterdir())
    assert mine.exists()
    assert not gone.exists()


def test_log_lines_are_json_and_keep_secrets(capsys: pytest.CaptureFixture[str]):
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logs.formatter())
    logger = logging.getLogger("some.library")
    logger.propagate = False
    logger.addHandler(handler)
    logger.warning("GET /api/v1/generations/x/stream?ticket=abc.def&after=1-0 said %s", "hello")
    # Threads of other applications may write lines, too.
    [told] = [line for line in capsys.readouterr().err.splitlines() if "said hello" in line]
    line = json.loads(told)
    assert line["event"] == "GET /api/v1/generations/x/stream?ticket=[redacted]&after=1-0 said hello"
    assert line["level"] == "warning"
    assert line["time"].endswith("Z")


def test_requests_leave_a_line_without_tokens_or_words(alice: Person, logged: Callable[[], str]):
    made = alice.start("a very private thing")
    alice.get(f"/api/v1/generations/{made['generation']['id']}?ticket=secret", headers={"x-request-id": "known-1"})
    lines = logged()
    assert "known-1" in lines
    assert made["generation"]["id"] in lines
    assert "private" not in lines
    assert "secret" not in lines
    assert alice.headers["Authorization"].split()[1] not in lines


@pytest.mark.parametrize("part", ["a\r\nb", "txt.\u202eexe", "a\u2028b", "\x1b[31m", "\x9b", "\U0001f44d"])
def test_a_path_in_a_line_is_plain_text(alice: Person, logged: Callable[[], str], part: str):
    alice.get(f"/api/v1/conversations/{quote(part)}")
    [line] = [line for line in logged().splitlines() if "request answered" in line]
    assert f'"path":"/api/v1/conversations/{quote(part)}"' in line
    assert line.isprintable()


def test_bad_settings_are_all_named_before_it_stops():
    environment = {"PATH": os.environ["PATH"], "REDIS_URL": "nonsense", "MAX_STREAMS": "-1", "JWT_SECRET": "short"}
    done = subprocess.run(
        [sys.executable, "-c", "import wsgi"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 3
    for name in ("DATABASE_URL", "REDIS_URL", "MAX_STREAMS", "JWT_SECRET"):
        assert name in done.stderr
    assert "short" not in done.stderr
