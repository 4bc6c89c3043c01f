"""Keys of signed requests: the form in which a deployment gives them. Pure."""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error as NotBase64
from dataclasses import dataclass, field

from app.domain.storable import storable

# Bytes. A shorter key than the digest of SHA-256 weakens HMAC (RFC 2104, section 3).
LEAST_KEY_BYTES = 32
MOST_KEY_BYTES = 1024
MOST_KEYS = 1000
# Characters of a user's name.
LONGEST_USER = 255
KEY_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A secret that a program shares with the service. ``user`` is None for a key that acts for any user."""

    id: str
    secret: bytes = field(repr=False)
    user: str | None = None


def parse_keys(text: str) -> tuple[SigningKey, ...]:
    """The keys of ``id:base64[@user]``, separated by commas. Raises ValueError, whose text repeats no part of them."""
    keys = tuple(_parse(number, part.strip()) for number, part in enumerate(text.split(","), 1) if part.strip())
    if len(keys) > MOST_KEYS:
        raise ValueError(f"there are more than {MOST_KEYS} keys")
    if len({key.id for key in keys}) < len(keys):
        raise ValueError("two keys have one id")
    return keys


def _parse(number: int, text: str) -> SigningKey:
    key_id, colon, rest = text.partition(":")
    encoded, at, user = rest.partition("@")
    if not colon:
        raise ValueError(f"key {number} has to be id:base64 or id:base64@user")
    if not KEY_ID.fullmatch(key_id):
        raise ValueError(f"the id of key {number} may have 1 to 64 letters, digits, dots, dashes and underscores")
    try:
        secret = b64decode(encoded, validate=True)
    except (NotBase64, ValueError):
        raise ValueError(f"key {number} is not valid base64") from None
    if not LEAST_KEY_BYTES <= len(secret) <= MOST_KEY_BYTES:
        raise ValueError(f"key {number} needs {LEAST_KEY_BYTES} to {MOST_KEY_BYTES} bytes")
    if at and not _is_user(user):
        raise ValueError(f"the user of key {number} needs 1 to {LONGEST_USER} characters of text")
    return SigningKey(key_id, secret, user if at else None)


def _is_user(user: str) -> bool:
    try:
        return 1 <= len(storable(user)) <= LONGEST_USER
    except ValueError:
        return False
