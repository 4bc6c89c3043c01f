"""Uploads in parts: resumed at the offset that the server has, bounded, and gone with their bytes when they end."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import md5, sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from flask_openapi3.openapi import OpenAPI
from werkzeug.test import TestResponse

from app.api.bodies import FILE_FORM
from app.api.web_process import EXTENSION, WebProcess
from app.config import Settings
from app.domain.errors import InvalidInput, WrongState
from app.files.disk import DiskStorage
from app.files.errors import StorageDown
from app.files.storage import key_of
from app.services import file_sweep
from app.services.files import NewFile
from app.services.uploads import COMPLETION_SECONDS, UPLOAD_SECONDS, UploadEnded, Uploads
from app.store import erasures, uploads
from app.store.database import fetch
from app.wiring import Resources
from tests import made_files as made
from tests.factories import owner
from tests.stack import until

from .conftest import FILES as FOLDER
from .conftest import Person
from .test_api_keys import make, program

UPLOADS = "/api/v1/uploads"


def begin(person: Person, size: int, name: str = "a.txt", **more: Any) -> TestResponse:
    return person.post(UPLOADS, json={"filename": name, "bytes": size, **more})


def begun(person: Person, size: int, name: str = "a.txt", **more: Any) -> str:
    answer = begin(person, size, name, **more)
    assert answer.status_code == 201, answer.text
    assert answer.headers["Location"] == f"{UPLOADS}/{answer.json['id']}"
    made: str = answer.json["id"]
    return made


def append(person: Person, upload: str, data: bytes, offset: int) -> TestResponse:
    form = {"data": (io.BytesIO(data), "part")}
    return person.patch(
        f"{UPLOADS}/{upload}", query_string={"offset": offset}, data=form, content_type="multipart/form-data"
    )


def complete(person: Person, upload: str, **body: Any) -> TestResponse:
    return person.post(f"{UPLOADS}/{upload}/complete", json=body)


def id_of(person: Person) -> str:
    found: str = person.get("/api/v1/me").json["id"]
    return found


def stored(person: Person, data: bytes) -> Path:
    """The place of these bytes of a person on the disk."""
    return Path(FOLDER.name) / key_of(id_of(person), sha256(data).hexdigest())


class Killed(BaseException):
    """The end of a process."""


def late(monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[], object]) -> None:
    """Let something happen while the next bytes are on their way to the storage."""
    put = DiskStorage.put

    def interrupted(storage: DiskStorage, key: str, source: Any) -> None:
        monkeypatch.setattr(DiskStorage, "put", put)
        meanwhile()
        put(storage, key, source)

    monkeypatch.setattr(DiskStorage, "put", interrupted)


@pytest.fixture
def service(process: WebProcess) -> Uploads:
    return process.resources.uploads


@pytest.fixture
def sweep(resources: Resources, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A function that makes all uploads older by some seconds, and sweeps as a worker does, to the end."""
    monkeypatch.setattr(file_sweep, "FILE_SWEEP_SECONDS", 120.0)

    def run(seconds: float = 0) -> None:
        with owner(settings.database_url) as cursor:
            cursor.execute("UPDATE uploads SET expires_at = expires_at - make_interval(secs => %s)", (seconds,))
        resources.file_sweep.begin_passes()
        resources.file_sweep.sweep()

    return run


def rows(resources: Resources, table: str, person: Person) -> int:
    with resources.database.system() as tx:
        return len(fetch(tx, f"SELECT id FROM {table} WHERE user_id = :user", user=id_of(person)))


def test_an_upload_is_resumed_at_the_offset_that_the_server_has(alice: Person) -> None:
    data = made.png(7, 5, made.chunk(b"eXIf", b"GPS"))
    upload = begun(alice, len(data), "größe.png", media_type="image/png")
    assert append(alice, upload, data[:10], 0).json["offset"] == 10
    shown = alice.get(f"{UPLOADS}/{upload}").json
    assert shown | {"created_at": 0, "expires_at": 0} == {
        "id": upload, "object": "upload", "bytes": len(data), "offset": 10, "created_at": 0, "expires_at": 0,
        "filename": "größe.png", "purpose": None, "status": "pending", "file": None,
    }  # fmt: skip
    assert shown["expires_at"] - shown["created_at"] == UPLOAD_SECONDS
    for wrong in (0, 9, 11):
        refused = append(alice, upload, data[10:], wrong)
        assert (refused.status_code, refused.json["type"]) == (409, "/problems/wrong-state")
        assert "10 bytes" in refused.json["detail"]
    early = complete(alice, upload)
    assert (early.status_code, early.json["errors"][0]["field"]) == (422, "bytes")
    assert append(alice, upload, data[10:], 10).json["offset"] == len(data)
    ended = complete(alice, upload, md5=md5(data).hexdigest().upper()).json
    assert (ended["status"], ended["file"]["width"], ended["file"]["media_type"]) == ("completed", 7, "image/png")
    assert alice.get(f"/api/v1/files/{ended['file']['id']}/content").data == made.png(7, 5), "without the position"
    assert complete(alice, upload).json == ended, "a repeated request, whose reply was lost"
    assert alice.get(f"{UPLOADS}/{upload}").json == ended
    assert append(alice, upload, b"x", len(data)).status_code == 409
    assert alice.delete(f"{UPLOADS}/{upload}").status_code == 409
    alice.delete(f"/api/v1/files/{ended['file']['id']}")
    assert alice.get(f"{UPLOADS}/{upload}").json["file"] is None


def test_an_attachment_that_is_known_is_one_file(alice: Person) -> None:
    ids = []
    for _ in range(2):
        upload = begun(alice, 4)
        append(alice, upload, b"same", 0)
        ids.append(complete(alice, upload).json["file"]["id"])
    assert ids[0] == ids[1]


def test_the_file_is_inspected_like_any_other(alice: Person) -> None:
    program_of_windows = b"MZ\0\0 and more"
    upload = begun(alice, len(program_of_windows), "a.png")
    append(alice, upload, program_of_windows, 0)
    refused = complete(alice, upload)
    assert (refused.status_code, refused.json["errors"][0]["field"]) == (422, "file")
    assert alice.get("/api/v1/files").json["items"] == []
    wrong = begun(alice, 3)
    append(alice, wrong, b"abc", 0)
    refused = complete(alice, wrong, md5="0" * 32)
    assert (refused.status_code, refused.json["errors"][0]["field"]) == (422, "md5")
    assert complete(alice, wrong, md5=md5(b"abc").hexdigest()).status_code == 200


def test_refusals_name_the_field(alice: Person) -> None:
    for body, field in (
        ({"filename": "a.txt"}, "bytes"),
        ({"filename": "a.txt", "bytes": 0}, "bytes"),
        ({"filename": "a.txt", "bytes": "7"}, "bytes"),
        ({"filename": "../a.txt", "bytes": 7}, "filename"),
        ({"filename": "", "bytes": 7}, "filename"),
        ({"filename": "a.txt", "bytes": 7, "media_type": "x" * 256}, "media_type"),
    ):
        refused = alice.post(UPLOADS, json=body)
        assert (refused.status_code, refused.json["errors"][0]["field"]) == (422, field), refused.text
    upload = begun(alice, 3)
    for data, offset, field in ((b"", 0, "data"), (b"four", 0, "data"), (b"abc", -1, "offset")):
        refused = append(alice, upload, data, offset)
        assert (refused.status_code, refused.json["errors"][0]["field"]) == (422, field), refused.text
    assert alice.get(f"{UPLOADS}/{upload}").json["offset"] == 0


def test_each_limit_is_named(make_app: Any) -> None:
    app = make_app(
        max_file_bytes=6_000_000, file_bytes_per_user=13_000_000, max_files_per_user=4, max_upload_part_bytes=5_242_880,
        max_upload_parts=2, max_open_uploads_per_user=3, ratelimit_uploads="30/hour",
    )  # fmt: skip
    person = Person(app.test_client(), "full")

    def refused(answer: TestResponse) -> tuple[int, str]:
        return answer.status_code, answer.json["detail"]

    status, why = refused(begin(person, 6_000_001))
    assert (status, "MAX_FILE_BYTES" in why) == (413, True)
    first = begun(person, 6_000_000)
    status, why = refused(append(person, first, bytes(5_242_881), 0))
    assert (status, why) == (413, "The part has more than 5242880 bytes (MAX_UPLOAD_PART_BYTES).")
    status, why = refused(append(person, first, bytes(5_400_000), 0))
    assert (status, "MAX_UPLOAD_PART_BYTES" in why) == (413, True)
    second = begun(person, 6_000_000)
    status, why = refused(begin(person, 1_000_001))
    assert (status, "FILE_BYTES_PER_USER" in why) == (409, True), "pending uploads take room"
    form = {"file": (io.BytesIO(b"x" * 1_000_001), "a.txt")}
    status, why = refused(person.post("/api/v1/files", data=form, content_type="multipart/form-data"))
    assert (status, "FILE_BYTES_PER_USER" in why) == (409, True), "and keep it from files"
    third = begun(person, 3)
    status, why = refused(begin(person, 1))
    assert (status, "MAX_OPEN_UPLOADS_PER_USER" in why) == (409, True)
    assert [append(person, third, b"%d" % n, n).status_code for n in range(2)] == [200, 200]
    status, why = refused(append(person, third, b"2", 2))
    assert (status, "MAX_UPLOAD_PARTS" in why) == (409, True)
    assert person.delete(f"{UPLOADS}/{second}").status_code == 204
    assert begin(person, 1_000_001).status_code == 201, "a cancelled one takes no room"
    while (answer := begin(person, 7_000_000)).status_code == 413:
        pass
    assert (answer.status_code, "RATELIMIT_UPLOADS" in answer.text) == (429, True)


def test_parts_beyond_the_size_of_the_upload_take_room_too(make_app: Any) -> None:
    """Parts whose place is not known may be more than the file needs: one that was sent twice, for example."""
    app = make_app(file_bytes_per_user=2500)
    person = Person(app.test_client(), "twice")
    upload = begun(person, 1000)
    service = app.extensions[EXTENSION].resources.uploads
    statuses = []
    for n in range(4):
        form = {"data": (io.BytesIO(b"%d" % n * 1000), "part")}
        answer = person.post(f"/v1/uploads/{upload}/parts", data=form, content_type="multipart/form-data")
        statuses.append(answer.status_code)
    assert statuses == [200, 200, 409, 409]
    with pytest.raises(WrongState, match="FILE_BYTES_PER_USER"):
        service.create(id_of(person), NewFile("a.txt"), 501)
    assert service.create(id_of(person), NewFile("a.txt"), 500).status == "pending"


@pytest.mark.parametrize("data", [b"large" * 300_000, b"small"], ids=["large", "small"])
def test_files_are_put_together_in_their_turn(make_app: Any, data: bytes) -> None:
    app = make_app(max_uploads_at_once=1)
    person, process = Person(app.test_client(), "busy"), app.extensions[EXTENSION]
    upload = begun(person, len(data))
    append(person, upload, data, 0)
    with process.place_for_body(FILE_FORM, None):
        refused = complete(person, upload)
    assert (refused.status_code, "MAX_UPLOADS_AT_ONCE" in refused.text) == (429, True)
    assert complete(person, upload).status_code == 200


def test_another_users_upload_is_not_there(alice: Person, bob: Person) -> None:
    upload = begun(alice, 5)
    for answer in (
        bob.get(f"{UPLOADS}/{upload}"),
        append(bob, upload, b"hello", 0),
        complete(bob, upload),
        bob.delete(f"{UPLOADS}/{upload}"),
        bob.get(f"{UPLOADS}/x"),
    ):
        assert answer.status_code == 404, answer.text
    assert alice.get(f"{UPLOADS}/{upload}").json["status"] == "pending"


def test_a_key_needs_the_scope_of_the_method(alice: Person) -> None:
    upload = begun(alice, 5)
    reader = program(alice, make(alice, scopes=["read"])["key"])
    writer = program(alice, make(alice, scopes=["generate"])["key"])
    assert reader.get(f"{UPLOADS}/{upload}").status_code == 200
    assert append(reader, upload, b"hello", 0).status_code == 403
    assert writer.get(f"{UPLOADS}/{upload}").status_code == 403
    assert append(writer, upload, b"hello", 0).status_code == 200
    assert complete(writer, upload).json["file"]["bytes"] == 5


# --- trouble ---------------------------------------------------------------------------------------------------------


def test_a_part_that_the_storage_does_not_take_is_sent_again(
    alice: Person, resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(*_: object) -> None:
        raise StorageDown

    upload = begun(alice, 5)
    monkeypatch.setattr(DiskStorage, "put", down)
    assert append(alice, upload, b"hello", 0).status_code == 503
    monkeypatch.undo()
    assert rows(resources, "upload_parts", alice) == 0
    assert append(alice, upload, b"hello", 0).json["offset"] == 5


def test_of_two_requests_for_one_place_one_is_taken(
    alice: Person, resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other request arrives while the bytes of the first one are being written."""
    upload = begun(alice, 6)
    put, answers = DiskStorage.put, []

    def interrupted(storage: DiskStorage, key: str, source: Any) -> None:
        monkeypatch.undo()
        answers.append(append(alice, upload, b"abc", 0))
        put(storage, key, source)

    monkeypatch.setattr(DiskStorage, "put", interrupted)
    late = append(alice, upload, b"xy", 0)
    assert [answer.status_code for answer in (*answers, late)] == [200, 409]
    assert append(alice, upload, b"def", 3).status_code == 200
    ended = complete(alice, upload).json
    assert alice.get(f"/api/v1/files/{ended['file']['id']}/content").data == b"abcdef"
    assert rows(resources, "upload_parts", alice) == 2


def test_of_two_completions_one_makes_the_file(
    alice: Person, service: Uploads, resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = id_of(alice)
    upload = service.create(user, NewFile("a.txt", "user_data"), 6).id
    parts = []
    for data in (b"abc", b"def"):
        form = {"data": (io.BytesIO(data), "part")}
        answer = alice.post(f"/v1/uploads/{upload}/parts", data=form, content_type="multipart/form-data")
        parts.append(answer.json["id"])
    refused = []
    late(monkeypatch, lambda: refused.append(alice.post(f"/v1/uploads/{upload}/complete", json={"part_ids": parts})))
    made = service.complete(user, upload, parts, None).file
    assert [(answer.status_code, answer.headers["Retry-After"]) for answer in refused] == [(429, "5")]
    assert "Another request is completing the upload" in refused[0].text
    assert service.complete(user, upload, parts, None).file == made
    assert len(alice.get("/api/v1/files").json["items"]) == 1
    with pytest.raises(UploadEnded):
        service.complete(user, upload, parts[::-1], None)


def test_a_second_completion_is_not_refused_for_the_room_of_the_first(
    make_app: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = Person(make_app(file_bytes_per_user=1500).test_client(), f"twice-{uuid4().hex[:8]}")
    upload, statuses = begun(person, 1000), []
    append(person, upload, b"x" * 500, 0)
    append(person, upload, b"y" * 500, 500)
    late(monkeypatch, lambda: statuses.append(complete(person, upload).status_code))
    assert complete(person, upload).status_code == 200
    assert statuses == [429], "a refusal that passes"


def test_a_completion_has_its_turn_for_longer_than_other_transactions(
    service: Uploads, resources: Resources, alice: Person
) -> None:
    upload = service.create(id_of(alice), NewFile("a.txt"), 6).id
    with resources.database.user(id_of(alice)) as tx:
        assert uploads.hold_completion(tx, upload, COMPLETION_SECONDS)
        assert [tuple(row) for row in fetch(tx, "SHOW idle_in_transaction_session_timeout")] == [("15min",)]
        with resources.database.user(id_of(alice)) as other:
            assert not uploads.hold_completion(other, upload, COMPLETION_SECONDS)
    with resources.database.user(id_of(alice)) as tx:
        assert [tuple(row) for row in fetch(tx, "SHOW idle_in_transaction_session_timeout")] == [("10s",)]
        assert uploads.hold_completion(tx, upload, COMPLETION_SECONDS)


def test_a_cancel_beside_a_completion_leaves_one_of_them(
    alice: Person, service: Uploads, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload, put = begun(alice, 6), DiskStorage.put
    append(alice, upload, b"abc", 0)
    append(alice, upload, b"def", 3)

    def interrupted(storage: DiskStorage, key: str, source: Any) -> None:
        monkeypatch.undo()
        assert alice.delete(f"{UPLOADS}/{upload}").status_code == 204
        put(storage, key, source)

    monkeypatch.setattr(DiskStorage, "put", interrupted)
    refused = complete(alice, upload)
    assert (refused.status_code, refused.json["detail"]) == (409, "The upload is cancelled.")
    assert alice.get("/api/v1/files").json["items"] == []


# --- the end ---------------------------------------------------------------------------------------------------------


def test_a_cancelled_upload_leaves_no_bytes(alice: Person, resources: Resources, sweep: Callable[..., None]) -> None:
    upload = begun(alice, 8)
    append(alice, upload, b"part", 0)
    assert stored(alice, b"part").exists()
    assert alice.delete(f"{UPLOADS}/{upload}").status_code == 204
    assert alice.delete(f"{UPLOADS}/{upload}").status_code == 204
    assert append(alice, upload, b"more", 4).json["detail"] == "The upload is cancelled."
    sweep()
    assert not stored(alice, b"part").exists()
    assert rows(resources, "upload_parts", alice) == 0
    assert alice.get(f"{UPLOADS}/{upload}").json["status"] == "cancelled"


def test_an_upload_expires_and_leaves_nothing(alice: Person, resources: Resources, sweep: Callable[..., None]) -> None:
    upload = begun(alice, 8)
    append(alice, upload, b"old part", 0)
    sweep(UPLOAD_SECONDS - 60)
    assert stored(alice, b"old part").exists()
    sweep(61)
    assert not stored(alice, b"old part").exists()
    assert alice.get(f"{UPLOADS}/{upload}").json["status"] == "expired"
    for answer in (append(alice, upload, b"x", 8), complete(alice, upload), alice.delete(f"{UPLOADS}/{upload}")):
        assert (answer.status_code, answer.json["detail"]) == (409, "The upload has expired.")
    sweep(file_sweep.ENDED_UPLOAD_SECONDS)
    assert alice.get(f"{UPLOADS}/{upload}").status_code == 404
    assert [rows(resources, table, alice) for table in ("uploads", "upload_parts", "files")] == [0, 0, 0]
    assert not stored(alice, b"").parent.exists()


def test_bytes_stay_while_another_upload_or_a_file_has_them(alice: Person, sweep: Callable[..., None]) -> None:
    begun_three = [begun(alice, 6) for _ in range(3)]
    for upload in begun_three:
        append(alice, upload, b"equal.", 0)
    form = {"file": (io.BytesIO(b"equal."), "b.txt")}
    file = alice.post("/api/v1/files", data=form, content_type="multipart/form-data").json["id"]
    alice.delete(f"{UPLOADS}/{begun_three[0]}")
    alice.delete(f"/api/v1/files/{file}")
    sweep()
    assert stored(alice, b"equal.").exists(), "two uploads have them"
    kept = complete(alice, begun_three[1]).json["file"]["id"]
    alice.delete(f"{UPLOADS}/{begun_three[2]}")
    sweep()
    assert alice.get(f"/api/v1/files/{kept}/content").data == b"equal."
    alice.delete(f"/api/v1/files/{kept}")
    sweep()
    assert not stored(alice, b"equal.").exists()


def test_the_parts_of_a_completed_upload_go_and_the_file_stays(
    alice: Person, resources: Resources, sweep: Callable[..., None]
) -> None:
    whole, halves = begun(alice, 3), begun(alice, 6)
    append(alice, whole, b"one", 0)
    append(alice, halves, b"hal", 0)
    append(alice, halves, b"ves", 3)
    files = [complete(alice, upload).json["file"]["id"] for upload in (whole, halves)]
    sweep()
    assert [stored(alice, data).exists() for data in (b"one", b"halves", b"hal", b"ves")] == [True, True, False, False]
    assert [alice.get(f"/api/v1/files/{file}/content").data for file in files] == [b"one", b"halves"]


def test_the_sweep_beside_a_completion_is_met_as_the_end(
    alice: Person, service: Uploads, sweep: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    upload, opened = begun(alice, 3), DiskStorage.open
    append(alice, upload, b"abc", 0)

    def swept(storage: DiskStorage, key: str) -> Any:
        sweep(UPLOAD_SECONDS + 1)
        return opened(storage, key)

    monkeypatch.setattr(DiskStorage, "open", swept)
    refused = complete(alice, upload)
    assert (refused.status_code, refused.json["detail"]) == (409, "The upload has expired.")


def test_a_hold_keeps_what_has_ended_and_an_erasure_removes_it(
    app: OpenAPI, resources: Resources, settings: Settings, sweep: Callable[..., None]
) -> None:
    person = Person(app.test_client(), f"held-{uuid4().hex[:8]}")
    user, place = id_of(person), stored(person, b"held")
    upload = begun(person, 8)
    append(person, upload, b"held", 0)
    with owner(settings.database_url) as cursor:
        cursor.execute("INSERT INTO holds (user_id, reason) VALUES (%s, 'case')", (user,))
    assert person.delete(f"{UPLOADS}/{upload}").status_code == 204
    sweep(UPLOAD_SECONDS + file_sweep.ENDED_UPLOAD_SECONDS + 1)
    assert place.exists()
    assert rows(resources, "uploads", person) == 1
    with owner(settings.database_url) as cursor:
        cursor.execute("DELETE FROM holds WHERE user_id = %s", (user,))
    sweep()
    assert not place.exists()
    assert rows(resources, "uploads", person) == 0
    append(person, begun(person, 8), b"held", 0)
    assert person.delete("/api/v1/me").status_code == 202
    for _ in range(4):
        with owner(settings.database_url) as cursor:
            cursor.execute("""UPDATE erasures SET requested_at = requested_at - interval '1 minute',
                emptied_at = emptied_at - interval '1 minute' WHERE finished_at IS NULL""")
        resources.own_data.erasures.sweep()
    sweep()
    assert not place.parent.exists()


def test_a_cancel_beside_a_part_leaves_no_bytes(
    alice: Person, resources: Resources, sweep: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = begun(alice, 8)
    append(alice, upload, b"done", 0)

    def end() -> None:
        assert alice.delete(f"{UPLOADS}/{upload}").status_code == 204
        sweep()
        assert not stored(alice, b"done").exists(), "parts that are written do not wait"
        sweep()

    late(monkeypatch, end)
    refused = append(alice, upload, b"late", 4)
    assert (refused.status_code, refused.json["detail"]) == (409, "The upload is cancelled.")
    sweep()
    assert not stored(alice, b"late").exists()
    assert rows(resources, "upload_parts", alice) == 0
    with resources.database.system() as tx:
        assert not fetch(tx, "SELECT id FROM uploads WHERE user_id = :user AND NOT is_settled", user=id_of(alice))


def test_a_part_of_a_killed_process_goes_with_a_cancelled_upload(
    alice: Person, resources: Resources, settings: Settings, sweep: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(*_: object) -> None:
        raise Killed

    upload = begun(alice, 4)
    with monkeypatch.context() as patch:
        patch.setattr(uploads, "set_part_ready", kill)
        with pytest.raises(Killed):
            append(alice, upload, b"left", 0)
    alice.delete(f"{UPLOADS}/{upload}")
    sweep()
    assert stored(alice, b"left").exists(), "the part may be on its way still"
    with owner(settings.database_url) as cursor:
        cursor.execute(
            "UPDATE upload_parts SET created_at = created_at - make_interval(secs => %s)",
            (file_sweep.PENDING_FILE_SECONDS,),
        )
    sweep()
    assert not stored(alice, b"left").exists()
    assert rows(resources, "upload_parts", alice) == 0


@pytest.mark.parametrize("kind", ["part", "file"])
def test_an_erasure_beside_bytes_on_their_way_leaves_none(
    app: OpenAPI, resources: Resources, settings: Settings, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    person = Person(app.test_client(), f"erased-{uuid4().hex[:8]}")
    place, upload = stored(person, b"late"), begun(person, 4)

    def erase() -> None:
        assert person.delete("/api/v1/me").status_code == 202
        for _ in range(4):
            with owner(settings.database_url) as cursor:
                cursor.execute("""UPDATE erasures SET requested_at = requested_at - interval '1 minute',
                    emptied_at = emptied_at - interval '1 minute' WHERE finished_at IS NULL""")
            resources.own_data.erasures.sweep()
            resources.file_sweep.sweep()

    late(monkeypatch, erase)
    if kind == "part":
        answer = append(person, upload, b"late", 0)
    else:
        form = {"file": (io.BytesIO(b"late"), "a.txt")}
        answer = person.post("/api/v1/files", data=form, content_type="multipart/form-data")
    assert answer.status_code == 404
    assert not place.exists()


def test_parts_of_a_cancelled_upload_take_room_until_they_are_removed(
    make_app: Any, of_workers: Callable[[OpenAPI], Resources]
) -> None:
    app = make_app(file_bytes_per_user=2500)
    person = Person(app.test_client(), f"cancelling-{uuid4().hex[:8]}")
    for _ in range(2):
        upload = begun(person, 1200)
        append(person, upload, uuid4().bytes * 75, 0)
        person.delete(f"{UPLOADS}/{upload}")
    refused = begin(person, 1200)
    assert (refused.status_code, "FILE_BYTES_PER_USER" in refused.text) == (409, True)
    of_workers(app).file_sweep.sweep()
    assert begin(person, 1200).status_code == 201


def test_a_repeated_beginning_is_one_upload(alice: Person, bob: Person) -> None:
    def again(person: Person, name: str = "a.txt", key: str = "first") -> TestResponse:
        return person.post(UPLOADS, json={"filename": name, "bytes": 5}, headers={"Idempotency-Key": key})

    made = again(alice)
    assert made.status_code == 201
    assert append(alice, made.json["id"], b"he", 0).status_code == 200
    assert again(alice).json == made.json | {"offset": 2}
    assert len({answer.json["id"] for answer in (made, again(alice, key="other"), again(bob))}) == 3
    refused = again(alice, "b.txt")
    assert (refused.status_code, refused.json["errors"][0]["field"]) == (422, "Idempotency-Key")


def test_a_part_of_a_killed_process_is_replaced(make_app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    person = Person(make_app(max_upload_parts=2).test_client(), f"killed-{uuid4().hex[:8]}")
    upload = begun(person, 4)

    def kill(*_: object) -> None:
        raise Killed

    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(uploads, "set_part_ready", kill)
            with pytest.raises(Killed):
                append(person, upload, b"le", 0)
    assert append(person, upload, b"le", 0).status_code == 200
    assert append(person, upload, b"ft", 2).status_code == 200
    assert complete(person, upload).json["file"]["bytes"] == 4


def test_an_erasure_waits_for_an_upload_before_its_parts(
    resources: Resources, settings: Settings, service: Uploads, alice: Person
) -> None:
    user = id_of(alice)
    upload = service.create(user, NewFile("a.txt"), 5).id
    part = uploads.PartRow(f"part_{uuid4().hex}", upload, 0, 5, "0" * 64)
    with resources.database.user(user) as tx:
        uploads.add_part(tx, user, part)
    sql = "SELECT 1 FROM pg_locks WHERE NOT granted"
    with ThreadPoolExecutor(1) as threads:
        with resources.database.user(user) as tx:
            uploads.get(tx, upload, hold=True)
            erased = threads.submit(_erase_steps, resources, user)
            with owner(settings.database_url) as cursor:
                until(lambda: cursor.execute(sql) or cursor.fetchone(), 10, "that the erasure waits")
            assert uploads.set_part_ready(tx, part.id) is not None
        assert erased.result()["upload_parts"] == 1


def _erase_steps(resources: Resources, user: str) -> Counter[str]:
    with resources.database.system() as tx:
        return erasures.erase_some(tx, user, 100)


def test_a_refused_name_is_no_upload(service: Uploads, alice: Person) -> None:
    with pytest.raises(InvalidInput):
        service.create(id_of(alice), NewFile("a/b.txt"), 5)
