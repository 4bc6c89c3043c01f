"""The text behind `Authorization: Bearer`."""

from __future__ import annotations

from flask import request

from app.api.errors import Unauthenticated

# Characters. A usual token has a few hundred.
_LONGEST = 16_384


def bearer() -> str | None:
    """The token or key of this request; None without one. Raises Unauthenticated when it is too long."""
    scheme, _, text = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not text.strip():
        return None
    if len(text) > _LONGEST:
        raise Unauthenticated("The token is too long.", presented=True)
    return text.strip()
