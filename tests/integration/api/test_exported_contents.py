"""The contents of a user's files in the export of everything: whole, streamed, over several archives, never fatal."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask_openapi3.openapi import OpenAPI

from app.api.web_process import EXTENSION
from app.domain.audit import SERVICE
from app.files.errors import BytesMissing, StorageDown
from app.files.storage import Storage, Stored, key_of
from app.services.own_data import exports
from app.services.own_data.exports import Exports
from app.wiring import Resources

from .conftest import Person
from .test_attachments import PNG, upload
from .test_export import EXPORT, unpack


def contents(data: bytes) -> dict[str, bytes]:
    """The files of an archive by the path in it, without the id of the file."""
    unpack(data)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = [name for name in archive.namelist() if name.startswith("files/")]
        return {name.rpartition("/")[2]: archive.read(name) for name in names}


def manifest_of(data: bytes) -> dict[str, Any]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        found: dict[str, Any] = json.loads(archive.read("manifest.json"))
    return found


def test_an_export_has_the_contents_of_all_ready_files(alice: Person, bob: Person, resources: Resources) -> None:
    upload(bob, b"of another user", "bob.txt")
    kept, gone, lost = upload(alice), upload(alice, b"gone", "gone.txt"), upload(alice, b"lost", "lost.txt")
    again = upload(alice, b"some text", "über den Tag.txt")
    assert alice.delete(f"/api/v1/files/{gone}").status_code == 204
    file = resources.files.find(alice.get("/api/v1/me").json["id"], lost)
    resources.settings.file_storage.delete(key_of(file.user_id, file.sha256))
    data = alice.get(EXPORT).data
    assert contents(data) == {"cat.png": PNG, "über den Tag.txt": b"some text"}
    entries = {one["id"]: one for one in manifest_of(data)["contents"]}
    assert entries.keys() == {kept, lost, again}
    assert entries[kept]["file"] == f"files/{kept}/cat.png"
    assert entries[lost] == {"id": lost, "missing": "The storage has no bytes of this file."}


def test_contents_count_as_bytes_of_an_archive(alice: Person, app: OpenAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app.extensions[EXTENSION].resources.own_data.exports, "_most_bytes", 100_000)
    texts = {f"{n}.txt": str(n).encode() * 60_000 for n in range(3)}
    for name, text in texts.items():
        upload(alice, text, name)
    found: dict[str, bytes] = {}
    after, archives = None, 0
    while archives == 0 or after:
        answer = alice.get(EXPORT, query_string={"after": after} if after else {})
        some = contents(answer.data)
        assert len(some) < 2
        found |= some
        after, archives = manifest_of(answer.data)["next"], archives + 1
    assert found == texts
    assert archives >= 3


class Halting:
    """A storage that stops answering in the middle of each file."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self.opened = 0

    def open(self, key: str) -> Iterator[bytes]:
        self.opened += 1
        yield next(iter(self._storage.open(key)))[:10]
        raise StorageDown

    def put(self, key: str, chunks: Any) -> None:
        self._storage.put(key, chunks)

    def has(self, key: str) -> bool:
        return self._storage.has(key)

    def delete(self, key: str) -> None:
        self._storage.delete(key)

    def page(self, after: str, limit: int) -> list[Stored]:
        return self._storage.page(after, limit)


def test_a_storage_that_falls_silent_ends_no_export(alice: Person, resources: Resources) -> None:
    first, second = upload(alice, b"a" * 1000, "a.txt"), upload(alice, b"b" * 1000, "b.txt")
    storage = Halting(resources.settings.file_storage)
    made = Exports(resources.database, storage, resources.own_data.exports._running, 10**6, 1)
    data = b"".join(made.begin(resources.users.user(alice.subject, None), None, SERVICE))
    assert contents(data) == {"a.txt": b"a" * 10}
    cut, missing = manifest_of(data)["contents"]
    assert (cut["id"], missing["id"]) == (first, second)
    assert all("did not answer" in one["missing"] for one in (cut, missing))
    assert storage.opened == 1, "one silence is enough"


class Missing(Halting):
    """A storage that has lost all files, and says so late."""

    def __init__(self, storage: Storage, late: Callable[[], None]) -> None:
        super().__init__(storage)
        self._late = late

    def open(self, key: str) -> Iterator[bytes]:
        self._late()
        raise BytesMissing


def test_an_export_of_missing_files_keeps_its_place(
    alice: Person, resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(4):
        upload(alice, f"text {n}".encode(), f"{n}.txt")
    user, running = resources.users.user(alice.subject, None), resources.own_data.exports._running
    now, renewed = [0.0], list[str]()
    monkeypatch.setattr(exports, "monotonic", lambda: now[0])
    late = exports.RENEW_SECONDS + 1
    storage = Missing(resources.settings.file_storage, lambda: now.append(now.pop() + late))
    renew = running.renew
    monkeypatch.setattr(running, "renew", lambda *given: (renewed.append(given[0]), renew(*given)))
    pieces = list(Exports(resources.database, storage, running, 10**6, 1).begin(user, None, SERVICE))
    assert len(manifest_of(b"".join(pieces))["contents"]) == 4
    # One for each missing file, and the end.
    assert renewed == [user.id] * 5
    assert all(pieces[1:]), "nothing is sent for a missing file"


def test_contents_are_sent_in_small_pieces(make_app: Callable[..., Any]) -> None:
    person = Person(make_app().test_client(), "alice")
    size = 5_000_000
    upload(person, b"RIFF" + (size + 28).to_bytes(4, "little") + b"WAVE" + bytes(range(256)) * (size // 256), "a.wav")
    upload(person, PNG)
    answer = person.get(EXPORT)
    pieces = list(answer.iter_encoded())
    assert max(map(len, pieces)) < 500_000
    assert len(contents(b"".join(pieces))) == 2
