"""Tells an outage of PostgreSQL from a statement that it refuses."""

from __future__ import annotations

from time import monotonic

from sqlalchemy.exc import DBAPIError, InterfaceError, InternalError, OperationalError

# SQLSTATE classes of temporary failures: connection, resources, intervention, system, lock, timeout.
_UNAVAILABLE = ("08", "53", "57", "58", "55P03", "40", "25006", "25P03")


# Of these, those that only writes get: no room on the disk, a server that only reads, an error of the disk.
_WRITES = ("53100", "25006", "58030")


class Outages:
    """Judges the errors of a process's database, and remembers when PostgreSQL has refused a write."""

    def __init__(self) -> None:
        self._refused_at = -float("inf")

    def is_one(self, error: DBAPIError) -> bool:
        """True for an error after which a request may be repeated later."""
        if getattr(error.orig, "pgcode", None) in _WRITES:
            self._refused_at = monotonic()
        return is_unavailable(error)

    @property
    def refused_age(self) -> float:
        """Seconds since PostgreSQL has refused a write; infinite without one."""
        return monotonic() - self._refused_at


def is_unavailable(error: DBAPIError) -> bool:
    """True for a database that could not answer, False for one that answered with an error."""
    code: str | None = getattr(error.orig, "pgcode", None)
    if code:
        return code.startswith(_UNAVAILABLE)
    return isinstance(error, (OperationalError, InterfaceError, InternalError)) or error.connection_invalidated
