"""`make token USER=alice [ROLE=admin] [TTL=3600]`: a JWT for the instance in DATA_DIR, and nothing else, on stdout."""

from __future__ import annotations

import os
import sys
import time
from uuid import uuid4

import jwt

from dev.instance import Identity, Instance
from dev.process import CannotRun

DEFAULT_TTL = 3600
# The roles of the service. A token with another role would be one of an ordinary user.
ROLES = ("user", "operator", "support", "admin")


def mint(identity: Identity, user: str, role: str | None = None, ttl: int = DEFAULT_TTL) -> str:
    """A token for `user`, good for `ttl` seconds. Raises CannotRun when the instance does not sign its own."""
    if identity.secret is None:
        raise CannotRun("tokens of this instance are signed elsewhere (JWT_JWKS_URL)")
    now = int(time.time())
    claims = {
        "sub": user,
        "iat": now,
        "exp": now + ttl,
        "aud": identity.audience,
        "iss": identity.issuer,
        "jti": uuid4().hex,
        **({"role": role} if role else {}),
    }
    return jwt.encode(claims, identity.secret, algorithm="HS256")


def from_environment() -> str:
    """The token that USER, ROLE and TTL describe. Raises CannotRun."""
    user = os.environ.get("USER") or "developer"
    ttl = os.environ.get("TTL") or str(DEFAULT_TTL)
    if not (ttl.isascii() and ttl.isdigit() and 0 < int(ttl) < 10**9):
        raise CannotRun(f"TTL must be a positive number of seconds, not {ttl!r}")
    role = os.environ.get("ROLE") or None
    if role not in (None, *ROLES):
        raise CannotRun(f"ROLE must be one of {', '.join(ROLES)}, or nothing; not {role!r}")
    return mint(Instance.from_environment().identity(), user, role, int(ttl))


if __name__ == "__main__":
    try:
        print(from_environment())
    except CannotRun as reason:
        sys.exit(str(reason))
