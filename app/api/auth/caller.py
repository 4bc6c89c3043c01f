"""The caller of a request: the user whom one of its credentials proves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Protocol

from flask import g, request

from app.api.errors import Unauthenticated
from app.domain.commands import User
from app.services.tickets import Tickets
from app.wiring import Resources

# Credentials whose user was looked up by the subject, with the user's access.
_FOUND_WITH_USER = ("token", "signature")


@dataclass(frozen=True, slots=True)
class Caller:
    """The user of a request. ``expires_at`` is the end of the credential or ticket, in seconds since 1970.

    ``proved_at``: the time of the monotonic clock before which nothing was looked up. A later revocation counts.
    """

    user: User
    expires_at: float
    proved_at: float = field(default_factory=monotonic)


class Method(Protocol):
    """A way to authenticate requests: by one kind of credential."""

    def authenticate(self, resources: Resources) -> Caller | None:
        """The caller of the current request; None when it has no credential of this kind.

        Raises Unauthenticated for a credential that is not accepted, StoreDown when that cannot be found out.
        """
        ...


def caller(methods: Sequence[Method], resources: Resources) -> Caller:
    """The caller of this request, found once per request. The first method whose credential it has decides.

    Raises Unauthenticated, UserBlocked, StoreDown.
    """
    if "caller" not in g:
        began = monotonic()
        candidates = (method.authenticate(resources) for method in methods)
        proved = next((found for found in candidates if found is not None), None)
        if proved is not None and proved.user.credential.kind not in _FOUND_WITH_USER:
            resources.users.admit(proved.user.id)
        g.caller = replace(proved, proved_at=began) if proved is not None else None
    found: Caller | None = g.caller
    if found is None:
        raise Unauthenticated
    return found


def by_ticket(
    tickets: Tickets, opens: Callable[[Mapping[str, str]], str | None], path: Mapping[str, str]
) -> Caller | None:
    """The owner of the ticket in the query; None without a ticket. Raises Unauthenticated when it does not fit.

    A ticket wins over a token in the header.
    """
    text = request.args.get("ticket")
    object_id = opens(path) if text is not None else None
    if text is None or object_id is None:
        return None
    began = monotonic()
    admission = tickets.admit(text, object_id)
    if admission is None:
        raise Unauthenticated("The ticket does not open this stream, or not any more.", presented=True)
    g.caller = Caller(admission.user, admission.expires_at, began)
    found: Caller = g.caller
    return found


def opened_by_ticket() -> bool:
    """True when the request has a ticket, as that of a browser's EventSource has."""
    return "ticket" in request.args
