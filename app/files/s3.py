"""Files in a bucket of S3, or of a server that speaks its protocol."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from app.files.errors import BytesMissing, StorageDown
from app.files.pieces import CHUNK_BYTES
from app.files.storage import Stored

if TYPE_CHECKING:
    from obstore import GetOptions, GetResult
    from obstore.store import S3Store

# Of one request, in seconds; and bytes that one request of a large upload has.
REQUEST_SECONDS = 20
CONNECT_SECONDS = 3
# Of a removal or a look, which are not repeated here. The transaction that holds the key of a removal must outlast it.
BRIEF_SECONDS = 3
PART_BYTES = 5_242_880
# Bytes that a request has brought of a body when its seconds are over, so that another one brings more.
LEAST_BODY_BYTES = 1_048_576


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket with the prefix of all its keys. Without an endpoint it is one of AWS.

    ``credentials`` are the names and values of obstore's configuration; empty: those of the machine.
    """

    name: str
    prefix: str
    endpoint: str | None
    region: str
    credentials: dict[str, str]


class S3Storage:
    """A Storage in a bucket. The library is loaded, and its connections are made, at the first use."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def put(self, key: str, chunks: Iterable[bytes]) -> None:
        with _errors(missing=StorageDown):
            # Only then is an upload whole or absent: a part that fails ends it.
            self._store.put(key, iter(chunks), use_multipart=True, chunk_size=PART_BYTES, max_concurrency=1)

    def open(self, key: str) -> Iterator[bytes]:
        with _errors():
            found = self._store.get(key)

        return self._pieces(key, found)

    def _pieces(self, key: str, found: GetResult) -> Iterator[bytes]:
        """The body. It may take longer than a request: the next request continues behind what has come."""
        from obstore.exceptions import BaseError

        at, size, etag = 0, found.meta["size"], found.meta["e_tag"]
        unchanged: GetOptions = {"if_match": etag} if etag is not None else {}
        while True:
            begin = at
            try:
                for piece in found.stream(min_chunk_size=CHUNK_BYTES):
                    at += len(piece)
                    yield bytes(piece)
                return
            except (BaseError, OSError) as error:
                if at == size:
                    return
                if at - begin < LEAST_BODY_BYTES:
                    raise StorageDown from error
            with _errors():
                found = self._store.get(key, options={**unchanged, "range": {"offset": at}})

    def delete(self, key: str) -> None:
        with _errors(), suppress(FileNotFoundError):
            self._brief_store.delete(key)

    def has(self, key: str) -> bool:
        with _errors():
            try:
                self._brief_store.head(key)
            except FileNotFoundError:
                return False
        return True

    def page(self, after: str, limit: int) -> list[Stored]:
        with _errors():
            for some in self._store.list(offset=after or None, chunk_size=limit):
                found = [Stored(one["path"], one["last_modified"]) for one in some]
                return sorted(found, key=lambda one: one.key)
        return []

    @cached_property
    def _store(self) -> S3Store:
        return self._connect(REQUEST_SECONDS, 2)

    @cached_property
    def _brief_store(self) -> S3Store:
        return self._connect(BRIEF_SECONDS, 0)

    def _connect(self, seconds: int, retries: int) -> S3Store:
        from obstore.store import S3Store

        bucket = self._bucket
        config: dict[str, Any] = {"region": bucket.region, **bucket.credentials}
        if bucket.endpoint is not None:
            config["endpoint"] = bucket.endpoint
        return S3Store(
            bucket.name,
            prefix=bucket.prefix or None,
            client_options={
                "timeout": timedelta(seconds=seconds),
                "connect_timeout": timedelta(seconds=CONNECT_SECONDS),
                "allow_http": bool(bucket.endpoint and bucket.endpoint.startswith("http://")),
            },
            retry_config={"max_retries": retries, "retry_timeout": timedelta(seconds=seconds)},
            **config,
        )


@contextmanager
def _errors(missing: type[StorageDown] = BytesMissing) -> Iterator[None]:
    """``missing``: the error for a bucket, an object or an upload that is not there."""
    from obstore.exceptions import BaseError

    try:
        yield
    except FileNotFoundError as error:
        raise missing from error
    except (BaseError, OSError) as error:
        raise StorageDown from error
