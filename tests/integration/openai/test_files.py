"""Files in OpenAI's form: the routes of /v1/files, and refusals as the SDKs read them."""

from __future__ import annotations

import io
from typing import Any

from tests import made_files as made
from tests.integration.api.conftest import Person, alice, app, bob, settings

# Fixtures are found by their names in this module.
__all__ = ["alice", "app", "bob", "settings"]


def create(person: Person, data: bytes, name: str = "a.txt", **fields: Any) -> Any:
    form = {"purpose": "user_data", **fields, "file": (io.BytesIO(data), name)}
    return person.post(
        "/v1/files",
        data={name: value for name, value in form.items() if value is not None},
        content_type="multipart/form-data",
    )


def test_a_file_is_created_listed_downloaded_and_deleted(alice: Person) -> None:
    shown = create(alice, b"hello").json
    assert (shown["object"], shown["bytes"], shown["purpose"], shown["status"]) == ("file", 5, "user_data", "processed")
    assert shown["expires_at"] is None
    assert alice.get(f"/v1/files/{shown['id']}").json == shown
    got = alice.get(f"/v1/files/{shown['id']}/content")
    assert (got.data, got.headers["Content-Disposition"].partition(";")[0]) == (b"hello", "attachment")
    deleted = alice.delete(f"/v1/files/{shown['id']}")
    assert deleted.json == {"id": shown["id"], "object": "file", "deleted": True}
    gone = alice.get(f"/v1/files/{shown['id']}")
    assert (gone.status_code, gone.json["error"]["type"]) == (404, "invalid_request_error")


def test_files_expire_as_the_form_says_and_those_of_batches_after_a_month(alice: Person) -> None:
    brief = create(alice, b"a", **{"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}).json
    assert brief["expires_at"] == brief["created_at"] + 3600
    batch = create(alice, b"{}", "in.jsonl", purpose="batch").json
    assert batch["expires_at"] == batch["created_at"] + 2_592_000


def test_pages_follow_after_in_both_orders(alice: Person) -> None:
    ids = [create(alice, b"%d" % n).json["id"] for n in range(3)]
    image = create(alice, made.png(), "a.png", purpose="vision").json["id"]
    page = alice.get("/v1/files?limit=2&order=asc").json
    assert ([one["id"] for one in page["data"]], page["has_more"], page["last_id"]) == (ids[:2], True, ids[1])
    rest = alice.get(f"/v1/files?order=asc&after={ids[1]}").json
    assert ([one["id"] for one in rest["data"]], rest["has_more"]) == ([ids[2], image], False)
    assert [one["id"] for one in alice.get("/v1/files?purpose=vision").json["data"]] == [image]
    assert [one["id"] for one in alice.get("/v1/files").json["data"]] == [image, *ids[::-1]]


def test_refusals_name_the_parameter(alice: Person, bob: Person) -> None:
    for answer, param in (
        (create(alice, b"a", purpose="fine-tune"), "purpose"),
        (create(alice, b"a", purpose="vision"), "purpose"),
        (create(alice, made.png(), "a.png", purpose="batch"), "purpose"),
        (create(alice, b"a", purpose=None), "purpose"),
        (create(alice, b"a", **{"expires_after[seconds]": "60"}), "expires_after[seconds]"),
        (create(alice, b"MZ\0\0"), "file"),
        (create(alice, b"a", color="red"), "color"),
        (alice.get("/v1/files?after=x"), "after"),
    ):
        assert (answer.status_code, answer.json["error"]["param"]) == (400, param), answer.text
    large = create(alice, bytes(33_554_433))
    assert (large.status_code, large.json["error"]["param"]) == (413, "file")
    own = create(alice, b"mine").json["id"]
    for answer in (bob.get(f"/v1/files/{own}"), bob.get(f"/v1/files/{own}/content"), bob.delete(f"/v1/files/{own}")):
        assert answer.status_code == 404
