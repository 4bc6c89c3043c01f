"""A complete request as the web server's thread sees it, parsed by gunicorn from bytes that are there already."""

from __future__ import annotations

from typing import Any

from gunicorn.http.message import Request
from gunicorn.http.unreader import Unreader


class ReadyRequest:
    """The parser of one connection. gunicorn iterates over it and gets the request with its whole body."""

    def __init__(self, cfg: Any, client: Any) -> None:
        self._cfg = cfg
        self._client = client
        self._count = 0
        # The bytes behind the request.
        self.unreader = _HeldBytes()
        self.mesg: Any = None
        # False when the body was not read to its end: the start of a next request cannot be found then.
        self.is_whole = True

    def parse(self, head: bytes) -> Any:
        """Parse a head. Raises the errors of gunicorn's parser."""
        self._count += 1
        self.unreader = _HeldBytes()
        self.unreader.unread(head)
        self.mesg = Request(self._cfg, self.unreader, self._client, self._count)
        self.is_whole = True
        return self.mesg

    def __iter__(self) -> ReadyRequest:
        return self

    def __next__(self) -> Any:
        return self.mesg

    def finish_body(self, deadline: float | None = None, max_bytes: int | None = None) -> bool:
        """Drop the part of the body that the application did not read. True when the connection stays usable."""
        spool = getattr(self.mesg, "spool", None)
        if spool is not None:
            spool.close()
        return self.is_whole


class _HeldBytes(Unreader):  # type: ignore[misc]  # gunicorn has no types
    """Returns the bytes that were put into it and reads no socket."""

    def chunk(self, size_hint: int | None = None) -> bytes:
        return b""
