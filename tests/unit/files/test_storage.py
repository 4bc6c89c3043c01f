"""The storage of files: one suite over a folder and a bucket."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from app.files.address import storage_of
from app.files.disk import UNFINISHED_SECONDS, DiskStorage
from app.files.errors import BytesMissing, StorageDown
from app.files.storage import Storage, key_of


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


def test_a_full_or_closed_disk_is_a_storage_that_does_not_answer(tmp_path: Path) -> None:
    (tmp_path / "files").write_text("a file in the place of the folder")
    with pytest.raises(StorageDown):
        DiskStorage(tmp_path / "files").put(keys(1)[0], [b"a"])


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
