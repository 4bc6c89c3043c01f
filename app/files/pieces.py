"""The bytes of an upload as a plan: ranges that stay as they are, and bytes that stand in the place of others."""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator
from hashlib import sha256

# Bytes of an upload: mapped from a file, so that a large one takes no memory of the process.
Data = bytes | mmap.mmap
# A range of the data, or other bytes in its place.
Piece = slice | bytes

CHUNK_BYTES = 65_536


class Pieces:
    """The parts of a file that are kept, in order. Neighbours become one range."""

    def __init__(self) -> None:
        self._pieces: list[Piece] = []

    def keep(self, start: int, stop: int) -> None:
        """Keep a range as it is."""
        last = self._pieces[-1] if self._pieces else None
        if isinstance(last, slice) and last.stop == start:
            self._pieces[-1] = slice(last.start, stop)
        else:
            self._pieces.append(slice(start, stop))

    def add(self, data: bytes) -> None:
        """Add bytes that the file does not have."""
        self._pieces.append(data)

    def prepend(self, data: bytes) -> None:
        """Add bytes before all others."""
        self._pieces.insert(0, data)

    @property
    def size(self) -> int:
        """The number of bytes."""
        return sum(len(one) if isinstance(one, bytes) else one.stop - one.start for one in self._pieces)

    @property
    def all(self) -> tuple[Piece, ...]:
        """The parts."""
        return tuple(self._pieces)


def whole(data: Data) -> tuple[Piece, ...]:
    """All of the data, unchanged."""
    return (slice(0, len(data)),)


def chunks(data: Data, pieces: Iterable[Piece]) -> Iterator[bytes]:
    """The bytes of the pieces, at most CHUNK_BYTES at a time."""
    for piece in pieces:
        if isinstance(piece, bytes):
            yield piece
            continue
        for at in range(piece.start, piece.stop, CHUNK_BYTES):
            yield bytes(data[at : min(at + CHUNK_BYTES, piece.stop)])


def digest_of(data: Data, pieces: Iterable[Piece]) -> tuple[str, int]:
    """The SHA-256 of the bytes, in hexadecimal, and their number."""
    digest, size = sha256(), 0
    for chunk in chunks(data, pieces):
        digest.update(chunk)
        size += len(chunk)
    return digest.hexdigest(), size
