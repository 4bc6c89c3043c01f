"""The text behind `Authorization: Bearer`."""

from __future__ import annotations

from flask import request

from app.api.errors import Unauthenticated

# Characters. A usual token has a few hundred.
_LONGEST = 16_384


def bearer() -> str | None:
    """The token or key of this request; None without one. Raises Unauthenticated when it is too long."""
    return bearer_of(request.headers.get("Authorization", ""))


def bearer_of(header: str) -> str | None:
    """The text behind `Bearer` in an `Authorization` header; None without one. Raises Unauthenticated."""
    scheme, _, text = header.partition(" ")
    if scheme.lower() != "bearer" or not text.strip():
        return None
    if len(text) > _LONGEST:
        raise Unauthenticated("The token is too long.", presented=True)
    return text.strip()
