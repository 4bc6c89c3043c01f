"""Signs requests without the library that the service uses."""

from __future__ import annotations

import hmac
import time
from base64 import b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any
from uuid import uuid4

COVERED = ("content-digest", "idempotency-key", "content-type", "x-on-behalf-of")


def digest_of(body: bytes) -> str:
    return f"sha-256=:{b64encode(sha256(body).digest()).decode()}:"


def sign(
    secret: bytes,
    method: str,
    target: str,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    covered: Sequence[str] | None = None,
    label: str = "sig1",
    **parameters: Any,
) -> dict[str, str]:
    """The headers of a signed request. ``parameters`` replace the usual ones, or with None remove them."""
    sent = {name.lower(): value for name, value in (headers or {}).items()}
    if body:
        sent.setdefault("content-digest", digest_of(body))
    now = int(time.time())
    usual = {"created": now, "expires": now + 60, "nonce": uuid4().hex, "keyid": "billing"}
    whole = {**usual, "alg": "hmac-sha256", "tag": "unbroken", **parameters}
    names = ["@method", "@target-uri", *(n for n in COVERED if n in sent)] if covered is None else covered
    values = {**sent, "@method": method, "@target-uri": target}
    shown = [f"{n}={v}" if isinstance(v, int) else f'{n}="{v}"' for n, v in whole.items() if v is not None]
    params = ";".join(["(" + " ".join(f'"{name}"' for name in names) + ")", *shown])
    base = "\n".join([*(f'"{name}": {values[name]}' for name in names), f'"@signature-params": {params}'])
    signature = b64encode(hmac.digest(secret, base.encode(), "sha256")).decode()
    return {**sent, "signature-input": f"{label}={params}", "signature": f"{label}=:{signature}:"}
