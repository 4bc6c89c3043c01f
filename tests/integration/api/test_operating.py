"""Health, readiness, numbers, log lines: what operators and machines see."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from flask_openapi3.openapi import OpenAPI
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text

from app import logs
from app.api.process import EXTENSION
from app.ops.health import is_migrated, is_stuck
from app.ops.metrics import forget_the_dead
from app.wiring import Resources
from dev.postgres import Postgres
from dev.valkey import Valkey

from .conftest import Hand, Person, make_settings

ROOT = Path(__file__).resolve().parents[3]


def test_a_process_that_answers_lives_whatever_its_stores_do():
    from app.api.application import create_app

    app = create_app(make_settings("postgresql://nobody@127.0.0.1:1/none", "redis://127.0.0.1:1/0"))
    client = app.test_client()
    assert client.get("/healthz").status_code == 200
    ready = client.get("/readyz")
    assert ready.status_code == 503
    assert ready.json["checks"]["database"] == "down"
    assert ready.json["reasons"]
    numbers = client.get("/metrics")
    assert numbers.status_code == 200
    assert "unbroken_database_up 0.0" in numbers.text
    app.extensions[EXTENSION].close()


def test_a_migrated_database_and_redis_are_ready(app: OpenAPI):
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


def test_a_later_revision_than_ours_is_no_reason_to_stop():
    assert is_migrated("0001") or not is_migrated("0001")
    assert is_migrated("9999")
    assert not is_migrated(None)


def test_without_redis_it_is_ready_and_says_what_is_missing(make_app: Any):
    ready = make_app(redis_url="redis://127.0.0.1:1/0").test_client().get("/readyz")
    assert ready.status_code == 200
    assert ready.json["checks"]["redis"] == "down"
    assert ready.json["degraded"]


def test_work_that_nobody_does_is_not_ready(make_app: Any):
    app = make_app()
    person = Person(app.test_client(), "waiting")
    made = person.start()
    assert person.get("/readyz").status_code == 200
    resources: Resources = app.extensions[EXTENSION].resources
    with resources.database.system() as tx:
        tx.execute(text("UPDATE generations SET created_at = now() - interval '20 seconds'"))
    time.sleep(1.1)
    stuck = person.get("/readyz")
    assert stuck.status_code == 503
    assert "no worker" in stuck.json["reasons"][0]
    second = person.start("another")
    with resources.database.system() as tx:
        tx.execute(text("UPDATE generations SET created_at = now() - interval '20 seconds'"))
    Hand(resources, second["generation"]["id"])
    time.sleep(1.1)
    assert person.get("/readyz").status_code == 200
    person.post(f"/api/v1/generations/{made['generation']['id']}/cancel")


@pytest.mark.parametrize(
    ("oldest", "working", "stuck"), [(0, 0, False), (15, 0, False), (16, 0, True), (16, 1, False), (999, 0, True)]
)
def test_stuck_is_old_work_and_nobody_at_work(oldest: float, working: int, stuck: bool):
    assert is_stuck({"oldest_queued_seconds": oldest, "working": working}) is stuck


def test_numbers_can_be_read_and_count_what_happens(alice: Person):
    def started() -> float:
        page = alice.client.get("/metrics")
        assert page.content_type.startswith("text/plain")
        samples = {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(page.text)
            for sample in family.samples
        }
        assert samples["unbroken_generations_queued", ()] >= 0
        return samples["unbroken_generations_started_total", ()]

    before = started()
    alice.start()
    assert started() == before + 1


def test_the_numbers_of_several_processes_are_added_up(tmp_path: Path, settings: Any):
    code = (
        "import sys; from app.ops import metrics\n"
        "metrics.EVENTS_WRITTEN.inc(5); metrics.STREAMS_OPEN.inc(2)\n"
        "census = lambda: {'queued': 1, 'running': 2, 'oldest_queued_seconds': 3}\n"
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
    # The first process is gone, and nobody told its gauge.
    assert "unbroken_streams_open 2.0" in page
    assert "unbroken_generations_queued 1.0" in page


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
    # Threads of other applications may have something to say too.
    [told] = [line for line in capsys.readouterr().err.splitlines() if "said hello" in line]
    line = json.loads(told)
    assert line["event"] == "GET /api/v1/generations/x/stream?ticket=[redacted]&after=1-0 said hello"
    assert line["level"] == "warning"
    assert line["time"].endswith("Z")


def test_requests_leave_a_line_without_tokens_or_words(alice: Person, capsys: pytest.CaptureFixture[str]):
    made = alice.start("a very private thing")
    alice.get(f"/api/v1/generations/{made['generation']['id']}?ticket=secret", headers={"x-request-id": "known-1"})
    said = capsys.readouterr()
    lines = said.out + said.err
    assert "known-1" in lines
    assert made["generation"]["id"] in lines
    assert "private" not in lines
    assert "secret" not in lines
    assert alice.headers["Authorization"].split()[1] not in lines


def test_bad_settings_are_all_named_before_it_stops():
    environment = {"PATH": os.environ["PATH"], "REDIS_URL": "nonsense", "MAX_STREAMS": "-1", "JWT_SECRET": "short"}
    done = subprocess.run(
        [sys.executable, "-c", "import wsgi"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 3
    for name in ("DATABASE_URL", "REDIS_URL", "MAX_STREAMS", "JWT_SECRET"):
        assert name in done.stderr
    assert "short" not in done.stderr
