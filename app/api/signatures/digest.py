"""The digest of a body (Content-Digest, RFC 9530), which a signature covers."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from hmac import compare_digest

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


# The algorithms of RFC 9530, with the names of hashlib. Other members of the header are ignored, as the RFC has it.
_ALGORITHMS = {"sha-256": "sha256", "sha-512": "sha512"}
_MEMBER = re.compile(r" *(?P<name>[a-z0-9-]+)=:(?P<value>[A-Za-z0-9+/]*={0,2}): *")


class SignedBody:
    """The body of the current request, piece by piece; ``check`` compares it with the digest that was signed.

    The body of an unsigned request is accepted.
    """

    def __init__(self) -> None:
        self._hashes = {name: hashlib.new(kind) for name, kind in _ALGORITHMS.items()} if is_signed() else {}

    def add(self, piece: bytes) -> None:
        """Add the next piece."""
        for digest in self._hashes.values():
            digest.update(piece)

    def check(self) -> None:
        """Raises SignatureRefused."""
        if not self._hashes:
            return
        given: str = g.signed_digest or ""
        if len(given) > LONGEST_DIGEST:
            raise SignatureRefused("digest")
        members = [_MEMBER.fullmatch(member) for member in given.split(",")]
        known = {found["name"]: found["value"] for found in members if found and found["name"] in self._hashes}
        if not known or None in members or not all(self._agrees(name, value) for name, value in known.items()):
            raise SignatureRefused("digest")

    def _agrees(self, name: str, value: str) -> bool:
        try:
            return compare_digest(base64.b64decode(value, validate=True), self._hashes[name].digest())
        except binascii.Error:
            return False
