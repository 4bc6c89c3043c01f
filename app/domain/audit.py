"""The actor of an audited action. The audit names people, objects and origins; it has no text of anybody."""

from __future__ import annotations

from dataclasses import dataclass

from app.domain.credential import CredentialKind


@dataclass(frozen=True, slots=True)
class Actor:
    """The user who acts, the credential used, and the origin of the request.

    ``address``: the client's IP address. ``user_id`` is None for the service itself and
    for requests that prove no user.
    """

    user_id: str | None
    credential_kind: CredentialKind | None = None
    credential_id: str = ""
    address: str | None = None
    request_id: str | None = None


SERVICE = Actor(None)
