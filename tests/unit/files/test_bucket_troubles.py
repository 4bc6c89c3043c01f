"""A bucket in trouble: requests are repeated a few times and end within seconds, and nothing half written is seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from hashlib import sha256
from time import monotonic
from uuid import UUID

import pytest

from app.files import s3 as bucket
from app.files.address import storage_of
from app.files.errors import BytesMissing, StorageDown
from app.files.storage import Storage, key_of
from tests.fakes.s3 import PART_BYTES, S3, Kind

KEY = key_of(str(UUID(int=1)), sha256(b"a").hexdigest())
# Three parts.
LARGE = bytes(range(256)) * 50_000
# A request and the two that repeat it.
TRIES = 3


@pytest.fixture
def s3() -> Iterator[S3]:
    with S3() as s3:
        yield s3


@pytest.fixture
def storage(s3: S3) -> Storage:
    return storage_of(s3.url(), s3.credentials)


@pytest.fixture
def hasty(s3: S3, storage: Storage, monkeypatch: pytest.MonkeyPatch) -> Storage:
    """The storage with a second for each request, and large bytes in it."""
    storage.put(KEY, [LARGE])
    s3.asked.clear()
    monkeypatch.setattr(bucket, "REQUEST_SECONDS", 1)
    monkeypatch.setattr(bucket, "BRIEF_SECONDS", 1)
    return storage_of(s3.url(), s3.credentials)


def read(storage: Storage, key: str = KEY) -> bytes:
    return b"".join(storage.open(key))


WRITING = ("CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload")


@pytest.mark.parametrize("operation", WRITING)
@pytest.mark.parametrize("kind", ["slow_down", "drop"])
def test_a_write_outlasts_a_short_trouble(s3: S3, storage: Storage, operation: str, kind: Kind) -> None:
    s3.fail(operation, kind, times=2)
    storage.put(KEY, [LARGE])
    assert read(storage) == LARGE
    assert s3.uploads == {}


@pytest.mark.parametrize("operation", WRITING)
@pytest.mark.parametrize("kind", ["slow_down", "drop"])
def test_a_write_that_fails_leaves_what_was_there(s3: S3, storage: Storage, operation: str, kind: Kind) -> None:
    s3.fail(operation, kind)
    with pytest.raises(StorageDown):
        storage.put(KEY, [LARGE])
    assert s3.objects == {}
    assert not s3.uploads, "parts that nothing names cost their owner"
    s3.heal()
    storage.put(KEY, [b"before"])
    s3.fail(operation, kind)
    with pytest.raises(StorageDown):
        storage.put(KEY, [LARGE])
    s3.heal()
    assert read(storage) == b"before"


def test_requests_are_repeated_twice(s3: S3, storage: Storage) -> None:
    storage.put(KEY, [b"a"])
    repeated: list[tuple[str, Callable[[], object]]] = [
        ("CreateMultipartUpload", lambda: storage.put(KEY, [b"b"])),
        ("GetObject", lambda: storage.open(KEY)),
        ("ListObjectsV2", lambda: storage.page("", 10)),
    ]
    for operation, call in repeated:
        s3.asked.clear()
        s3.fail(operation, "slow_down")
        with pytest.raises(StorageDown):
            call()
        assert s3.asked == [operation] * TRIES


def test_an_error_behind_status_200_is_one(s3: S3, storage: Storage) -> None:
    """S3 has sent the status when it finds that it cannot join the parts, or cannot remove one of many keys."""
    s3.fail("CompleteMultipartUpload", "error_inside")
    with pytest.raises(StorageDown):
        storage.put(KEY, [b"a"])
    assert s3.objects == s3.uploads == {}
    s3.heal()
    storage.put(KEY, [b"a"])
    s3.fail("DeleteObjects", "error_inside")
    with pytest.raises(StorageDown):
        storage.delete(KEY)
    assert storage.has(KEY)


def test_a_lost_reply_to_a_write_is_a_storage_that_does_not_answer(s3: S3, storage: Storage) -> None:
    """The repeated end of the upload finds it ended. The bytes are whole, and nothing says that they are missing."""
    s3.fail("CompleteMultipartUpload", "drop_after", times=1)
    with pytest.raises(StorageDown) as raised:
        storage.put(KEY, [LARGE])
    assert not isinstance(raised.value, BytesMissing)
    assert read(storage) == LARGE


def test_a_lost_connection_costs_a_read_nothing(s3: S3, storage: Storage) -> None:
    storage.put(KEY, [LARGE])
    s3.fail("GetObject", "cut", times=2)
    assert read(storage) == LARGE


def test_a_body_that_ends_early_is_never_taken_for_the_whole(s3: S3, storage: Storage) -> None:
    storage.put(KEY, [LARGE])
    s3.fail("GetObject", "cut")
    with pytest.raises(StorageDown):
        read(storage)
    # Each request brings half of what is left; the last three together bring too little to go on.
    assert s3.asked.count("GetObject") == 3 * TRIES


@pytest.mark.parametrize("etags", [True, False])
def test_a_slow_body_is_read_in_several_requests(s3: S3, hasty: Storage, etags: bool) -> None:
    """The seconds are those of one request. A large file over a narrow line takes more. ETags are optional."""
    s3.etags = etags
    s3.fail("GetObject", "slow")
    assert read(hasty) == LARGE
    assert s3.asked.count("GetObject") > 1


def test_a_silent_bucket_holds_a_caller_for_seconds(s3: S3, hasty: Storage) -> None:
    """A silent request is not repeated, so that its thread is free after the seconds of one."""
    calls: list[tuple[str, Callable[[], object]]] = [
        ("CreateMultipartUpload", lambda: hasty.put(KEY, [LARGE])),
        ("UploadPart", lambda: hasty.put(KEY, [LARGE])),
        ("CompleteMultipartUpload", lambda: hasty.put(KEY, [LARGE])),
        ("HeadObject", lambda: hasty.has(KEY)),
        ("DeleteObjects", lambda: hasty.delete(KEY)),
        ("ListObjectsV2", lambda: hasty.page("", 10)),
    ]
    for operation, call in calls:
        s3.fail(operation, "silent")
        begun = monotonic()
        with pytest.raises(StorageDown):
            call()
        assert monotonic() - begun < 15, operation
        s3.heal()
    assert read(hasty) == LARGE
    assert s3.uploads == {}


def test_a_silent_body_is_continued_while_it_brings_enough(s3: S3, hasty: Storage) -> None:
    s3.fail("GetObject", "silent")
    begun = monotonic()
    with pytest.raises(StorageDown):
        read(hasty)
    # Halves of 12.8 MB: 6.4, 3.2, 1.6 and then 0.8, which is too little.
    assert s3.asked.count("GetObject") == 4
    assert monotonic() - begun < 30


def test_bytes_that_change_between_two_requests_are_never_mixed(s3: S3, hasty: Storage) -> None:
    s3.fail("GetObject", "slow", times=1)
    pieces = hasty.open(KEY)
    next(pieces)
    storage_of(s3.url(), s3.credentials).put(KEY, [LARGE[::-1]])
    with pytest.raises(StorageDown):
        list(pieces)


def test_a_removal_may_come_later_than_its_refusal(s3: S3, hasty: Storage) -> None:
    """The file is written again by then. The next upload of equal bytes looks whether they are there."""
    s3.fail("DeleteObjects", "late")
    with pytest.raises(StorageDown):
        hasty.delete(KEY)
    hasty.put(KEY, [LARGE])
    s3.release()
    s3.wait_until(lambda: not s3.objects)
    assert not hasty.has(KEY)


def test_the_parts_are_as_large_as_a_bucket_demands(s3: S3, storage: Storage) -> None:
    assert bucket.PART_BYTES >= PART_BYTES
    storage.put(KEY, (LARGE[at : at + 100_000] for at in range(0, len(LARGE), 100_000)))
    assert s3.asked.count("UploadPart") == 3
    assert read(storage) == LARGE
