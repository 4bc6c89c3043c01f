"""Files over the native API: stored by what they are, seen by their user alone, removed with their bytes."""

from __future__ import annotations

import io
import os
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from flask_openapi3.openapi import OpenAPI
from sqlalchemy.exc import DBAPIError
from werkzeug.test import TestResponse

from app.api.bodies import FILE_FORM
from app.api.web_process import EXTENSION, WebProcess
from app.config import Settings
from app.domain.errors import InvalidInput
from app.files.disk import DiskStorage
from app.files.errors import StorageDown
from app.files.storage import key_of
from app.services import file_sweep
from app.services.files import Files, NewFile
from app.store import files as file_rows
from app.store.database import execute, fetch
from app.wiring import Resources
from tests import made_files as made
from tests.factories import add_conversation, add_message, new_id, owner
from tests.made_files import HOSTILE, Hostile

from .conftest import FILES as FOLDER
from .conftest import Person

FILES = "/api/v1/files"


def upload(person: Person, data: bytes, name: str = "a.txt", kind: str | None = None, **more: str) -> TestResponse:
    form: dict[str, Any] = {**more, "file": (io.BytesIO(data), name, kind)}
    return person.post(FILES, data=form, content_type="multipart/form-data")


def uploaded(person: Person, data: bytes, name: str = "a.txt") -> dict[str, Any]:
    answer = upload(person, data, name)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json
    return found


def id_of(person: Person) -> str:
    found: str = person.get("/api/v1/me").json["id"]
    return found


def stored(person: Person, data: bytes) -> Path:
    """The place of these bytes of a person on the disk."""
    return Path(FOLDER.name) / key_of(id_of(person), sha256(data).hexdigest())


@pytest.fixture
def files(process: WebProcess) -> Files:
    return process.resources.files


def test_a_file_is_stored_shown_and_downloaded(alice: Person) -> None:
    data = made.png(7, 5, made.chunk(b"eXIf", b"GPS"))
    answer = upload(alice, data, "größe.png", "image/png")
    shown = answer.json
    assert answer.headers["Location"] == f"{FILES}/{shown['id']}"
    assert shown | {"id": "", "created_at": 0} == {
        "id": "", "object": "file", "bytes": len(made.png(7, 5)), "created_at": 0, "expires_at": None,
        "filename": "größe.png", "purpose": "vision", "status": "processed", "media_type": "image/png",
        "width": 7, "height": 5,
    }  # fmt: skip
    assert alice.get(f"{FILES}/{shown['id']}").json == shown
    assert alice.get(FILES).json == {"items": [shown], "next_cursor": None}
    got = alice.get(f"{FILES}/{shown['id']}/content")
    assert got.data == made.png(7, 5), "without the position"
    assert got.headers["Content-Type"] == "image/png"
    assert got.headers["Content-Disposition"] == (
        "attachment; filename=\"gr__e.png\"; filename*=UTF-8''gr%C3%B6%C3%9Fe.png"
    )
    assert got.headers["Content-Length"] == str(len(got.data))
    assert got.headers["X-Content-Type-Options"] == "nosniff"
    assert got.headers["Content-Security-Policy"].startswith("sandbox")
    assert got.headers["Cache-Control"] == "no-store"


def test_a_page_is_downloaded_as_text(alice: Person) -> None:
    shown = uploaded(alice, made.PAGE, "index.html")
    got = alice.get(f"{FILES}/{shown['id']}/content")
    assert got.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert got.headers["Content-Disposition"].startswith("attachment")


@pytest.fixture
def strict(make_app: Any) -> Person:
    """A person of an application with a small limit of unpacked bytes."""
    return Person(make_app(max_unpacked_bytes=1_000_000).test_client(), "strict")


def test_each_hostile_file_is_refused_by_the_field_and_leaves_nothing(strict: Person) -> None:
    # A multipart form has these names in another spelling.
    respelled = {"name with break", "name with spaces", "name with path of Windows"}
    for hostile in HOSTILE:
        if hostile.why not in respelled:
            _refused(strict, hostile)
    assert strict.get(FILES).json["items"] == []
    assert not stored(strict, b"").parent.exists()


def _refused(person: Person, hostile: Hostile) -> None:
    answer = upload(person, hostile.data, hostile.name, hostile.declared)
    assert answer.status_code == 422, (hostile.why, answer.text)
    [error] = answer.json["errors"]
    assert error["field"] == "file", hostile.why
    assert hostile.word in error["detail"], (hostile.why, error)


def test_a_form_that_cannot_be_read_is_refused(alice: Person) -> None:
    kind = "multipart/form-data; boundary=b"
    part = b'--b\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\nhello\r\n'
    named = b'; filename="a.txt"'
    for body, content_type, status, field in (
        (b"{}", "application/json", 415, None),
        (b"x", "multipart/form-data", 415, None),
        (b"", kind, 422, "file"),
        (b"nothing", kind, 400, None),
        (part % (b"file", named), kind, 400, None),
        (part % (b"file", b"") + b"--b--\r\n", kind, 422, "file"),
        (part % (b"other", named) + b"--b--\r\n", kind, 422, "other"),
        (part % (b"file", named) * 2 + b"--b--\r\n", kind, 422, "file"),
        (b"--b--\r\n", kind, 422, "file"),
    ):
        answer = alice.post(FILES, data=body, content_type=content_type)
        assert answer.status_code == status, (body, answer.text)
        assert [error["field"] for error in answer.json["errors"]] == ([field] if field else []), body


def test_another_users_file_is_not_there(alice: Person, bob: Person, files: Files) -> None:
    shown = uploaded(alice, b"secret")
    for path in (f"{FILES}/{shown['id']}", f"{FILES}/{shown['id']}/content", f"{FILES}/file-{'0' * 32}", f"{FILES}/x"):
        assert bob.get(path).status_code == 404
    assert bob.delete(f"{FILES}/{shown['id']}").status_code == 404
    assert bob.get(FILES).json["items"] == []
    with files._database.user(id_of(bob)) as tx, pytest.raises(InvalidInput) as refused:
        files.check_all(tx, id_of(bob), [shown["id"]], "attachments")
    assert refused.value.field == "attachments[0]"
    assert alice.get(f"{FILES}/{shown['id']}").status_code == 200


def test_pages_have_all_files_newest_first(alice: Person) -> None:
    ids = [uploaded(alice, b"%d" % n)["id"] for n in range(5)]
    found, cursor = [], None
    while True:
        page = alice.get(FILES, query_string={"limit": 2, **({"cursor": cursor} if cursor else {})}).json
        found += [one["id"] for one in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert found == ids[::-1]
    assert alice.get(FILES, query_string={"cursor": "x"}).status_code == 422


def test_limits_are_named(make_app: Any) -> None:
    app = make_app(max_file_bytes=2000, file_bytes_per_user=3000, max_files_per_user=3, ratelimit_uploads="6/hour")
    person = Person(app.test_client(), "full")
    large = upload(person, b"x" * 2001)
    assert (large.status_code, large.json["errors"][0]["field"]) == (413, "file")
    assert "MAX_FILE_BYTES" in large.text
    assert upload(person, b"x" * 200_000).status_code == 413
    assert upload(person, b"x" * 2000).status_code == 201
    full = upload(person, b"y" * 1001)
    assert (full.status_code, "FILE_BYTES_PER_USER" in full.text) == (409, True)
    assert [upload(person, b"%d" % n).status_code for n in range(2)] == [201, 201]
    often = upload(person, b"z")
    assert (often.status_code, "RATELIMIT_UPLOADS" in often.text) == (429, True)
    resources = app.extensions[EXTENSION].resources
    with pytest.raises(Exception, match="MAX_FILES_PER_USER"):
        resources.files.store(id_of(person), NewFile("a.txt"), [b"z"])


# --- the service -----------------------------------------------------------------------------------------------------


def test_data_urls_become_attachments_once(alice: Person, files: Files) -> None:
    url = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="  # noqa: E501
    first, again = (files.from_data_url(id_of(alice), url, field="input[0]") for _ in range(2))
    assert (first.id, first.filename, first.width, first.is_attachment) == (again.id, "image.png", 1, True)
    assert files.read(id_of(alice), first.id, 1000)[:4] == b"\x89PNG"
    for wrong in ("data:image/png;base64,AAAA", "https://example.com/a.png", "data:image/png;base64,?"):
        with pytest.raises(InvalidInput) as refused:
            files.from_data_url(id_of(alice), wrong, field="input[0]")
        assert refused.value.field == "input[0]"


def test_a_storage_that_does_not_answer_leaves_no_file(
    alice: Person, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(*_: object) -> None:
        raise StorageDown

    monkeypatch.setattr(DiskStorage, "put", down)
    answer = upload(alice, b"hello")
    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    monkeypatch.undo()
    assert alice.get(FILES).json["items"] == []
    assert uploaded(alice, b"hello")["bytes"] == 5


def test_bytes_that_the_storage_has_lost_are_written_with_the_next_upload(alice: Person, files: Files) -> None:
    """A removal whose transaction was over has taken them."""
    uploaded(alice, b"lost", "a.txt")
    url = "data:text/plain;base64,bG9zdA=="
    for again in (lambda: uploaded(alice, b"lost", "b.txt"), *[lambda: files.from_data_url(id_of(alice), url)] * 2):
        stored(alice, b"lost").unlink()
        again()
        assert stored(alice, b"lost").read_bytes() == b"lost"


def test_large_uploads_wait_for_their_turn(make_app: Any) -> None:
    app = make_app(max_uploads_at_once=1)
    person, process = Person(app.test_client(), "busy"), app.extensions[EXTENSION]
    with process.place_for_body(FILE_FORM, None):
        assert upload(person, b"small").status_code == 201
        refused = upload(person, b"large" * 300_000)
    assert (refused.status_code, "MAX_UPLOADS_AT_ONCE" in refused.text) == (429, True)
    assert refused.headers["Retry-After"]
    assert upload(person, b"large" * 300_000).status_code == 201


# --- removal ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def sweep(resources: Resources, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that makes files older by some seconds, and sweeps as a worker does, to the end."""
    # On a busy machine one sweep would be over before its work is.
    monkeypatch.setattr(file_sweep, "FILE_SWEEP_SECONDS", 120.0)

    def run(seconds: float = 0) -> None:
        with owner(settings.database_url) as cursor:
            cursor.execute("UPDATE files SET used_at = used_at - make_interval(secs => %s)", (seconds,))
        resources.file_sweep.begin_passes()
        resources.file_sweep.sweep()

    return run


def refer(settings: Settings, person: Person, file_id: str) -> str:
    """Add a message with a reference to a file; the id of its conversation."""
    items = f'[{{"type": "message", "content": [{{"type": "input_file", "file_id": "{file_id}"}}]}}]'
    with owner(settings.database_url) as cursor:
        conversation, first = add_conversation(cursor, id_of(person))
        add_message(cursor, conversation, id_of(person), seq=2, parent_id=first, items=items)
    return conversation


def test_a_deleted_file_is_gone_at_once_and_its_bytes_with_the_next_sweep(alice: Person, sweep: Any) -> None:
    first, second = uploaded(alice, b"equal", "a.txt"), uploaded(alice, b"equal", "b.txt")
    place = stored(alice, b"equal")
    assert alice.delete(f"{FILES}/{first['id']}").status_code == 204
    assert alice.get(f"{FILES}/{first['id']}/content").status_code == 404
    assert alice.delete(f"{FILES}/{first['id']}").status_code == 404
    sweep()
    assert place.exists(), "another file has the bytes"
    assert alice.delete(f"{FILES}/{second['id']}").status_code == 204
    sweep()
    assert not place.exists()
    assert uploaded(alice, b"equal")["bytes"] == 5
    assert place.read_bytes() == b"equal"


def test_an_attachment_lives_as_long_as_a_message_refers_to_it(alice: Person, sweep: Any, settings: Settings) -> None:
    used, unused = uploaded(alice, b"used"), uploaded(alice, b"unused")
    conversation = refer(settings, alice, used["id"])
    sweep()
    assert alice.get(f"{FILES}/{unused['id']}").status_code == 200, "its message may be written just now"
    sweep(settings.unused_file_seconds + 1)
    assert alice.get(f"{FILES}/{unused['id']}").status_code == 404
    assert alice.get(f"{FILES}/{used['id']}/content").data == b"used"
    assert alice.delete(f"/api/v1/conversations/{conversation}").status_code == 204
    sweep()
    assert alice.get(f"{FILES}/{used['id']}").status_code == 404
    assert not stored(alice, b"used").exists()


def test_a_file_of_v1_is_kept_without_a_message_until_it_expires(
    alice: Person, sweep: Any, files: Files, settings: Settings
) -> None:
    kept = files.store(id_of(alice), NewFile("a.txt", "user_data"), [b"kept"])
    brief = files.store(id_of(alice), NewFile("b.txt", "user_data", expires_after=3600), [b"brief"])
    batch = files.store(id_of(alice), NewFile("c.jsonl", "batch"), [b"{}"])
    assert batch.expires_at is not None
    sweep(settings.unused_file_seconds + 1)
    assert {one["id"] for one in alice.get(FILES).json["items"]} == {kept.id, brief.id, batch.id}
    with owner(settings.database_url) as cursor:
        cursor.execute("UPDATE files SET expires_at = now() - interval '1 second' WHERE id = %s", (brief.id,))
    assert alice.get(f"{FILES}/{brief.id}").status_code == 404
    sweep()
    assert not stored(alice, b"brief").exists()
    assert stored(alice, b"kept").exists()


def test_an_upload_that_was_killed_leaves_nothing_behind_a_sweep(
    alice: Person, sweep: Any, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before its bytes, behind them, and behind the removal of its row by another worker."""

    class Killed(BaseException):
        pass

    def kill(*_: object) -> None:
        raise Killed

    for where, place in (("put", DiskStorage), ("set_ready", file_rows)):
        with monkeypatch.context() as patched:
            patched.setattr(place, where, kill)
            with pytest.raises(Killed):
                files.store(id_of(alice), NewFile("a.txt"), [where.encode()])
        assert alice.get(FILES).json["items"] == []
    assert stored(alice, b"set_ready").exists()
    sweep(file_sweep.PENDING_FILE_SECONDS + 1)
    assert not stored(alice, b"set_ready").exists()
    storage = DiskStorage(Path(FOLDER.name))
    late, new = (key_of(id_of(alice), sha256(data).hexdigest()) for data in (b"late", b"new"))
    storage.put(late, [b"late"])
    storage.put(new, [b"new"])
    os.utime(stored(alice, b"late"), (1, 1))
    sweep()
    assert not stored(alice, b"late").exists()
    assert stored(alice, b"new").exists(), "an upload may be under way"
    storage.delete(new)


def test_bytes_that_an_upload_counts_on_are_not_removed(
    alice: Person, resources: Resources, files: Files, sweep: Any
) -> None:
    """A removal of equal bytes waits for an upload that has added its row and not yet written."""
    first = uploaded(alice, b"both")
    alice.delete(f"{FILES}/{first['id']}")
    key = key_of(id_of(alice), sha256(b"both").hexdigest())
    with files._database.user(id_of(alice)) as tx:
        file_rows.hold(tx, id_of(alice), key)
        sweep()
        assert stored(alice, b"both").exists()
    sweep()
    assert not stored(alice, b"both").exists()


def test_bytes_that_cannot_be_removed_keep_no_others(
    alice: Person, resources: Resources, sweep: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The storage refuses the first key in both passes, and a name of somebody else lies beside the keys."""
    contents = sorted((sha256(data).hexdigest(), data) for data in (b"stuck 1", b"stuck 2", b"stuck 3"))
    first = contents[0][0]
    for _, data in contents:
        assert alice.delete(f"{FILES}/{uploaded(alice, data)['id']}").status_code == 204
    remove = DiskStorage.delete

    def refuse(storage: DiskStorage, key: str) -> None:
        if key.endswith(first):
            raise StorageDown
        remove(storage, key)

    monkeypatch.setattr(DiskStorage, "delete", refuse)
    foreign = stored(alice, b"").parent / "0.txt"
    foreign.write_text("of somebody else")
    os.utime(foreign, (1, 1))
    storage = DiskStorage(Path(FOLDER.name))
    late = max((b"%d" % n for n in range(20)), key=lambda data: sha256(data).hexdigest())
    storage.put(key_of(id_of(alice), sha256(late).hexdigest()), [late])
    os.utime(stored(alice, late), (1, 1))
    os.utime(stored(alice, contents[0][1]), (1, 1))
    with pytest.raises(StorageDown):
        sweep()
    assert [stored(alice, data).exists() for _, data in contents] == [True, False, False]
    assert not stored(alice, late).exists()
    assert foreign.exists()
    monkeypatch.undo()
    monkeypatch.setattr(file_sweep, "FILE_SWEEP_SECONDS", 120.0)
    sweep()
    assert not stored(alice, contents[0][1]).exists()
    foreign.unlink()


def test_a_row_that_cannot_be_removed_keeps_the_bytes_of_no_other(
    alice: Person, settings: Settings, sweep: Any
) -> None:
    broken, other = uploaded(alice, b"broken row"), uploaded(alice, b"other row")
    assert alice.delete(f"{FILES}/{broken['id']}").status_code == 204
    with owner(settings.database_url) as cursor:
        cursor.execute("DELETE FROM files WHERE id = %s", (other["id"],))
        cursor.execute(f"""
            CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'refused'; END $$;
            CREATE TRIGGER refuse BEFORE DELETE ON files FOR EACH ROW
                WHEN (OLD.id = '{broken["id"]}') EXECUTE FUNCTION refuse();
        """)
    with pytest.raises(DBAPIError, match="refused"):
        sweep()
    assert [stored(alice, data).exists() for data in (b"broken row", b"other row")] == [True, False]
    with owner(settings.database_url) as cursor:
        cursor.execute("DROP TRIGGER refuse ON files")
    sweep()
    assert not stored(alice, b"broken row").exists()


def test_a_sweep_ends_behind_the_key_at_which_its_time_is_over(
    alice: Person, resources: Resources, sweep: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next sweep goes on with the next key, though the first one takes all of the time again and again."""
    contents = [b"slow %d" % n for n in range(3)]
    sweep()
    for data in contents:
        assert alice.delete(f"{FILES}/{uploaded(alice, data)['id']}").status_code == 204
    tried: list[str] = []
    clock = [0.0]

    def take_long(_: DiskStorage, key: str) -> None:
        # The thumbnail of an image goes before its bytes.
        tried.append(key.partition("/")[2].removesuffix(".thumbnail"))
        clock[0] += 1000
        raise StorageDown

    monkeypatch.setattr(file_sweep, "monotonic", lambda: clock[0])
    monkeypatch.setattr(DiskStorage, "delete", take_long)
    resources.file_sweep.begin_passes()
    for n in range(3):
        with pytest.raises(StorageDown):
            resources.file_sweep.sweep()
        assert len(tried) == n + 1
    assert tried == sorted(sha256(data).hexdigest() for data in contents)
    monkeypatch.undo()
    monkeypatch.setattr(file_sweep, "FILE_SWEEP_SECONDS", 120.0)
    sweep()
    assert not any(stored(alice, data).exists() for data in contents)


def test_references_follow_the_items_of_a_message(
    alice: Person, bob: Person, settings: Settings, resources: Any
) -> None:
    own, other = uploaded(alice, b"own")["id"], uploaded(bob, b"other")["id"]

    def references() -> set[str]:
        with resources.database.user(id_of(alice)) as tx:
            return {row.file_id for row in fetch(tx, "SELECT file_id FROM file_references")}

    with owner(settings.database_url) as cursor:
        conversation, first = add_conversation(cursor, id_of(alice))
        items = f'[{{"file_id": "{other}"}}, {{"content": [{{"file_id": "{own}"}}, {{"file_id": 7}}]}}, null]'
        add_message(cursor, conversation, id_of(alice), seq=2, parent_id=first, id=(message := new_id()), items=items)
    assert references() == {own}
    with owner(settings.database_url) as cursor:
        cursor.execute("UPDATE messages SET items = '[]' WHERE id = %s", (message,))
    assert references() == set()


def test_a_hold_keeps_what_is_deleted_and_an_erasure_removes_the_bytes(
    app: OpenAPI, resources: Resources, settings: Settings, sweep: Any
) -> None:
    person = Person(app.test_client(), f"held-{uuid4().hex[:8]}")
    user, place = id_of(person), stored(person, b"held")
    shown = uploaded(person, b"held")
    with owner(settings.database_url) as cursor:
        cursor.execute("INSERT INTO holds (user_id, reason) VALUES (%s, 'case')", (user,))
    assert person.delete(f"{FILES}/{shown['id']}").status_code == 204
    sweep(settings.unused_file_seconds + 1)
    assert place.exists()
    with owner(settings.database_url) as cursor:
        cursor.execute("DELETE FROM holds WHERE user_id = %s", (user,))
    sweep()
    assert not place.exists()
    uploaded(person, b"held")
    assert person.delete("/api/v1/me").status_code == 202
    for _ in range(4):
        with owner(settings.database_url) as cursor:
            cursor.execute("""UPDATE erasures SET requested_at = requested_at - interval '1 minute',
                emptied_at = emptied_at - interval '1 minute' WHERE finished_at IS NULL""")
        resources.own_data.erasures.sweep()
    with resources.database.system() as tx:
        assert execute(tx, "SELECT 1 FROM erasures WHERE user_id = :id", id=user) == 1, "the bytes are still there"
    sweep()
    assert not place.parent.exists()
    resources.own_data.erasures.sweep()
    with resources.database.system() as tx:
        assert execute(tx, "SELECT 1 FROM erasures WHERE user_id = :id", id=user) == 0
