"""The body of a signed upload is compared with its digest piece by piece."""

from __future__ import annotations

import base64
import hashlib

import pytest
from flask import Flask

from app.api.signatures.digest import SignedBody, expect_digest
from app.api.signatures.profile import SignatureRefused

BODY = bytes(range(256)) * 1000


def member(name: str, body: bytes = BODY) -> str:
    digest = hashlib.new(name.replace("-", ""), body).digest()
    return f"{name}=:{base64.b64encode(digest).decode()}:"


def accepts(given: str | None) -> bool:
    """True when the pieces of BODY agree with the digest that was signed."""
    with Flask("test").test_request_context():
        expect_digest(given)
        signed = SignedBody()
        for at in range(0, len(BODY), 65_536):
            signed.add(BODY[at : at + 65_536])
        try:
            signed.check()
        except SignatureRefused:
            return False
        return True


@pytest.mark.parametrize("given", [member("sha-256"), member("sha-512"), f"{member('sha-256')}, {member('sha-512')}"])
def test_the_digest_of_the_body_is_accepted(given: str) -> None:
    assert accepts(given)


@pytest.mark.parametrize(
    "given",
    [
        None,
        "",
        member("sha-256", BODY + b"!"),
        f"{member('sha-256')}, {member('sha-512', b'other')}",
        member("sha-1").replace("sha1", "sha-1"),
        "sha-256=:x:",
        f"{member('sha-256')} trailing",
        "sha-256=:" + "A" * 300 + ":",
    ],
)
def test_another_body_or_no_digest_is_refused(given: str | None) -> None:
    assert not accepts(given)


def test_an_unsigned_body_is_accepted() -> None:
    with Flask("test").test_request_context():
        SignedBody().check()
