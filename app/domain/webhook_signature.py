"""Signatures of webhooks by Standard Webhooks 1.0.0, in its symmetric form. Pure.

A signature is HMAC-SHA256 over ``{id}.{timestamp}.{body}``.
OpenAI signs its webhooks in this form, so the SDKs of OpenAI verify ours.
"""

from __future__ import annotations

import hmac
import secrets as random
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Sequence
from hashlib import sha256

PREFIX = "whsec_"
# Bytes of a secret that is made here; Standard Webhooks allows 24 to 64.
SECRET_BYTES = 32
LEAST_SECRET_BYTES = 24
MOST_SECRET_BYTES = 64
# The end of a secret that its owner sees in lists.
_HINT_CHARACTERS = 4


def new_secret() -> str:
    """A random secret as its owner sees it: ``whsec_`` and base64."""
    return PREFIX + b64encode(random.token_bytes(SECRET_BYTES)).decode()


def hint(secret: str) -> str:
    """The part of a secret that lists show."""
    return f"{PREFIX}…{secret[-_HINT_CHARACTERS:]}"


def key_of(secret: str) -> bytes:
    """The bytes of a secret. Raises ValueError, whose text repeats no part of it."""
    try:
        key = b64decode(secret.removeprefix(PREFIX), validate=True)
    except (NotBase64, ValueError):
        raise ValueError("a webhook secret is whsec_ and base64") from None
    if not secret.startswith(PREFIX) or not LEAST_SECRET_BYTES <= len(key) <= MOST_SECRET_BYTES:
        raise ValueError(f"a webhook secret is whsec_ and {LEAST_SECRET_BYTES} to {MOST_SECRET_BYTES} bytes in base64")
    return key


def signature(secret: str, event_id: str, timestamp: int, body: bytes) -> str:
    """One signature, ``v1,<base64>``. ``timestamp`` is the attempt's, in Unix seconds. Raises ValueError."""
    if "." in event_id:
        raise ValueError("the id of an event has no dot: the dot separates the signed parts")
    signed = f"{event_id}.{timestamp}.".encode() + body
    return "v1," + b64encode(hmac.digest(key_of(secret), signed, sha256)).decode()


def headers(secrets: Sequence[str], event_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The three headers of an attempt, signed with each of ``secrets``: after a rotation, the new and the old one.

    ``body`` is the request's body, byte by byte. Raises ValueError for no secret, or for one that is not valid.
    """
    if not secrets:
        raise ValueError("a webhook is signed with at least one secret")
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(signature(secret, event_id, timestamp, body) for secret in secrets),
    }
