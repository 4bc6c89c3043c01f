"""Subjects that no token may name: they belong to users whom the service itself has added."""

from __future__ import annotations

# In front of the subject of every user who signs in by an identity provider.
OF_PROVIDER = "oidc:"


def is_reserved(subject: str) -> bool:
    """True for the subject of a user who signs in by an identity provider."""
    return subject.startswith(OF_PROVIDER)
