"""The text of an API key: ``unb_<id>_<secret><checksum>``, in base 62.

The checksum finds a mistyped key without a database, and lets scanners of repositories tell a key from any other text.
"""

from __future__ import annotations

import string
from dataclasses import dataclass
from hashlib import sha256
from uuid import UUID
from zlib import crc32

PREFIX = "unb_"
ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
# Bytes of randomness in a secret.
SECRET_BYTES = 32
# Characters for 128, 256 and 32 bits.
ID_CHARACTERS = 22
SECRET_CHARACTERS = 43
CHECKSUM_CHARACTERS = 6
CHARACTERS = len(PREFIX) + ID_CHARACTERS + 1 + SECRET_CHARACTERS + CHECKSUM_CHARACTERS
# The end of a key that its owner sees in lists. It is a part of the checksum.
_HINT_CHARACTERS = 4

_VALUES = {character: value for value, character in enumerate(ALPHABET)}


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was just made. ``text`` is shown once and stored nowhere; ``digest`` is the SHA-256 of its secret."""

    id: str
    text: str
    digest: bytes
    hint: str


@dataclass(frozen=True, slots=True)
class PresentedKey:
    """The id in a key that a request has, and the SHA-256 of the secret in it."""

    id: str
    digest: bytes


def make(key_id: str, secret: bytes) -> NewKey:
    """The key with this id (a UUID) and these SECRET_BYTES random bytes."""
    written = _write(int.from_bytes(secret), SECRET_CHARACTERS)
    body = f"{PREFIX}{_write(UUID(key_id).int, ID_CHARACTERS)}_{written}"
    text = body + _checksum(body)
    return NewKey(key_id, text, _digest(written), f"{PREFIX}…{text[-_HINT_CHARACTERS:]}")


def parse(text: str) -> PresentedKey | None:
    """The parts of a key; None for a text that no key has."""
    body, checksum = text[:-CHECKSUM_CHARACTERS], text[-CHECKSUM_CHARACTERS:]
    if len(text) != CHARACTERS or not text.isascii() or _checksum(body) != checksum:
        return None
    prefix, name, secret = body[: len(PREFIX)], body[len(PREFIX) :][:ID_CHARACTERS], body[-SECRET_CHARACTERS:]
    number = _read(name)
    if prefix != PREFIX or body[-SECRET_CHARACTERS - 1] != "_" or number is None or number >= 1 << 128:
        return None
    return PresentedKey(str(UUID(int=number)), _digest(secret))


def _checksum(body: str) -> str:
    return _write(crc32(body.encode()), CHECKSUM_CHARACTERS)


def _digest(secret: str) -> bytes:
    # A secret is random and long: a fast digest is as good as a slow one.
    return sha256(secret.encode()).digest()


def _write(number: int, characters: int) -> str:
    written = []
    for _ in range(characters):
        number, value = divmod(number, len(ALPHABET))
        written.append(ALPHABET[value])
    return "".join(reversed(written))


def _read(written: str) -> int | None:
    number = 0
    for character in written:
        value = _VALUES.get(character)
        if value is None:
            return None
        number = number * len(ALPHABET) + value
    return number
