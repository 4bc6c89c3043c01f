"""Operators look at workers and drain them; the rows are written as workers write them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest
from sqlalchemy import text

from app.config import Settings
from app.store import workers
from app.store.workers import Report
from app.wiring import Resources
from dev.valkey import Valkey

from .conftest import Person, make_settings
from .test_service_accounts import admin

__all__ = ["admin"]
WORKERS = "/api/v1/ops/workers"
# Seconds: no row of these tests is lost by itself, however busy the machine is.
LOST = 60.0
Write = Callable[..., str]


@pytest.fixture(scope="module")
def settings(module_database_url: str, valkey: Valkey) -> Settings:
    return make_settings(module_database_url, valkey.url(), worker_lost_seconds=LOST)


@pytest.fixture
def reports(resources: Resources) -> Any:
    """A function that writes a worker's row, and returns the worker's name. The rows are removed after the test."""
    names: list[str] = []

    def report(name: str = "", *, write: Any = workers.beat, silent: float = 0, **fields: Any) -> str:
        names.append(name or f"w{uuid4().hex[:8]}@test")
        shown = Report(names[-1], "1.0", **{"state": "working", "slots": 20, "running": 0, **fields})
        with resources.database.system() as tx:
            write(tx, shown, LOST)
            tx.execute(
                text("UPDATE workers SET last_seen = last_seen - make_interval(secs => :s) WHERE name = :name"),
                {"s": silent, "name": names[-1]},
            )
        return names[-1]

    yield report
    with resources.database.system() as tx:
        tx.execute(text("DELETE FROM workers WHERE name = ANY(:names)"), {"names": names})


def seen(person: Person, name: str) -> dict[str, Any]:
    [found] = [item for item in person.get(WORKERS).json["items"] if item["name"] == name]
    return dict(found)


def act(person: Person, name: str, action: str, **body: Any) -> Any:
    return person.post(f"{WORKERS}/{quote(name)}/{action}", json=body)


def audited(person: Person, name: str) -> list[tuple[str, Any]]:
    found = person.get("/api/v1/ops/audit", query_string={"object": name}).json["items"]
    return [(row["action"], row["details"]) for row in found if row["action"].startswith("worker.")]


def test_a_worker_is_drained_and_undrained_with_a_reason(admin: Person, reports: Write) -> None:
    name, other = reports(running=3), reports()
    worker = seen(admin, name)
    assert (worker["state"], worker["running"], worker["slots"]) == ("working", 3, 20)
    assert (worker["drain"], worker["may_stop"], worker["warning"]) == (None, False, None)
    answer = act(admin, name, "drain", mode="hand_over", reason="a new disk")
    assert answer.status_code == 202
    assert answer.json == seen(admin, name)
    drain = answer.json["drain"]
    assert (answer.json["state"], drain["mode"], drain["reason"]) == ("draining", "hand_over", "a new disk")
    assert seen(admin, other)["state"] == "working"
    reports(name, state="draining", running=0, may_stop=True)
    assert seen(admin, name)["may_stop"] is True
    answer = act(admin, name, "undrain", reason="done")
    assert answer.status_code == 202
    assert (answer.json["drain"], answer.json["may_stop"]) == (None, False)
    reports(name)
    assert seen(admin, name)["state"] == "working"
    assert audited(admin, name) == [
        ("worker.undrained", {"reason": "done"}),
        ("worker.drained", {"mode": "hand_over", "reason": "a new disk"}),
    ]


def test_a_second_request_changes_the_mode_and_nothing_else(admin: Person, reports: Write) -> None:
    name = reports()
    first = act(admin, name, "drain").json
    assert first["drain"]["mode"] == "finish"
    assert act(admin, name, "drain", reason="again").json == first
    second = act(admin, name, "drain", mode="hand_over").json
    assert second["drain"] == {**first["drain"], "mode": "hand_over"}
    assert len(audited(admin, name)) == 2
    act(admin, name, "undrain")
    act(admin, name, "undrain")
    assert len(audited(admin, name)) == 3


def test_a_worker_that_is_not_there_or_lost_is_refused(admin: Person, reports: Write) -> None:
    lost, left = reports(silent=LOST * 2), reports(write=workers.leave, state="draining")
    assert seen(admin, lost)["state"] == "lost"
    assert left not in [item["name"] for item in admin.get(WORKERS).json["items"]]
    for action in ("drain", "undrain"):
        assert act(admin, "nobody@test", action).status_code == 404
        assert act(admin, left, action).status_code == 404
        refused = act(admin, lost, action)
        assert refused.status_code == 409
        assert "WORKER_LOST_SECONDS" in refused.json["detail"]
    assert act(admin, lost, "drain", mode="now").status_code == 422
    assert act(admin, lost, "drain", reason="x" * 501).status_code == 422


def test_an_operator_looks_only(app: Any, admin: Person, reports: Write) -> None:
    from tests.isolation.test_administrators import with_role

    name = reports()
    operator = with_role(app, "operator")
    assert seen(operator, name)["state"] == "working"
    assert act(operator, name, "drain").status_code == 403
    assert seen(admin, name)["drain"] is None


def test_the_last_worker_is_drained_with_a_warning(admin: Person, reports: Write) -> None:
    first, second = reports(running=2), reports(running=1)
    assert act(admin, first, "drain", mode="hand_over").json["warning"] is None
    assert "no answer begins" in act(admin, second, "drain").json["warning"]
    assert "stay with this worker" in seen(admin, first)["warning"]
    act(admin, second, "undrain")
    reports(second)
    assert seen(admin, first)["warning"] is None


def test_a_new_life_begins_without_a_request_that_has_reached_its_aim(admin: Person, reports: Write) -> None:
    left, stopped, crashed = reports(), reports(), reports()
    for name in (left, stopped, crashed):
        act(admin, name, "drain")
    reports(left, write=workers.leave, state="draining")
    reports(stopped, state="draining", may_stop=True)
    reports(crashed, state="draining", running=1)
    for name in (left, stopped, crashed):
        reports(name, write=workers.register)
    assert {name: seen(admin, name)["state"] for name in (left, stopped, crashed)} == {
        left: "working", stopped: "working", crashed: "draining",
    }  # fmt: skip


def test_a_late_report_does_not_say_that_an_undrained_worker_may_stop(admin: Person, reports: Write) -> None:
    name = reports()
    act(admin, name, "drain")
    act(admin, name, "undrain")
    reports(name, state="draining", may_stop=True)
    assert seen(admin, name)["may_stop"] is False


def test_slots_of_drained_workers_are_not_shared(admin: Person, reports: Write, resources: Resources) -> None:
    name = reports(slots=8)
    reports(slots=2)

    def total() -> int:
        with resources.database.without_user() as tx:
            return workers.total_slots(tx, LOST)

    assert total() == 10
    act(admin, name, "drain")
    assert total() == 2


def test_answers_are_handed_over_to_free_slots_of_living_workers(reports: Write, resources: Resources) -> None:
    leaving = reports(slots=4)
    reports(slots=8, running=5)
    reports(slots=1, running=2)
    reports(slots=16, silent=LOST * 0.75)
    with resources.database.system() as tx:
        assert workers.free_elsewhere(tx, leaving, LOST) == 3


def test_a_drained_fleet_is_not_ready_after_a_while(admin: Person, reports: Write, resources: Resources) -> None:
    from app.ops.verdicts import judge
    from app.store import admin_generations

    name = reports()
    act(admin, name, "drain")
    reports(name, state="draining", may_stop=True)

    def verdict(gap: float) -> tuple[list[str], list[str]]:
        with resources.database.without_user() as tx:
            counted, tally = admin_generations.census(tx, LOST), workers.tally(tx, LOST, gap)
        tallied = {f"workers_{name}": getattr(tally, name) for name in ("alive", "leaving", "lost", "drained")}
        return judge({**counted, **tallied, "slots": tally.slots})

    assert verdict(60) == ([], ["The last worker has drained; another one is expected within seconds."])
    [reason], _ = verdict(0)
    assert reason.startswith("Every living worker is drained by an operator")
    reports()
    assert verdict(0) == ([], [])
