"""GIF: size and blocks. Comments and foreign applications' data are left out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from app.files.picture import Picture, check_count, check_left_out, check_size, cut_off
from app.files.pieces import Data, Pieces

SIGNATURES = (b"GIF87a", b"GIF89a")
_EXTENSION, _FRAME, _END = 0x21, 0x2C, 0x3B
_CONTROL, _APPLICATION = 0xF9, 0xFF
# Applications whose data repeats the animation or names its colours.
_KEPT = (b"NETSCAPE2.0", b"ANIMEXTS1.0", b"ICCRGBG1012")
_HEAD_BYTES, _FRAME_BYTES = 13, 10


class Block(NamedTuple):
    """A frame or an extension with its data. ``kind`` is the label of an extension, or _FRAME."""

    kind: int
    start: int
    stop: int


def read(data: Data, most_pixels: int) -> Picture:
    """The image. Raises Refused."""
    if len(data) < _HEAD_BYTES:
        raise cut_off("GIF")
    width, height = _size(data, 6)
    check_size(width, height, most_pixels)
    begin = _HEAD_BYTES + _table_bytes(data[10])
    pieces = Pieces()
    pieces.keep(0, begin)
    end, has_frame = begin, False
    for block in _Blocks(data, begin):
        end = block.stop
        if block.kind == _FRAME:
            check_size(*_size(data, block.start + 5), most_pixels)
            has_frame = True
        if _is_kept(data, block):
            pieces.keep(block.start, block.stop)
        else:
            check_left_out(data, block.start, block.stop)
    if not has_frame:
        raise cut_off("GIF")
    pieces.keep(end, end + 1)
    check_left_out(data, end + 1, len(data))
    return Picture("image/gif", width, height, pieces.all)


def _size(data: Data, at: int) -> tuple[int, int]:
    return int.from_bytes(data[at : at + 2], "little"), int.from_bytes(data[at + 2 : at + 4], "little")


def _table_bytes(flags: int) -> int:
    """The size of the table of colours that these flags announce."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _is_kept(data: Data, block: Block) -> bool:
    if block.kind == _APPLICATION:
        return bytes(data[block.start + 3 : block.start + 14]) in _KEPT
    return block.kind in (_FRAME, _CONTROL)


class _Blocks:
    """Iterates over the blocks up to the end of the image. Raises Refused."""

    def __init__(self, data: Data, begin: int) -> None:
        self._data = data
        self._begin = begin
        self._count = 0

    def __iter__(self) -> Iterator[Block]:
        data, at = self._data, self._begin
        while True:
            if at + _FRAME_BYTES > len(data) and data[at : at + 1] != bytes([_END]):
                raise cut_off("GIF")
            if data[at] == _END:
                return
            if data[at] == _FRAME:
                kind, body = _FRAME, at + _FRAME_BYTES + _table_bytes(data[at + 9]) + 1
            elif data[at] == _EXTENSION:
                kind, body = data[at + 1], at + 2
            else:
                raise cut_off("GIF")
            stop = self._behind_data(body)
            yield Block(kind, at, stop)
            at = stop

    def _behind_data(self, at: int) -> int:
        """The place behind blocks of data, each with its length before it. An empty one is the last."""
        while True:
            self._count += 1
            check_count(self._count)
            if at >= len(self._data):
                raise cut_off("GIF")
            length = self._data[at]
            at += 1 + length
            if not length:
                return at
