"""The audit: each action of an operator has one row without content, and nobody can change it."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from flask_openapi3.openapi import OpenAPI
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from app.domain.audit import SERVICE, Actor
from app.services.audit import Audit
from app.store import audit
from app.wiring import Resources
from tests.factories import owner
from tests.integration.api.conftest import Person, token
from tests.integration.api.test_ops import dead


@pytest.fixture
def admin(app: OpenAPI) -> Person:
    subject = f"admin-{uuid4().hex[:8]}"
    return Person(app.test_client(), subject, {"Authorization": f"Bearer {token(subject, role='admin')}"})


def rows_about(admin: Person, object_id: str) -> list[dict[str, Any]]:
    """The audited actions on an object, newest first, without the looks at the audit."""
    items = admin.get(f"/api/v1/ops/audit?object={object_id}").json["items"]
    return [item for item in items if item["action"] != "audit.read"]


@pytest.mark.parametrize(("do", "action"), [("cancel", "cancelled"), ("requeue", "requeued")])
def test_an_operators_action_has_a_row_without_content(
    admin: Person, alice: Person, resources: Resources, do: str, action: str
) -> None:
    generation = dead(resources, alice)
    answer = admin.post(f"/api/v1/ops/generations/{generation}/{do}", headers={"X-Request-Id": "r-1"})
    assert answer.status_code in (200, 202)
    (row,) = rows_about(admin, generation)
    me, other = admin.get("/api/v1/me").json["id"], alice.get("/api/v1/me").json["id"]
    assert row["action"] == f"generation.{action}"
    assert (row["actor_id"], row["user_id"], row["credential_kind"]) == (me, other, "token")
    assert (row["request_id"], row["address"], row["details"]) == ("r-1", "127.0.0.1", {})
    assert [own["id"] for own in alice.get("/api/v1/me/audit").json["items"]] == [row["id"]]


def test_a_refused_action_on_nothing_has_no_row(admin: Person) -> None:
    nothing = str(uuid4())
    assert admin.post(f"/api/v1/ops/generations/{nothing}/cancel").status_code == 404
    assert rows_about(admin, nothing) == []


def test_changes_of_models_are_audited(admin: Person) -> None:
    name = f"m-{uuid4().hex[:8]}"
    spec = {"provider": "offline", "upstream_name": "offline"}
    assert admin.post("/api/v1/models", json={"name": name, **spec}).status_code == 201
    assert admin.post("/api/v1/models", json={"name": name, **spec}).status_code == 422
    assert admin.client.put(f"/api/v1/models/{name}", json=spec, headers=admin.headers).status_code == 200
    assert admin.patch(f"/api/v1/models/{name}", json={"enabled": False}).status_code == 200
    assert admin.delete(f"/api/v1/models/{name}").status_code in (200, 204)
    done = [row["action"] for row in rows_about(admin, name)]
    assert done == ["model.removed", "model.changed", "model.changed", "model.added"]


def test_a_look_at_the_audit_is_an_action_and_only_operators_may(admin: Person, alice: Person) -> None:
    assert alice.get("/api/v1/ops/audit").status_code == 403
    looked_for = str(uuid4())
    admin.get(f"/api/v1/ops/audit?object={looked_for}")
    me = admin.get("/api/v1/me").json["id"]
    found = admin.get(f"/api/v1/ops/audit?actor={me}&action=audit.read&limit=1").json["items"]
    assert [row["object_id"] for row in found] == [looked_for]


def test_pages_have_every_row_once(admin: Person, resources: Resources) -> None:
    wanted = str(uuid4())
    with resources.database.operator() as tx:
        for n in range(5):
            audit.record(tx, Actor(None), "test.done", "test", wanted, details={"n": n})
    seen: list[Any] = []
    cursor: str | None = ""
    while cursor is not None:
        page = admin.get(f"/api/v1/ops/audit?object={wanted}&action=test.done&limit=2{cursor}").json
        seen += [row["details"]["n"] for row in page["items"]]
        cursor = f"&cursor={page['next_cursor']}" if page["next_cursor"] else None
    assert seen == [4, 3, 2, 1, 0]


@pytest.mark.parametrize("statement", ["UPDATE audit SET action = 'x'", "DELETE FROM audit", "TRUNCATE audit"])
@pytest.mark.parametrize("role", ["user", "operator", "system"])
def test_no_role_of_the_service_changes_a_row(resources: Resources, role: str, statement: str) -> None:
    begin = {
        "user": lambda: resources.database.user(str(uuid4())),
        "operator": resources.database.operator,
        "system": resources.database.system,
    }[role]
    with pytest.raises(DBAPIError, match="permission denied"), begin() as tx:  # type: ignore[operator]
        tx.execute(text(statement))


def test_only_rows_past_their_time_are_pruned(resources: Resources) -> None:
    old, young = str(uuid4()), str(uuid4())
    with resources.database.system() as tx:
        for wanted in (old, young):
            audit.record(tx, SERVICE, "test.done", "test", wanted)
    age(resources, old, 3)
    age(resources, young, 1.9)
    Audit(resources.database, 2).prune()
    assert kept(resources, old, young) == {young}
    # A setting below a day, or an error in the days, removes nothing of the last day.
    age(resources, young, 0.9)
    Audit(resources.database, -5).prune()
    assert kept(resources, young) == {young}


def age(resources: Resources, object_id: str, days: float) -> None:
    """Make the rows of an object ``days`` old, as the owner of the table."""
    with owner(resources.settings.database_url) as cursor:
        cursor.execute(
            "UPDATE audit SET at = now() - make_interval(secs => %s) WHERE object_id = %s", (days * 86400, object_id)
        )


def kept(resources: Resources, *objects: str) -> set[str]:
    with owner(resources.settings.database_url) as cursor:
        cursor.execute("SELECT object_id FROM audit WHERE object_id = ANY(%s)", ([*objects],))
        return {name for (name,) in cursor.fetchall()}
