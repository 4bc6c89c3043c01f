"""The actor of the current request, for the audit."""

from __future__ import annotations

from flask import request

from app.api.auth.caller import Caller
from app.api.tracing import request_id
from app.domain.audit import Actor


def actor_of(caller: Caller | None) -> Actor:
    """The actor of this request; without a caller, an actor that is known by its address only."""
    user = caller.user if caller else None
    return Actor(
        user_id=user.id if user else None,
        credential_kind=user.credential.kind if user else None,
        credential_id=user.credential.id if user else "",
        address=request.remote_addr,
        request_id=request_id(),
    )
