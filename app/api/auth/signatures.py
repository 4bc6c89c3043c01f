"""Signed requests (RFC 9421). A key of HMAC_KEYS proves its own user, or the user that the request names."""

from __future__ import annotations

import time

from flask import request

from app.api.auth.caller import Caller
from app.api.auth.tokens import LATEST
from app.api.signatures.address import target_uri
from app.api.signatures.digest import expect_digest
from app.api.signatures.profile import (
    CONTENT_DIGEST,
    COVERED_WHEN_SENT,
    ON_BEHALF_OF,
    SIGNATURE,
    SIGNATURE_INPUT,
    TAG,
    SignatureRefused,
    SignedRequest,
)
from app.api.signatures.verifier import SignatureVerifier
from app.config import Settings
from app.domain.credential import Credential
from app.domain.errors import MalformedInput, SubjectTaken
from app.domain.signing_keys import LONGEST_USER, SigningKey
from app.eventlog.nonces import Nonces
from app.wiring import Resources

_TAGGED = f'tag="{TAG}"'
_READ = (SIGNATURE_INPUT, SIGNATURE, *COVERED_WHEN_SENT)


class SignatureMethod:
    """Authenticates requests by their signature. What such a request opens lasts until the key is removed."""

    def __init__(self, settings: Settings) -> None:
        self._verifier = SignatureVerifier(settings.signing_keys, settings.signature_window_seconds)
        self._public_url = settings.public_url
        # Seconds. A signature from the future is accepted for two windows.
        self._nonce_ttl = 2 * settings.signature_window_seconds + 1

    def authenticate(self, resources: Resources) -> Caller | None:
        """The caller; None for a request without a signature for this service, which has the tag of the profile.

        The digest of the body is compared when the body is read.
        Raises SignatureRefused, also for a subject that only keys act for; LogDown when the nonce cannot be checked;
        MalformedInput for a missing user; UserBlocked, DatabaseDown.
        """
        if _TAGGED not in request.headers.get(SIGNATURE_INPUT, ""):
            # Proxies and browsers sign requests for purposes of their own.
            return None
        signed = self._signed_request()
        verified = self._verifier.verify(signed, time.time())
        if not self._nonces(resources).use(verified.key.id, verified.nonce):
            raise SignatureRefused("nonce used")
        expect_digest(signed.headers.get(CONTENT_DIGEST))
        subject = _subject(verified.key, signed.headers.get(ON_BEHALF_OF))
        try:
            user = resources.users.user(subject, None, Credential("signature", verified.key.id))
        except SubjectTaken:
            raise SignatureRefused("user") from None
        return Caller(user, LATEST)

    def _nonces(self, resources: Resources) -> Nonces:
        return Nonces(resources.redis, resources.settings.redis_namespace, self._nonce_ttl)

    def _signed_request(self) -> SignedRequest:
        headers = {name: value.strip(" \t") for name in _READ if (value := request.headers.get(name)) is not None}
        return SignedRequest(request.method, target_uri(request.environ, request.host, self._public_url), headers)


def _subject(key: SigningKey, on_behalf_of: str | None) -> str:
    """The user for whom a key acts. Raises MalformedInput."""
    if key.user is not None:
        if on_behalf_of is not None:
            raise MalformedInput("This key belongs to one user; X-On-Behalf-Of is for keys without a user.")
        return key.user
    if on_behalf_of is None:
        raise MalformedInput("This key belongs to no user; the header X-On-Behalf-Of has to name one.")
    if not 1 <= len(on_behalf_of) <= LONGEST_USER:
        raise MalformedInput(f"X-On-Behalf-Of needs 1 to {LONGEST_USER} characters.")
    return on_behalf_of
