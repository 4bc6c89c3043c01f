"""The identity provider of this process, and the sign-out there."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import structlog

from app.api.web_process import web
from app.domain.errors import NotFound, ProviderDown, SignInFailed
from app.domain.session import Session

if TYPE_CHECKING:
    from app.openid.identity_provider import IdentityProvider

_STATE_BYTES = 16

_log = structlog.get_logger()


def identity_provider() -> IdentityProvider:
    """The identity provider. Raises NotFound where people sign in without one."""
    found = web().resources.identity_provider
    if found is None:
        raise NotFound
    return found


def sign_out_address(session: Session | None) -> str | None:
    """The address that ends the session at the identity provider, too; None where there is none, or it is down.

    ``session`` is None for one that has ended here already, whose first reply was lost: the provider asks the person.
    """
    provider = web().resources.identity_provider
    if provider is None or (session is not None and session.issuer != provider.issuer):
        return None
    try:
        return provider.end_session_url(session.id_token if session else None, secrets.token_urlsafe(_STATE_BYTES))
    except (ProviderDown, SignInFailed) as error:
        _log.warning("sign-out not passed to the identity provider", action="sign_out", reason=error.reason)
        return None
