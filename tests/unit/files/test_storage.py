"""The storage of files: one suite over a folder and a bucket."""

from __future__ import annotations

import re
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
from app.files.s3 import BRIEF_SECONDS
from app.files.storage import Storage, is_key, key_of
from app.store.openings import AS_SYSTEM
from tests.fakes.s3 import S3


def keys(count: int = 3) -> list[str]:
    """Keys of two users, in order."""
    made = [key_of(str(UUID(int=n % 2 + 1)), sha256(b"%d" % n).hexdigest()) for n in range(count)]
    return sorted(made)


@pytest.fixture
def s3() -> Iterator[S3]:
    """A bucket whose list has two keys a page, so that each test of the list needs several."""
    with S3(page_keys=2) as s3:
        yield s3


@pytest.fixture(params=["folder", "bucket"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "folder":
        return storage_of(f"file:{tmp_path}/files", {})
    s3: S3 = request.getfixturevalue("s3")
    return storage_of(s3.url("some/prefix +1"), s3.credentials)


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


def test_a_file_may_be_empty(storage: Storage) -> None:
    key = keys(1)[0]
    storage.put(key, [])
    assert storage.has(key)
    assert read(storage, key) == b""
    assert [one.key for one in storage.page("", 10)] == [key]


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
    def broken(size: int) -> Iterator[bytes]:
        yield b"a" * size
        raise ValueError

    for size in (100_000, 12_000_000):
        with pytest.raises((ValueError, StorageDown)):
            storage.put(keys(1)[0], broken(size))
        assert storage.page("", 10) == []
        assert not storage.has(keys(1)[0])


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


def test_a_removal_in_a_bucket_is_not_repeated(s3: S3) -> None:
    """A repetition could come when an upload has written equal bytes again."""
    s3.fail("DeleteObjects", "slow_down")
    with pytest.raises(StorageDown):
        storage_of(s3.url(), s3.credentials).delete(keys(1)[0])
    assert s3.asked == ["DeleteObjects"]


def test_a_prefix_has_no_part_in_another_one(s3: S3) -> None:
    one, other = (storage_of(s3.url(prefix), s3.credentials) for prefix in ("files", "files2"))
    key = keys(1)[0]
    other.put(key, [b"a"])
    assert one.page("", 10) == []
    assert not one.has(key)
    one.delete(key)
    assert list(s3.objects) == [f"files2/{key}"]


@pytest.mark.parametrize("changed", [{"secret_access_key": "wrong"}, {"access_key_id": "AKIDOTHER"}, {"region": "x"}])
def test_a_key_that_a_bucket_does_not_take_is_a_storage_that_does_not_answer(s3: S3, changed: dict[str, str]) -> None:
    region = changed.pop("region", None)
    storage, key = storage_of(s3.url(region=region), {**s3.credentials, **changed}), keys(1)[0]
    calls = (
        lambda: storage.put(key, [b"a"]), lambda: storage.open(key), lambda: storage.has(key),
        lambda: storage.delete(key), lambda: storage.page("", 1),
    )  # fmt: skip
    for call in calls:
        with pytest.raises(StorageDown) as raised:
            call()
        assert type(raised.value) is StorageDown
    assert len(s3.asked) == len(calls), "none is repeated"


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
