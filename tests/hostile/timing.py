"""Measures whether the time of a refusal tells that a credential exists: at the lookups, and over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from app.api.signatures.profile import SignatureRefused, SignedRequest
from app.api.signatures.verifier import SignatureVerifier
from app.domain import api_key
from app.domain.signing_keys import SigningKey
from app.services.users import new_id
from app.wiring import Resources
from tests.hostile.material import KEY_ID, Material
from tests.hostile.ranks import Verdict, measure
from tests.hostile.wire import Wire
from tests.signing import sign

# Below this p two sorts differ. A second measurement must say the same: one in a hundred million runs is wrong.
DIFFERENT = 1e-4
# Seconds. The caches of a processor make smaller differences, and no network shows them.
LEAST_DIFFERENCE = 1e-6
_TARGET = "/api/v1/auth/check"
Work = Callable[[], object]


def key_pair(material: Material, dice: Random) -> tuple[str, str]:
    """A key with a known id and a wrong secret, and one with an unknown id."""
    texts = [
        api_key.make(key_id, dice.randbytes(api_key.SECRET_BYTES)).text for key_id in (material.key_ids[0], new_id())
    ]
    return texts[0], texts[1]


def session_pair(material: Material, dice: Random) -> tuple[str, str]:
    """A cookie that differs from a real one by its end, and one that has nothing of a real one."""
    real = material.sessions[0]
    others = api_key.ALPHABET
    return real[:-1] + ("A" if real[-1] != "A" else "B"), "".join(dice.choices(others, k=len(real)))


def lookups(resources: Resources, material: Material, dice: Random) -> dict[str, tuple[Work, Work]]:
    """The functions that look a credential up, each for a pair of hostile ones."""
    key, unknown = key_pair(material, dice)
    near, far = session_pair(material, dice)
    find, of_secret = resources.api_keys.authenticate, resources.sessions.of_secret
    signing = SignatureVerifier([SigningKey(KEY_ID, material.signing)], 300)
    here, nowhere = (_signed(dice, "https://chat.example.com", name) for name in (KEY_ID, "x" * len(KEY_ID)))
    return {
        "keys, lookup": (lambda: find(key), lambda: find(unknown)),
        "sessions, lookup": (lambda: of_secret(near), lambda: of_secret(far)),
        "signatures, check": (lambda: _refused(signing, here), lambda: _refused(signing, nowhere)),
    }


def requests(url: str, material: Material, dice: Random) -> dict[str, tuple[Work, Work]]:
    """Pairs of requests over one connection, by kind: with an existing credential, and with an unknown one."""
    wire = Wire(url)
    key, unknown = ({"Authorization": f"Bearer {text}"} for text in key_pair(material, dice))
    near, far = ({"Cookie": f"session={text}"} for text in session_pair(material, dice))
    signed = [_signed(dice, url, name).headers for name in (KEY_ID, "x" * len(KEY_ID))]
    return {
        "keys, HTTP": (_asking(wire, url, key), _asking(wire, url, unknown)),
        "sessions, HTTP": (_asking(wire, url, near), _asking(wire, url, far)),
        "signatures, HTTP": (_asking(wire, url, dict(signed[0])), _asking(wire, url, dict(signed[1]))),
    }


def verdict(pair: tuple[Work, Work], pairs: int, dice: Random) -> Verdict:
    """The verdict of one measurement, or of the second one when the first tells both apart."""
    measure(*pair, 20, dice)
    found = measure(*pair, pairs, dice)
    return measure(*pair, pairs, dice) if tells(found) else found


def tells(found: Verdict) -> bool:
    """True when the times of a pair tell both apart."""
    return found.p < DIFFERENT and abs(found.difference) > LEAST_DIFFERENCE


def _asking(wire: Wire, url: str, headers: dict[str, str]) -> Work:
    lines = [f"POST {_TARGET} HTTP/1.1", f"Host: {url.partition('://')[2]}", "Content-Length: 0"]
    request = "\r\n".join([*lines, *(f"{name}: {value}" for name, value in headers.items()), "", ""]).encode()

    def work() -> None:
        assert wire.ask(request).status == 401

    return work


def _signed(dice: Random, origin: str, name: str) -> SignedRequest:
    target = origin + _TARGET
    return SignedRequest("POST", target, sign(dice.randbytes(32), "POST", target, keyid=name))


def _refused(verifier: SignatureVerifier, request: SignedRequest) -> None:
    with pytest.raises(SignatureRefused, match="signature"):
        verifier.verify(request, 0)
