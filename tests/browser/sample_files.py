"""Files for tests of the page, as Playwright takes them: pictures that are drawn here, and others of any size."""

from __future__ import annotations

import struct
import zlib

from playwright.sync_api import FilePayload


def picture(name: str, width: int = 320, height: int = 240, shade: int = 0) -> FilePayload:
    """A PNG with a slope of colours; ``shade`` tells several of them apart."""
    rows = b"".join(
        b"\0" + b"".join(bytes(((x * 255) // width, (y * 255) // height, shade)) for x in range(width))
        for y in range(height)
    )
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    body = b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)
    return {"name": name, "mimeType": "image/png", "buffer": body}


def plain(name: str, text: str) -> FilePayload:
    """A text file."""
    return {"name": name, "mimeType": "text/plain", "buffer": text.encode()}


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
