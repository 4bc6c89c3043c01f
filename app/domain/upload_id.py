"""Ids and states of uploads in parts, as OpenAI has them. Pure."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Literal

UploadStatus = Literal["pending", "completed", "cancelled", "expired"]

_UPLOAD_ID = re.compile(r"upload_[0-9a-f]{32}")


def upload_id(our_id: str) -> str:
    """The id of an upload, from a UUID: ``upload_`` and its digits."""
    return f"upload_{our_id.replace('-', '')}"


def keyed_upload_id(user_id: str, key: str) -> str:
    """The id of the upload that a user begins with an idempotency key."""
    return f"upload_{sha256(f'{user_id} {key}'.encode()).hexdigest()[:32]}"


def part_id(our_id: str) -> str:
    """The id of a part, from a UUID: ``part_`` and its digits."""
    return f"part_{our_id.replace('-', '')}"


def is_upload_id(text: str) -> bool:
    """True for a text that has the form of an upload's id."""
    return _UPLOAD_ID.fullmatch(text) is not None
