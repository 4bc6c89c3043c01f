"""Texts: UTF-8 without control characters. A drawing in SVG is a text that runs, and is refused."""

from __future__ import annotations

import codecs
import re

from app.files.errors import Refused
from app.files.pieces import Data, chunks, whole

# Tabs, breaks, form feeds and the sign that begins a colour in logs of terminals are allowed.
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f]")
_HEAD_BYTES = 4096
_MARKUP = re.compile(r"\s*<")
_SVG = re.compile(r"<(?:[\w-]{1,40}:)?svg[\s>/]", re.IGNORECASE)
_HTML = re.compile(r"<(?:!doctype\s+html|html)[\s>]", re.IGNORECASE)


def is_text(data: Data) -> bool:
    """True for UTF-8 without control characters."""
    if _CONTROL.search(data):
        return False
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for chunk in chunks(data, whole(data)):
            decoder.decode(chunk)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def check_no_drawing(data: Data) -> None:
    """Refuse SVG. Raises Refused."""
    head = bytes(data[:_HEAD_BYTES]).decode("utf-8", "ignore").removeprefix("\ufeff")
    found = _SVG.search(head) if _MARKUP.match(head) else None
    if found and not _HTML.search(head, 0, found.start()):
        raise Refused("SVG is not accepted, because it can run scripts: send the drawing as PNG")
