"""Verifies the signature of a request with http-message-signatures, and its parameters by the profile."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from http_message_signatures import (
    HTTPMessageSignaturesException,
    HTTPMessageVerifier,
    HTTPSignatureKeyResolver,
    algorithms,
)

from app.api.signatures.profile import TAG, SignatureRefused, SignedRequest, check_form, check_parameters
from app.domain.signing_keys import LEAST_KEY_BYTES, SigningKey

_PARAMETERS = '"@signature-params"'


@dataclass(frozen=True, slots=True)
class VerifiedSignature:
    """A signature that fits its request: its key, and its nonce, which must be new."""

    key: SigningKey
    nonce: str


class SignatureVerifier:
    """Verifies signed requests of one deployment. Any thread may use it."""

    def __init__(self, keys: Sequence[SigningKey], window_seconds: float) -> None:
        """``window_seconds``: the age of a signature, the offset of a client's clock, and the time until it expires."""
        self._keys = {key.id: key for key in keys}
        self._window = window_seconds
        self._library = _Library(signature_algorithm=algorithms.HMAC_SHA256, key_resolver=_Keys(self._keys))

    def verify(self, request: SignedRequest, now: float) -> VerifiedSignature:
        """The signature of a request; ``now`` is in seconds since 1970. Raises SignatureRefused.

        The digest of the body and the nonce are not checked.
        """
        written = check_form(request)
        try:
            result = self._library.verify(_Message(request), max_age=None, expect_tag=TAG)[0]
        except HTTPMessageSignaturesException:
            raise SignatureRefused("signature") from None
        if result.covered_components[_PARAMETERS] != f"({request.components}){written}":
            # The library accepts other spellings than the one that is signed.
            raise SignatureRefused("form")
        check_parameters(result.parameters, now, self._window)
        return VerifiedSignature(self._keys[str(result.parameters["keyid"])], str(result.nonce))


class _Library(HTTPMessageVerifier):
    """The library's verifier without its clock: the profile checks times with the clock that it is given."""

    def validate_created_and_expires(self, sig_input: Any, max_age: Any = None) -> None:
        """Accept all times."""


class _Keys(HTTPSignatureKeyResolver):
    """The secrets by their ids. An unknown id has a secret that no one knows, so that it costs the time of a known."""

    def __init__(self, keys: Mapping[str, SigningKey]) -> None:
        self._secrets = {key.id: key.secret for key in keys.values()}
        self._unknown = os.urandom(LEAST_KEY_BYTES)

    def resolve_public_key(self, key_id: str) -> bytes:
        """The secret of a key."""
        return self._secrets.get(key_id, self._unknown)


class _Message:
    """A request in the form that the library reads."""

    def __init__(self, request: SignedRequest) -> None:
        self.method = request.method
        self.url = request.target_uri
        self.headers = request.headers
