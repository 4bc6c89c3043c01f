"""The profile of signed requests: covered components, parameters, times and sizes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from app.api.errors import Unauthenticated

TAG = "unbroken"
PARAMETERS = frozenset({"created", "expires", "nonce", "keyid", "alg", "tag"})
SIGNATURE_INPUT, SIGNATURE, CONTENT_DIGEST = "signature-input", "signature", "content-digest"
ON_BEHALF_OF = "x-on-behalf-of"
# Headers that a signature has to cover when a request has them, in this order behind the method and the address.
COVERED_WHEN_SENT = (CONTENT_DIGEST, "idempotency-key", "content-type", ON_BEHALF_OF)
# Characters.
LONGEST_SIGNATURE_INPUT = 2048
LONGEST_SIGNATURE = 256
LONGEST_DIGEST = 256
LONGEST_NONCE = 128
# One signature. Its components have no parameters, and its digest is that of SHA-256: 43 characters and one of padding.
# The last of the 43 holds four bits, so that each digest has one spelling.
_INPUT = re.compile(r"(?P<label>[a-z*][a-z0-9_.*-]{0,63})=\((?P<components>[a-z@\" -]*)\)(?P<parameters>;.+)")
_SIGNATURE = re.compile(r"(?P<label>[^=]+)=:[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=:")


class SignatureRefused(Unauthenticated):
    """The signature is not valid. ``reason`` names the part that is wrong, for the log of the service."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"The signature is not valid: {reason}.", presented=True)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """The parts of a request that its signature covers. ``headers`` have names in lower case."""

    method: str
    target_uri: str
    headers: Mapping[str, str]

    @property
    def components(self) -> str:
        """The components that the signature of this request has to cover, as its Signature-Input lists them."""
        names = ["@method", "@target-uri", *(name for name in COVERED_WHEN_SENT if name in self.headers)]
        return " ".join(f'"{name}"' for name in names)


def check_form(request: SignedRequest) -> str:
    """The parameters of the only signature of a request, as they are written. Raises SignatureRefused."""
    given, signature = request.headers.get(SIGNATURE_INPUT, ""), request.headers.get(SIGNATURE, "")
    if len(given) > LONGEST_SIGNATURE_INPUT or len(signature) > LONGEST_SIGNATURE:
        raise SignatureRefused("size")
    form, value = _INPUT.fullmatch(given), _SIGNATURE.fullmatch(signature)
    if form is None or value is None or form["label"] != value["label"]:
        raise SignatureRefused("form")
    if form["components"] != request.components:
        raise SignatureRefused("components")
    return form["parameters"]


def check_parameters(parameters: Mapping[str, object], now: float, window: float) -> None:
    """Check the parameters of a verified signature; ``now`` and ``window`` are in seconds. Raises SignatureRefused."""
    if parameters.keys() != PARAMETERS:
        raise SignatureRefused("parameters")
    created, expires, nonce = parameters["created"], parameters["expires"], parameters["nonce"]
    assert isinstance(created, int)
    assert isinstance(expires, int)
    if abs(now - created) > window:
        raise SignatureRefused("created")
    if expires <= now or not 0 < expires - created <= window:
        raise SignatureRefused("expires")
    if not 1 <= len(str(nonce)) <= LONGEST_NONCE:
        raise SignatureRefused("nonce")
