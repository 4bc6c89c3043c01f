"""The storage of files: one suite over a folder and a bucket."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar
from uuid import UUID

import pytest

from app.files.address import storage_of
from app.files.disk import UNFINISHED_SECONDS, DiskStorage
from app.files.errors import BytesMissing, StorageDown
from app.files.s3 import BRIEF_SECONDS
from app.files.storage import Storage, is_key, key_of
from app.store.openings import AS_SYSTEM


def keys(count: int = 3) -> list[str]:
    """Keys of two users, in order."""
    made = [key_of(str(UUID(int=n % 2 + 1)), sha256(b"%d" % n).hexdigest()) for n in range(count)]
    return sorted(made)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return storage_of(f"file:{tmp_path}/files", {})


def read(storage: Storage, key: str) -> bytes:
    return b"".join(storage.open(key))


def test_bytes_are_read_as_they_were_written(storage: Storage) -> None:
    key, large = keys(1)[0], bytes(range(256)) * 30_000
    storage.put(key, (large[at : at + 65_536] for at in range(0, len(large), 65_536)))
    assert read(storage, key) == large
    pieces = list(storage.open(key))
    assert len(pieces) > 1, "in pieces"
    storage.put(key, [large])
    assert read(storage, key) == large


def test_missing_bytes_are_noticed_before_the_first_piece(storage: Storage) -> None:
    with pytest.raises(BytesMissing):
        storage.open(keys(1)[0])


def test_a_removal_can_be_repeated(storage: Storage) -> None:
    first, second, *_ = keys()
    storage.put(first, [b"a"])
    storage.put(second, [b"b"])
    for _ in range(2):
        storage.delete(first)
    assert read(storage, second) == b"b"
    with pytest.raises(BytesMissing):
        storage.open(first)


def test_a_source_that_fails_leaves_nothing(storage: Storage) -> None:
    def broken() -> Iterator[bytes]:
        yield b"a" * 100_000
        raise ValueError

    with pytest.raises((ValueError, StorageDown)):
        storage.put(keys(1)[0], broken())
    assert storage.page("", 10) == []


def test_pages_have_all_keys_in_order_with_their_times(storage: Storage) -> None:
    assert storage.page("", 10) == []
    for key in keys(7):
        storage.put(key, [key.encode()])
    found, after = [], ""
    while page := storage.page(after, 3):
        assert len(page) <= 3
        found += page
        after = page[-1].key
    assert [one.key for one in found] == keys(7)
    assert all(abs(datetime.now(UTC) - one.at) < timedelta(hours=1) for one in found)


def test_the_storage_knows_what_it_has(storage: Storage) -> None:
    first, second, *_ = keys()
    storage.put(first, [b"a"])
    assert storage.has(first)
    assert not storage.has(second)
    storage.delete(first)
    assert not storage.has(first)


def test_other_names_are_no_keys() -> None:
    assert all(is_key(key) for key in keys())
    for name in (
        "",
        "a",
        "lost+found/a",
        "readme.txt",
        "0-0/a",
        keys()[0] + ".thumbnail",
        keys()[0].upper(),
        "/",
        "a/b/c",
    ):
        assert not is_key(name), name


# --- the folder alone ------------------------------------------------------------------------------------------------


def test_nothing_is_made_before_the_first_file_and_an_empty_folder_goes(tmp_path: Path) -> None:
    storage, key = DiskStorage(tmp_path / "files"), keys(1)[0]
    assert list(tmp_path.iterdir()) == []
    storage.put(key, [b"a"])
    assert (tmp_path / "files" / key).stat().st_mode & 0o777 == 0o600
    storage.delete(key)
    assert list((tmp_path / "files").iterdir()) == []


def test_the_file_of_a_killed_process_is_never_shown_and_goes(tmp_path: Path) -> None:
    import os

    storage, key = DiskStorage(tmp_path), keys(1)[0]
    storage.put(key, [b"a"])
    left = (tmp_path / key).parent / ".unfinished-x"
    left.write_bytes(b"half")
    assert [one.key for one in storage.page("", 10)] == [key]
    assert left.exists(), "it may be written just now"
    long_ago = datetime.now(UTC).timestamp() - UNFINISHED_SECONDS - 10
    os.utime(left, (long_ago, long_ago))
    storage.page("", 10)
    assert not left.exists()


def test_folders_of_others_are_not_looked_at(tmp_path: Path) -> None:
    storage, key = DiskStorage(tmp_path), keys(1)[0]
    storage.put(key, [b"a"])
    (tmp_path / "lost+found").mkdir()
    (tmp_path / "lost+found" / "x").write_text("of the file system")
    assert [one.key for one in storage.page("", 10)] == [key]


def test_a_full_or_closed_disk_is_a_storage_that_does_not_answer(tmp_path: Path) -> None:
    (tmp_path / "files").write_text("a file in the place of the folder")
    with pytest.raises(StorageDown):
        DiskStorage(tmp_path / "files").put(keys(1)[0], [b"a"])


# --- the bucket alone ------------------------------------------------------------------------------------------------


class _Failing(BaseHTTPRequestHandler):
    """A server whose bucket has one object, and which fails whenever one is to be removed."""

    removals: ClassVar[list[str]] = []

    def do_HEAD(self) -> None:
        is_there = self.path.endswith(keys(1)[0])
        self.send_response(200 if is_there else 404)
        self.send_header("Last-Modified", "Mon, 30 Nov 2026 12:00:00 GMT")
        self.send_header("ETag", '"a"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self) -> None:
        self.removals.append(self.path)
        self.send_response(500)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def failing() -> Iterator[Storage]:
    """A bucket of such a server."""
    _Failing.removals.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), _Failing) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        url = f"s3://bucket?endpoint=http%3A%2F%2F127.0.0.1%3A{server.server_port}"
        yield storage_of(url, {"access_key_id": "a", "secret_access_key": "b"})
        server.shutdown()
        thread.join()


def test_a_removal_in_a_bucket_is_not_repeated(failing: Storage) -> None:
    """A repetition could come when an upload has written equal bytes again."""
    with pytest.raises(StorageDown):
        failing.delete(keys(1)[0])
    assert len(_Failing.removals) == 1


def test_a_bucket_knows_what_it_has(failing: Storage) -> None:
    assert failing.has(keys(1)[0])
    assert not failing.has(keys()[-1])


def test_the_transaction_of_a_removal_outlasts_it() -> None:
    """The session's limit of idle time ends the hold on the key."""
    idle = re.search(r"'idle_in_transaction_session_timeout', '(\d+)s'", AS_SYSTEM)
    assert idle
    assert int(idle[1]) > 2 * BRIEF_SECONDS


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("file:", "folder"), ("file://host/a", "folder"), ("/srv/files", "begin"), ("https://a", "begin"),
        ("s3://", "begin"), ("s3://key:secret@bucket", "AWS_ACCESS_KEY_ID"),
        ("s3://bucket?acl=x", "unknown option acl"), ("s3://bucket?endpoint=127.0.0.1:9000", "endpoint"),
    ],
)  # fmt: skip
def test_an_address_that_cannot_be_used_is_refused_at_the_start(url: str, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        storage_of(url, {})


def test_an_address_names_folder_or_bucket() -> None:
    made: Any = storage_of(
        "s3://bucket/some/prefix?endpoint=http%3A%2F%2F127.0.0.1%3A9000&region=eu-west-1", {"a": "b"}
    )
    bucket = made._bucket
    assert (bucket.name, bucket.prefix, bucket.endpoint, bucket.region) == (
        "bucket", "some/prefix", "http://127.0.0.1:9000", "eu-west-1",
    )  # fmt: skip
    assert storage_of("file:/srv/files", {}).__class__ is DiskStorage
