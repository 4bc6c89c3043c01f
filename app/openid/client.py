"""The values that make this service a client of one identity provider, and the person that a sign-in gives."""

from __future__ import annotations

from dataclasses import dataclass, field

# Seconds by which the clocks of the identity provider and of this service may differ.
LEEWAY_SECONDS = 120
# The age of a logout token that is still accepted, and the time for which the id of a used one has to be known: it may
# come from a clock that is ahead.
OLDEST_SECONDS = 600
REMEMBERED_SECONDS = OLDEST_SECONDS + 2 * LEEWAY_SECONDS


@dataclass(frozen=True, slots=True)
class Client:
    """This service as the identity provider knows it. ``public_url`` is an origin without a slash at its end."""

    issuer: str
    client_id: str
    client_secret: str = field(repr=False)
    public_url: str
    scopes: str = "openid profile email"
    role_claim: str = "roles"
    admin_values: frozenset[str] = frozenset()
    support_values: frozenset[str] = frozenset()
    operator_values: frozenset[str] = frozenset()
    allowed_domains: frozenset[str] = frozenset()

    @property
    def redirect_uri(self) -> str:
        """The address to which the identity provider sends a browser with its answer."""
        return f"{self.public_url}/signin/callback"

    @property
    def signed_out_uri(self) -> str:
        """The address to which the identity provider sends a browser after a sign-out."""
        return f"{self.public_url}/signin"


@dataclass(frozen=True, slots=True)
class AuthorizationRequest:
    """A sign-in that has begun. ``url`` is for the browser; the other values are kept here until the answer."""

    url: str
    state: str
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Identity:
    """A person whom the identity provider has signed in: ``issuer`` and ``subject`` together name one.

    ``role`` is ``admin``, ``support``, ``operator`` or None. ``sid`` names the session at the identity provider.
    ``id_token`` is a hint for the sign-out there, and no proof of anything by itself.
    """

    issuer: str
    subject: str
    email: str | None
    name: str | None
    role: str | None
    sid: str | None
    id_token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Ended:
    """The sessions that a logout token ends: those of ``sid``; those of ``subject`` when it names no session.

    ``token_id`` has to be new: a token is good once.
    """

    issuer: str
    subject: str | None
    sid: str | None
    token_id: str
