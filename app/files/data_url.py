"""Data URLs (RFC 2397): the declared type, and the bytes in pieces."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from urllib.parse import unquote_to_bytes

from app.files.errors import Refused

_HEAD = re.compile(r"data:(?P<type>[\w.+-]+/[\w.+-]+)?(?:;[\w.+-]+=[^;,]{0,200})*(?P<base64>;base64)?,", re.IGNORECASE)
# Characters of one piece: a multiple of four, so that a piece of base64 has whole bytes.
_CHARACTERS = 65_536
_LONGEST_HEAD = 1000


def decode(url: str) -> tuple[str, Iterator[bytes]]:
    """The declared type, and the bytes. Raises Refused, also while the bytes are iterated."""
    head = _HEAD.match(url[:_LONGEST_HEAD])
    if head is None:
        raise Refused("must be a data URL: data:image/png;base64,…")
    declared = (head["type"] or "text/plain").lower()
    return declared, _base64(url, head.end()) if head["base64"] else iter((unquote_to_bytes(url[head.end() :]),))


def _base64(url: str, at: int) -> Iterator[bytes]:
    for begin in range(at, len(url), _CHARACTERS):
        piece = url[begin : begin + _CHARACTERS]
        is_last = begin + _CHARACTERS >= len(url)
        try:
            yield base64.b64decode(piece + "=" * (-len(piece) % 4) if is_last else piece, validate=True)
        except (binascii.Error, ValueError):
            raise Refused("has invalid base64") from None
