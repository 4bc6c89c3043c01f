"""A conversation as everybody sees it who has its address: what was said, and nothing about the user. Pure."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

# The path in front of a token; it is redacted in every log.
PATH = "/s/"
# 256 bits, as text for an address.
_TOKEN_BYTES = 32
_LONGEST_TOKEN = 100
# The parts of messages that are files. A share has none of them.
_FILES = frozenset({"input_image", "input_file", "output_image", "image", "file"})


@dataclass(frozen=True, slots=True)
class SharedMessage:
    """A message of a share. ``model`` is None for a message of the user; ``files``: the number of left out files."""

    role: str
    content: str
    model: str | None
    files: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A shared conversation as it was when it was shared."""

    title: str
    messages: list[SharedMessage]
    created_at: datetime


def new_token() -> str:
    """The text of a new address, which nobody can guess."""
    return secrets.token_urlsafe(_TOKEN_BYTES)


def digest_of(token: str) -> bytes | None:
    """The form in which a token is stored; None for a text that is no token. A fast digest will do: it is random."""
    return hashlib.sha256(token.encode()).digest() if 0 < len(token) <= _LONGEST_TOKEN else None


def files_in(items: Iterable[Any] | None) -> int:
    """The number of files in the items of a message."""
    parts = [item for item in items or () if isinstance(item, dict)]
    for item in list(parts):
        content = item.get("content")
        parts += [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []
    return sum(part.get("type") in _FILES for part in parts)
