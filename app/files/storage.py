"""The storage of files' bytes. A key is the id of a user and the SHA-256 of the bytes, so equal bytes have one key."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

_THUMBNAIL = ".thumbnail"
# Other names in a folder or a bucket belong to somebody else.
_KEY = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Stored:
    """Bytes in the storage: their key, and the time at which they were written."""

    key: str
    at: datetime


class Storage(Protocol):
    """Each method raises StorageDown when the storage does not answer, or has no room."""

    def put(self, key: str, chunks: Iterable[bytes]) -> None:
        """Write bytes, whole or not at all, so that a crash of the machine does not lose them."""

    def open(self, key: str) -> Iterator[bytes]:
        """The bytes in pieces. Raises BytesMissing, before the first piece."""

    def has(self, key: str) -> bool:
        """True when the bytes are there."""

    def delete(self, key: str) -> None:
        """Remove bytes, if they are there. It ends, or fails, within a few seconds."""

    def page(self, after: str, limit: int) -> list[Stored]:
        """Up to ``limit`` entries behind the key ``after``, in order of their keys."""


def key_of(user_id: str, sha256: str) -> str:
    """The key of a user's bytes."""
    return f"{user_id}/{sha256}"


def thumbnail_key_of(key: str) -> str:
    """The key of the thumbnail of an image, beside the bytes of the image."""
    return f"{key}{_THUMBNAIL}"


def key_of_thumbnail(name: str) -> str | None:
    """The key of the image to which a thumbnail with this name belongs; None for another name."""
    key = name.removesuffix(_THUMBNAIL)
    return key if key != name and is_key(key) else None


def is_key(name: str) -> bool:
    """True for a name that ``key_of`` makes."""
    return _KEY.fullmatch(name) is not None
