"""A link that signs somebody in, once, without an identity provider: ``python -m app.ops.sign_in_link alice``.

MIGRATION_DATABASE_URL   the owner of the tables; DATABASE_URL where it is not set
PUBLIC_URL               the address at which people open the service

The link is printed. It is good once, for a day. ``--role admin`` makes an administrator for the time of the
session, ``--role operator`` a person who sees what administrators see and changes nothing.
"""

from __future__ import annotations

import argparse
import os
import sys

import psycopg2

from app.services.sign_in_links import GOOD_SECONDS, PATH, new_code
from app.store import sign_in_codes

ROLES = ("user", "operator", "support", "admin")
# Characters of a subject; the table of users has the same bound.
_LONGEST = 255


def make(owner_url: str, base: str, subject: str, role: str | None) -> str:
    """A new link at the address ``base`` for a user. Raises what psycopg2 raises when the owner cannot add it."""
    code = new_code()
    sign_in_codes.add(owner_url, code, subject, role, GOOD_SECONDS)
    return f"{base}{PATH}{code}"


def main() -> int:
    """Print a link for the user of the arguments. Returns 1 when none could be made."""
    parser = argparse.ArgumentParser(prog="python -m app.ops.sign_in_link", description="Print a link that signs in.")
    parser.add_argument("user", help="the user's name, the subject of the user's tokens")
    parser.add_argument("--role", choices=ROLES, help="the role of the session")
    given = parser.parse_args()
    owner = os.environ.get("MIGRATION_DATABASE_URL") or os.environ.get("DATABASE_URL")
    if not owner:
        parser.error("MIGRATION_DATABASE_URL or DATABASE_URL is needed")
    if not 1 <= len(given.user) <= _LONGEST or "\0" in given.user:
        parser.error(f"a user's name has 1 to {_LONGEST} characters")
    base = (os.environ.get("PUBLIC_URL") or "").rstrip("/")
    try:
        print(make(owner, base, given.user, given.role))
    except psycopg2.Error as error:
        print(f"No link was made: {str(error).strip()}", file=sys.stderr)
        return 1
    if not base:
        print("PUBLIC_URL is not set: put the service's address in front of this path.", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
