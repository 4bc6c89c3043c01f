"""`make signin [USER=alice] [ROLE=admin]`: a link that signs in, once, at the running instance in DATA_DIR."""

from __future__ import annotations

import os
import sys

import psycopg2

from app.ops.sign_in_link import ROLES, make
from dev.instance import Instance
from dev.process import CannotRun

# The user of the instance's own link, who is an administrator there.
YOU = "you"
ADMIN = "admin"


def from_environment(is_named: bool) -> str:
    """The link for USER and ROLE. A shell sets USER, too: it counts only when `make` was given it (``is_named``).

    Raises CannotRun.
    """
    user = (os.environ.get("USER") if is_named else None) or YOU
    role = os.environ.get("ROLE") or (ADMIN if user == YOU else None)
    if role not in (None, *ROLES):
        raise CannotRun(f"ROLE must be one of {', '.join(ROLES)}, or nothing; not {role!r}")
    url, owner = Instance.from_environment().running()
    try:
        return make(owner, url, user, role)
    except psycopg2.Error as error:
        raise CannotRun(f"no link was made: {str(error).strip()}") from None


if __name__ == "__main__":
    try:
        print(from_environment("--named" in sys.argv[1:]))
    except CannotRun as reason:
        sys.exit(str(reason))
