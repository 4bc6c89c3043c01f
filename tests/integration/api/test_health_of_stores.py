"""/readyz and /metrics of stores that refuse: a full Redis, an open breaker; and the count of requests for streams."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import redis
from sqlalchemy.engine import make_url
from uuid_utils import uuid7

from app.api.application import create_app
from app.api.web_process import EXTENSION
from app.ops import verdicts
from app.wiring import Resources
from tests.factories import owner
from tests.stack import until

from .conftest import Hand, Person, make_settings, token
from .test_operating import report_a_worker


def number(page: str, series: str) -> float | None:
    """The value of a series of an exposition; None without it."""
    found = re.search(rf"^{re.escape(series)} (\S+)$", page, re.MULTILINE)
    return float(found[1]) if found else None


def test_a_postgresql_that_refuses_writes_leaves_a_gap_that_is_named(make_app: Any, database_url: str):
    # The worker that is reported here once is alive to the end of the test.
    app = make_app(worker_lost_seconds=60)
    client = app.test_client()
    report_a_worker(app)
    person = Person(client, "alice")
    assert person.post("/api/v1/generations", json={"message": "hello"}).status_code == 202
    assert client.get("/readyz").json["degraded"] == []
    name = make_url(database_url).database
    with owner(database_url) as cursor:
        # The error of a server that only reads. A full disk is tried in tests/faults/test_full_disk.py.
        cursor.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    app.extensions[EXTENSION].resources.database.close()
    refused = person.post("/api/v1/generations", json={"message": "hello"})
    assert refused.status_code == 503
    until(lambda: client.get("/readyz").json["degraded"] == [verdicts.NO_DATABASE_WRITES], 20)
    assert client.get("/readyz").status_code == 200


def test_a_redis_that_refuses_writes_leaves_a_gap_that_is_named(make_app: Any, redis_url: str):
    app = make_app()
    client = app.test_client()
    report_a_worker(app)
    assert client.get("/readyz").json["checks"]["redis"] == "ok"
    assert number(client.get("/metrics").text, "unbroken_redis_writable") == 1
    with redis.Redis.from_url(redis_url) as store:
        store.config_set("maxmemory", "1mb")
        try:
            until(lambda: client.get("/readyz").json["checks"]["redis"] == "no writes", 20)
            report_a_worker(app)
            full = client.get("/readyz")
            page = client.get("/metrics").text
        finally:
            store.config_set("maxmemory", "0")
    assert full.json["degraded"] == [verdicts.NO_WRITES]
    assert number(page, "unbroken_redis_up") == 1
    assert number(page, "unbroken_redis_writable") == 0
    assert number(page, "unbroken_redis_memory_limit_bytes") == 1 << 20
    assert number(page, "unbroken_redis_memory_bytes") > 1 << 20
    until(lambda: client.get("/readyz").json["checks"]["redis"] == "ok", 20)


def test_an_open_breaker_is_a_gap_and_only_administrators_read_its_target(
    make_app: Any, of_workers: Callable[..., Resources]
):
    app = make_app(upstreams="first")
    client, process = app.test_client(), app.extensions[EXTENSION]
    headers = {"Authorization": f"Bearer {token('root', role='admin')}"}
    body = {"name": "clever", "targets": [{"upstream": "first", "name": "big"}]}
    assert client.post("/api/v1/models", json=body, headers=headers).status_code == 201
    report_a_worker(app)
    assert verdicts.REFUSING not in client.get("/readyz").json["degraded"]
    breakers = process.resources.breakers
    while not breakers.report("first/big", "failure", None):
        pass
    until(lambda: verdicts.REFUSING in client.get("/readyz").json["degraded"], 20)
    assert client.get("/readyz", headers=headers).json["numbers"]["open_breakers"] == ["first/big"]
    assert number(client.get("/metrics").text, 'unbroken_breaker_state{target="first/big"}') == 2


def test_requests_for_streams_are_counted_by_position_and_outcome(alice: Person, resources: Resources):
    generation = alice.start()["generation"]["id"]
    Hand(resources, generation).run("Hello", "world")
    path, before = f"/api/v1/generations/{generation}/stream", connects(alice.get("/metrics").text)
    assert set(before) == {(p, o) for p in ("start", "cursor") for o in ("opened", "complete", "refused", "failed")}
    alice.get(path).close()
    alice.get(path, headers={"Last-Event-ID": "0-0"}).close()
    alice.get(f"{path}?after=1-1").close()
    assert alice.get(path, headers={"Last-Event-ID": "1-4"}).status_code == 204
    assert alice.get(path, headers={"Last-Event-ID": "nonsense"}).status_code == 400
    assert alice.get(f"/api/v1/generations/{uuid4()}/stream").status_code == 404
    assert alice.get(f"/api/v1/generations/{generation}").status_code == 200
    assert alice.get(f"/api/v1/generations/{generation}", headers={"Accept": "text/event-stream"}).status_code == 200
    assert changed(before, connects(alice.get("/metrics").text)) == {
        ("start", "opened"): 2,
        ("cursor", "opened"): 1,
        ("cursor", "complete"): 1,
        ("cursor", "refused"): 1,
        ("start", "refused"): 1,
    }


def test_a_new_conversation_without_a_message_is_counted(make_app: Any, database_url: str):
    app = make_app()
    report_a_worker(app)
    person = Person(app.test_client(), f"alice-{uuid4().hex[:8]}")
    made = person.start()
    page = app.test_client().get("/metrics").text
    assert number(page, "unbroken_conversations_empty") == 0
    with owner(database_url) as cursor:
        # The constraint asks for a message, and takes that of another conversation.
        cursor.execute(
            """INSERT INTO conversations (id, user_id, first_message_id)
               SELECT CAST(%s AS uuid), user_id, first_message_id FROM conversations WHERE id = %s""",
            (str(uuid7()), made["conversation"]["id"]),
        )
    until(lambda: number(app.test_client().get("/metrics").text, "unbroken_conversations_empty") == 1, 20)


def test_an_event_source_that_is_sent_away_with_a_200_is_no_success():
    app = create_app(make_settings("postgresql://nobody@127.0.0.1:1/none", "redis://127.0.0.1:1/0"))
    before = connects(app.test_client().get("/metrics").text)
    headers = {"Accept": "text/event-stream", "Last-Event-ID": "1-4"}
    path = f"/api/v1/generations/{uuid4()}/stream?ticket={'x' * 43}"
    assert app.test_client().get(path, headers=headers).status_code == 200
    assert changed(before, connects(app.test_client().get("/metrics").text)) == {("cursor", "failed"): 1}
    app.extensions[EXTENSION].close()


def connects(page: str) -> dict[tuple[str, str], float]:
    """The requests for streams of an exposition, by position and outcome."""
    pattern = r'^unbroken_stream_connects_total\{outcome="(\w+)",position="(\w+)"\} (\S+)$'
    return {(position, outcome): float(value) for outcome, position, value in re.findall(pattern, page, re.MULTILINE)}


def changed(before: dict[tuple[str, str], float], now: dict[tuple[str, str], float]) -> dict[tuple[str, str], float]:
    return {key: now[key] - before[key] for key in now if now[key] != before[key]}
