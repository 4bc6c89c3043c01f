"""Files in a bucket of S3, or of a server that speaks its protocol."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from app.files.errors import BytesMissing, StorageDown
from app.files.storage import Stored

if TYPE_CHECKING:
    from obstore.store import S3Store

# Of one request, in seconds; and bytes that one request of a large upload has.
REQUEST_SECONDS = 20
CONNECT_SECONDS = 3
# Of a removal or a look, which are not repeated here. The transaction that holds the key of a removal must outlast it.
BRIEF_SECONDS = 3
PART_BYTES = 5_242_880


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
        with _errors():
            # Only then is an upload whole or absent: a part that fails ends it.
            self._store.put(key, iter(chunks), use_multipart=True, chunk_size=PART_BYTES, max_concurrency=1)

    def open(self, key: str) -> Iterator[bytes]:
        with _errors():
            found = self._store.get(key)

        def pieces() -> Iterator[bytes]:
            with _errors():
                for piece in found.stream():
                    yield bytes(piece)

        return pieces()

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
def _errors() -> Iterator[None]:
    from obstore.exceptions import BaseError

    try:
        yield
    except FileNotFoundError as error:
        raise BytesMissing from error
    except (BaseError, OSError) as error:
        raise StorageDown from error
