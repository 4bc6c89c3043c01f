"""Uploads in parts in OpenAI's form: the routes of /v1/uploads, and refusals as the SDKs read them."""

from __future__ import annotations

import io
from hashlib import md5
from typing import Any

from tests.integration.api.conftest import Person, alice, app, bob, settings

# Fixtures are found by their names in this module.
__all__ = ["alice", "app", "bob", "settings"]

PENDING = {"object": "upload", "bytes": 6, "filename": "a.txt", "purpose": "user_data", "status": "pending"}


def create(person: Person, size: int = 6, **fields: Any) -> Any:
    body = {"bytes": size, "filename": "a.txt", "mime_type": "text/plain", "purpose": "user_data", **fields}
    return person.post("/v1/uploads", json={name: value for name, value in body.items() if value is not None})


def add(person: Person, upload: str, data: bytes) -> Any:
    form = {"data": (io.BytesIO(data), "upload")}
    return person.post(f"/v1/uploads/{upload}/parts", data=form, content_type="multipart/form-data")


def complete(person: Person, upload: str, *parts: str, **more: Any) -> Any:
    return person.post(f"/v1/uploads/{upload}/complete", json={"part_ids": list(parts), **more})


def test_parts_become_a_file_in_the_order_of_the_completion(alice: Person) -> None:
    upload = create(alice).json
    assert PENDING.items() <= upload.items()
    assert upload["expires_at"] - upload["created_at"] == 3600
    parts = [add(alice, upload["id"], data).json for data in (b"two", b"one", b"one")]
    assert {part["object"] for part in parts} == {"upload.part"}
    assert {part["upload_id"] for part in parts} == {upload["id"]}
    second, first, spare = (part["id"] for part in parts)
    assert spare != first
    ended = complete(alice, upload["id"], first, second, md5=md5(b"onetwo").hexdigest())
    assert (ended.status_code, ended.json["status"]) == (200, "completed")
    file = ended.json["file"]
    assert (file["object"], file["bytes"], file["purpose"], file["expires_at"]) == ("file", 6, "user_data", None)
    assert alice.get(f"/v1/files/{file['id']}/content").data == b"onetwo"
    assert complete(alice, upload["id"], first, second).json == ended.json
    again = complete(alice, upload["id"], second, first)
    assert (again.status_code, again.headers["x-should-retry"]) == (409, "false")


def test_a_file_expires_as_its_upload_says(alice: Person) -> None:
    upload = create(alice, 1, expires_after={"anchor": "created_at", "seconds": 3600}).json["id"]
    file = complete(alice, upload, add(alice, upload, b"x").json["id"]).json["file"]
    assert file["expires_at"] == file["created_at"] + 3600


def test_a_cancelled_upload_takes_nothing(alice: Person) -> None:
    upload = create(alice).json["id"]
    part = add(alice, upload, b"onetwo").json["id"]
    cancelled = alice.post(f"/v1/uploads/{upload}/cancel")
    assert (cancelled.status_code, cancelled.json["status"]) == (200, "cancelled")
    for answer in (add(alice, upload, b"x"), complete(alice, upload, part)):
        assert (answer.status_code, answer.json["error"]["type"]) == (409, "invalid_request_error")
        assert answer.headers["x-should-retry"] == "false"


def test_refusals_name_the_parameter(alice: Person, bob: Person) -> None:
    upload, other = create(alice).json["id"], create(alice).json["id"]
    half, whole = add(alice, upload, b"one").json["id"], add(alice, upload, b"onetwo").json["id"]
    foreign = add(alice, other, b"onetwo").json["id"]
    for answer, param in (
        (create(alice, purpose="fine-tune"), "purpose"),
        (create(alice, mime_type=None), "mime_type"),
        (create(alice, 0), "bytes"),
        (create(alice, filename="a/b"), "filename"),
        (create(alice, color="red"), "color"),
        (create(alice, expires_after={"anchor": "created_at", "seconds": 1}), "expires_after.seconds"),
        (add(alice, upload, b""), "data"),
        (add(alice, upload, b"onetwothree"), "data"),
        (complete(alice, upload), "part_ids"),
        (complete(alice, upload, half), "part_ids"),
        (complete(alice, upload, half, half), "part_ids"),
        (complete(alice, upload, half, "part_x"), "part_ids[1]"),
        (complete(alice, upload, foreign), "part_ids[0]"),
        (complete(alice, upload, whole, md5="0" * 32), "md5"),
        (complete(alice, upload, whole, md5="x"), "md5"),
    ):
        assert (answer.status_code, answer.json["error"]["param"]) == (400, param), answer.text
    large = create(alice, 33_554_433)
    assert (large.status_code, large.json["error"]["code"]) == (413, "file_too_large")
    for answer in (
        add(bob, upload, b"one"), complete(bob, upload, whole), bob.post(f"/v1/uploads/{upload}/cancel"),
    ):  # fmt: skip
        assert (answer.status_code, answer.json["error"]["type"]) == (404, "invalid_request_error")
    assert complete(alice, upload, whole).status_code == 200
