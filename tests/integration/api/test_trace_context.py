"""The trace of a request is kept with the generation that it starts, and named by its log line."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from app.config import Settings
from app.store.database import fetch_one
from app.wiring import Resources
from dev.valkey import Valkey

from .conftest import Person, make_settings, token

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture(scope="module")
def settings(module_database_url: str, valkey: Valkey) -> Settings:
    return make_settings(module_database_url, valkey.url(), trace_url_template="http://jaeger/trace/{trace_id}")


def row_of(resources: Resources, started: dict[str, Any]) -> tuple[str | None, str | None]:
    sql = "SELECT traceparent, tracestate FROM generations WHERE id = :id"
    with resources.database.system() as tx:
        row = fetch_one(tx, sql, id=started["generation"]["id"])
    assert row is not None
    return row.traceparent, row.tracestate


def post(person: Person, headers: dict[str, str]) -> dict[str, Any]:
    answer = person.post("/api/v1/generations", json={"message": "hello"}, headers=headers)
    assert answer.status_code == 202
    found: dict[str, Any] = answer.json
    return found


@pytest.mark.parametrize("flags", ["00", "01"])
def test_a_valid_trace_is_kept_with_its_flag(alice: Person, resources: Resources, flags: str) -> None:
    parent = PARENT[:-2] + flags
    started = post(alice, {"traceparent": parent, "tracestate": "vendor=1, other=2"})
    assert row_of(resources, started) == (parent, "vendor=1,other=2")


@pytest.mark.parametrize(
    ("headers", "kept"),
    [
        ({}, (None, None)),
        ({"tracestate": "vendor=1"}, (None, None)),
        ({"traceparent": PARENT.upper()}, (None, None)),
        ({"traceparent": f"{PARENT}-00", "tracestate": "vendor=1"}, (None, None)),
        ({"traceparent": PARENT, "tracestate": "vendor=1,vendor=2"}, (PARENT, None)),
        ({"traceparent": PARENT, "tracestate": "v=" + "x" * 600}, (PARENT, None)),
    ],
)
def test_what_is_not_valid_is_not_kept(
    alice: Person, resources: Resources, headers: dict[str, str], kept: tuple[str | None, str | None]
) -> None:
    assert row_of(resources, post(alice, headers)) == kept


def test_the_trace_stands_beside_the_request_id_in_log_lines(alice: Person) -> None:
    with capture_logs(processors=[merge_contextvars]) as lines:
        post(alice, {"traceparent": PARENT, "x-request-id": "traced"})
        post(alice, {"x-request-id": "untraced"})
    answered = {line["request_id"]: line.get("trace_id") for line in lines if line.get("action") == "request"}
    assert answered == {"traced": PARENT.split("-")[1], "untraced": None}


def test_operators_find_the_page_of_the_trace(alice: Person, bob: Person) -> None:
    traced, untraced = post(alice, {"traceparent": PARENT}), post(alice, {})
    bob.headers["Authorization"] = f"Bearer {token(bob.subject, role='operator')}"
    shown = [bob.get(f"/api/v1/ops/generations/{one['generation']['id']}").json for one in (traced, untraced)]
    trace_id = PARENT.split("-")[1]
    assert [(one["trace_id"], one["trace_url"]) for one in shown] == [
        (trace_id, f"http://jaeger/trace/{trace_id}"),
        (None, None),
    ]
