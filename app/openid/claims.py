"""The claims about a person: roles, e-mail address, name. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.domain.errors import SignInFailed
from app.openid.client import Client

ADMIN, SUPPORT, OPERATOR = "admin", "support", "operator"
# Characters of a subject, an address, a name or the id of a session.
LONGEST = 255
# Values of a claim with roles that are read.
MOST_ROLES = 10_000
_NOT_ALLOWED = "This account may not sign in here."


def role(claims: Mapping[str, Any], client: Client) -> str | None:
    """The first of ``admin``, ``support`` and ``operator`` of which one of the claimed roles is a value, or None."""
    claimed = roles(claims, client.role_claim)
    values = {ADMIN: client.admin_values, SUPPORT: client.support_values, OPERATOR: client.operator_values}
    return next((role for role, makes in values.items() if makes.intersection(claimed)), None)


def roles(claims: Mapping[str, Any], path: str) -> list[str]:
    """The texts of a claim, a text or a list. A path leads into objects; a claim of the whole name comes first."""
    found = find(claims, path)
    values = found if isinstance(found, list) else [found]
    return [value for value in values[:MOST_ROLES] if isinstance(value, str)]


def find(claims: Mapping[str, Any], path: str) -> Any:
    """The value of a claim, or None. The longest name counts: ``a.b`` is first a claim's name, then ``b`` in ``a``."""
    if path in claims:
        return claims[path]
    parts = path.split(".")
    for length in range(len(parts) - 1, 0, -1):
        inner = claims.get(".".join(parts[:length]))
        if isinstance(inner, Mapping):
            return find(inner, ".".join(parts[length:]))
    return None


def check_domain(claims: Mapping[str, Any], client: Client) -> None:
    """Raises SignInFailed for an address of another domain, and for one that the provider calls unverified."""
    if not client.allowed_domains:
        return
    address = email(claims)
    if address is None:
        raise SignInFailed("no e-mail address, which OIDC_ALLOWED_DOMAINS compares", _NOT_ALLOWED)
    if str(claims.get("email_verified", True)).lower() != "true":
        raise SignInFailed("the e-mail address is not verified", "Verify your e-mail address first.")
    if address.rpartition("@")[2].lower() not in client.allowed_domains:
        raise SignInFailed("the e-mail address has a domain that OIDC_ALLOWED_DOMAINS lacks", _NOT_ALLOWED)


def email(claims: Mapping[str, Any]) -> str | None:
    """The e-mail address, or None."""
    found = text(claims.get("email"))
    # An address within another one's name is quoted, and no provider gives such a one.
    return found if found is not None and found.count("@") == 1 and found.isprintable() else None


def text(value: Any) -> str | None:
    """A text that fits a column of the database, or None."""
    if not isinstance(value, str) or not 1 <= len(value) <= LONGEST or "\0" in value:
        return None
    return None if any(0xD800 <= ord(character) <= 0xDFFF for character in value) else value
