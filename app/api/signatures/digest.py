"""The digest of a body (Content-Digest, RFC 9530), which a signature covers."""

from __future__ import annotations

from flask import g
from http_message_signatures import ContentDigest, HTTPMessageSignaturesException

from app.api.signatures.profile import LONGEST_DIGEST, SignatureRefused


def expect_digest(given: str | None) -> None:
    """Keep the digest that the signature of the current request covers; None when it has none."""
    g.signed_digest = given


def is_signed() -> bool:
    """True when the current request was authenticated by its signature."""
    return "signed_digest" in g


def check_body(body: bytes) -> None:
    """Compare the body of the current request with the digest that was signed. Raises SignatureRefused.

    The body of an unsigned request is accepted.
    """
    if is_signed():
        check_digest(g.signed_digest, body)


def check_digest(given: str | None, body: bytes) -> None:
    """Compare a body with the value of its Content-Digest: SHA-256, SHA-512 or both. Raises SignatureRefused.

    A request without a body needs no digest.
    """
    if given is None:
        if body:
            raise SignatureRefused("digest")
        return
    try:
        if len(given) > LONGEST_DIGEST:
            raise SignatureRefused("size")
        ContentDigest.verify(given, body)
    except (HTTPMessageSignaturesException, UnicodeEncodeError):
        raise SignatureRefused("digest") from None
