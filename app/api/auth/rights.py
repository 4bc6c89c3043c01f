"""The rights that a route requires: of the user's role, and of the credential.

A route needs a scope of the credential, or a person: then an API key and a signed request are refused, whatever their
scopes. The need follows from the access that a route declares, and from its method.
"""

from __future__ import annotations

from typing import Literal

from app.api.errors import Forbidden, PersonNeeded, ScopeMissing
from app.domain.commands import User
from app.domain.credential import Scope

# The access that a route declares.
# "user": everybody; the scope read for a GET, else generate. "reader": everybody, with the scope read, for a POST that
# changes nothing. "credential": everybody, whatever the scopes. "person": a session or a token, for what would outlive
# a key: keys, sessions, export, erasure. "operator": operators, who look only, support and administrators. "admin":
# administrators. "admin_person": administrators, by a session or a token. "support": support, by a session or a token:
# for the texts of other users, which no other role reads, administrators included.
Access = Literal["public", "user", "reader", "credential", "person", "operator", "admin", "admin_person", "support"]
Need = Scope | Literal["person"]

ADMIN, OPERATOR, SUPPORT = "admin", "operator", "support"
# The roles that an access admits.
_ROLES = {
    "admin": (ADMIN,),
    "admin_person": (ADMIN,),
    "operator": (ADMIN, OPERATOR, SUPPORT),
    "support": (SUPPORT,),
}
_OF_PERSONS = ("token", "session")


def need_of(access: Access, method: str) -> Need | None:
    """The need of a route; None when it takes every credential, or none."""
    match access:
        case "public" | "credential":
            return None
        case "admin" | "operator":
            return "admin"
        case "reader":
            return "read"
        case "person" | "admin_person" | "support":
            return "person"
        case "user":
            return "read" if method == "get" else "generate"


def check_rights(user: User, access: Access, need: Need | None) -> None:
    """Raises ScopeMissing or PersonNeeded for the credential, Forbidden for the role."""
    if need == "person":
        if user.credential.kind not in _OF_PERSONS:
            raise PersonNeeded
    elif need is not None and need not in user.credential.scopes:
        raise ScopeMissing(need)
    if access in _ROLES and user.role not in _ROLES[access]:
        raise Forbidden
