"""The export of everything: every surface is in it, the manifest is true, and nothing of another user is."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from uuid import UUID, uuid4

import pytest
from flask_openapi3.openapi import OpenAPI

from app.api.web_process import EXTENSION
from app.domain.audit import SERVICE
from app.services.own_data import exports
from app.store import own_data
from app.wiring import Resources
from tests.factories import add_generation, add_message, insert, owner
from tests.stack import until

from .conftest import Hand, Person

EXPORT = "/api/v1/me/export"


def unpack(data: bytes) -> tuple[dict[str, list[Any]], dict[str, Any]]:
    """The rows of each section, and the manifest; checks the manifest against the files."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        manifest = json.loads(archive.read("manifest.json"))
        assert b"manifest.json" in archive.read("README.txt")
        rows = {}
        for file in manifest["files"]:
            raw = archive.read(file["file"])
            assert sha256(raw).hexdigest() == file["sha256"]
            rows[file["file"].removesuffix(".jsonl")] = lines = [json.loads(line) for line in raw.splitlines()]
            assert len(lines) == file["rows"]
        for one in manifest["contents"]:
            assert "missing" in one or sha256(archive.read(one["file"])).hexdigest() == one["sha256"]
        named = {one["file"] for one in [*manifest["files"], *manifest["contents"]] if "file" in one}
        assert {"README.txt", "manifest.json"} | named == set(archive.namelist())
    return rows, manifest


def export(person: Person) -> dict[str, list[Any]]:
    """All sections, over as many archives as there are."""
    whole: dict[str, list[Any]] = {}
    after = None
    while True:
        answer = person.get(EXPORT, query_string={"after": after} if after else {})
        assert answer.status_code == 200, answer.text
        rows, manifest = unpack(answer.data)
        for name, found in rows.items():
            whole.setdefault(name, []).extend(found)
        after = manifest["next"]
        if manifest["complete"]:
            assert after is None
            return whole


def say_everywhere(alice: Person, resources: Resources, marker: str) -> None:
    """Write the marker over every surface."""
    made = alice.start(f"{marker} native", client_msg_id=f"{marker}-key", metadata={"note": f"{marker} meta"})
    Hand(resources, made["generation"]["id"]).run(f"{marker} ", "answered")
    conversation = made["conversation"]["id"]
    assert alice.patch(f"/api/v1/conversations/{conversation}", json={"title": f"{marker} title"}).status_code == 200
    branch = alice.post(f"/api/v1/messages/{made['generation']['message_id']}/regenerate", json={})
    Hand(resources, branch.json["generation"]["id"]).run(f"{marker} again")
    asked = {"input": f"{marker} responses", "instructions": f"{marker} say", "background": True, "model": "offline"}
    assert alice.post("/v1/responses", json=asked).status_code == 200
    talk = alice.post("/v1/conversations", json={"items": [{"role": "user", "content": f"{marker} item"}]})
    assert talk.status_code == 200, talk.text
    assert alice.post("/v1/conversations", json={"metadata": {"note": f"{marker} promised"}}).status_code == 200
    message = {"id": f"{marker}-m", "role": "user", "parts": [{"type": "text", "text": f"{marker} chat"}]}
    chat = {"id": f"{marker}-chat", "messages": [message], "trigger": "submit-message"}
    alice.post("/api/chat", json=chat).close()
    imported = {
        "format": "unbroken.conversation",
        "version": 1,
        "conversation": {"title": f"{marker} imported", "created_at": "2020-01-01T00:00:00Z"},
        "messages": [
            {
                "parent": None,
                "role": "user",
                "status": "completed",
                "content": f"{marker} old",
                "created_at": "2020-01-01T00:00:00Z",
            }
        ],
    }
    answer = alice.post("/api/v1/conversations/import", json=imported, headers={"Idempotency-Key": f"{marker}-import"})
    assert answer.status_code == 201, answer.text


def unlisted(alice: Person, resources: Resources, marker: str) -> None:
    """A conversation as chat completions make them."""
    from app.domain.commands import StartGeneration

    user = resources.users.user(alice.subject, None)
    resources.starter.start(user, StartGeneration(f"{marker} completion", model="offline", listed=False))


def test_everything_of_a_user_is_in_it(alice: Person, bob: Person, resources: Resources) -> None:
    marker, other = f"marker{uuid4().hex}", f"other{uuid4().hex}"
    say_everywhere(alice, resources, marker)
    unlisted(alice, resources, marker)
    bob.start(other)
    rows = export(alice)
    assert [row["subject"] for row in rows["account"]] == [alice.subject]
    text = json.dumps(rows)
    for piece in (
        "native", "meta", "title", "answered", "again", "responses", "say", "item", "promised", "chat", "imported",
        "old", "completion",
    ):  # fmt: skip
        assert f"{marker} {piece}" in text, piece
    for piece in ("key", "m", "chat", "import"):
        assert f"{marker}-{piece}" in text, piece
    assert other not in text
    assert len([row for row in rows["conversations"] if not row["listed"]]) == 1
    # Two rows when midnight has passed between the answers.
    assert sum(row["generations"] for row in rows["usage"]) == 2
    # Both branches: two answers to one message.
    parents = [row["parent_id"] for row in rows["messages"] if row["role"] == "assistant"]
    assert len(parents) > len(set(parents))


def test_a_large_export_has_several_whole_archives(
    alice: Person, app: OpenAPI, resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = resources.users.user(alice.subject, None)
    same_time = datetime(2024, 5, 1, 12, 0, 0, 123456, tzinfo=UTC)
    with owner(str(resources.settings.database_url)) as cursor:
        for number in range(7):
            generation = add_generation(cursor, user.id, "completed", created_at=same_time)
            cursor.execute("SELECT conversation_id FROM generations WHERE id = %s", (generation,))
            (conversation,) = cursor.fetchone()
            add_message(cursor, conversation, user.id, seq=3, content=f"{number}é" * 900, created_at=same_time)
        day = {"user_id": user.id, "model": "m", "currency": "", "generations": 1, "input_tokens": 1}
        for number in range(1, 4):
            insert(cursor, "usage_days", {**day, "day": f"2026-01-0{number}", "output_tokens": number, "cost": "0.10"})
    monkeypatch.setattr(own_data, "PAGE_ROWS", 3)
    monkeypatch.setattr(own_data, "PAGE_BYTES", 2500)
    whole = export(alice)
    assert {len(whole["messages"]), len(whole["generations"])} == {21, 7}
    found = app.extensions[EXTENSION].resources.own_data.exports
    monkeypatch.setattr(found, "_most_bytes", 4000)
    assert json.loads(zipfile.ZipFile(io.BytesIO(alice.get(EXPORT).data)).read("manifest.json"))["complete"] is False
    again = export(alice)
    # The second export is an action of its own.
    assert [len(found.pop("audit")) for found in (whole, again)] == [1, 3]
    assert again == whole


def position(section: str, *key: object) -> str:
    return base64.urlsafe_b64encode(json.dumps([section, key]).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "after",
    ["", "x", "eyJ", "WyJtZXNzYWdlcyIsWyJ4IiwieCJdXQ", "WyJub3doZXJlIixbXV0", "WyJ1c2FnZSIsWyIyMDI2LTAxLTAxIl1d", "é",
     "WzEsMl0", "WyJjaGF0cyIsWyJcdTAwMDAiXV0", "bnVsbA",
     # A number; forms of an id, a day and a time that Python reads and PostgreSQL does not.
     position("conversations", 5), position("conversations", f"urn:uuid:{UUID(int=1)}"),
     position("usage", "2026-W01-1", "m", ""), position("preferences", "2026-W01-1T00:00:00+00:00")],
)  # fmt: skip
def test_a_position_that_is_none_is_refused(alice: Person, after: str) -> None:
    refused = alice.get(EXPORT, query_string={"after": after})
    assert (refused.status_code, refused.json["errors"][0]["field"]) == (400, "after")


def test_a_user_has_one_running_export(alice: Person, bob: Person, app: OpenAPI, resources: Resources) -> None:
    """Over all processes, and its place is free again when it ends or breaks off."""
    user = resources.users.user(alice.subject, None)
    storage, places = resources.settings.file_storage, resources.own_data.exports._running
    other = exports.Exports(resources.database, storage, places, 10**6, 1)
    running = other.begin(user, None, SERVICE)
    assert b"".join(running)
    running = other.begin(user, None, SERVICE)
    refused = alice.get(EXPORT)
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "5")
    assert "running already" in refused.json["detail"]
    with pytest.raises(exports.Overloaded, match="MAX_EXPORTS_AT_ONCE"):
        other.begin(resources.users.user(bob.subject, None), None, SERVICE)
    running.close()  # as the server does when a client has left
    assert alice.get(EXPORT).status_code == 200


def test_no_transaction_waits_for_the_client(alice: Person, resources: Resources) -> None:
    alice.start("a word")
    pieces = resources.own_data.exports.begin(resources.users.user(alice.subject, None), None, SERVICE)
    next(pieces)

    def waiting() -> int:
        with owner(str(resources.settings.database_url)) as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in%' AND datname = current_database()"
            )
            return int(cursor.fetchone()[0])

    # Threads of the application have short transactions beside it. PostgreSQL would end one of the export after ten
    # seconds (idle_in_transaction_session_timeout).
    until(lambda: waiting() == 0, timeout=5, what="no transaction")
    pieces.close()  # type: ignore[attr-defined]


def test_exports_have_a_limit_of_their_own(make_app: Any) -> None:
    app = make_app(ratelimit_exports="1/hour")
    person = Person(app.test_client(), "carol")
    assert person.get(EXPORT).status_code == 200
    refused = person.get(EXPORT)
    assert (refused.status_code, "RATELIMIT_EXPORTS" in refused.json["detail"]) == (429, True)
    assert person.get("/api/v1/me").status_code == 200


def test_an_export_is_audited(alice: Person) -> None:
    assert alice.get("/api/v1/me/export").status_code == 200
    actions = [row["action"] for row in alice.get("/api/v1/me/audit").json["items"]]
    assert actions.count("export.begun") == 1
