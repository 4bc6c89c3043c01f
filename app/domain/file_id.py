"""Ids and purposes of files, as OpenAI has them. Pure."""

from __future__ import annotations

import re
from typing import Literal

Purpose = Literal["user_data", "vision", "batch", "batch_output"]
FileStatus = Literal["pending", "ready", "deleted"]

_FILE_ID = re.compile(r"file-[0-9a-f]{32}")


def file_id(our_id: str) -> str:
    """The id of a file, from a UUID: ``file-`` and its digits. Ids are in order of their creation, as UUIDv7 are."""
    return f"file-{our_id.replace('-', '')}"


def is_file_id(text: str) -> bool:
    """True for a text that has the form of an id."""
    return _FILE_ID.fullmatch(text) is not None
