"""Requests for streams that are known in each detail: the only ones that take the short way."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from app.api.auth.bearer import bearer_of
from app.domain.cursor import START, Cursor
from app.domain.errors import UnbrokenError

_PATH = re.compile(r"/api/v1/generations/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/stream")
_QUERY = re.compile(r"(?:after=([0-9]+-[0-9]+))?")
# Names that Flask takes: it refuses an empty label, and one of more than 63 characters.
_HOST = re.compile(r"(?:[A-Za-z0-9-]{1,63}\.)*[A-Za-z0-9-]{1,63}\.?(?::[0-9]+)?")
# A request with one of these is described in full by Flask: CORS, traces, bodies, other protocols and credentials.
_LONG = (
    "HTTP_ORIGIN",
    "HTTP_TRACEPARENT",
    "HTTP_TRANSFER_ENCODING",
    "HTTP_UPGRADE",
    "HTTP_SIGNATURE",
    "HTTP_SIGNATURE_INPUT",
)


class StreamWanted(NamedTuple):
    """A request for a stream. ``positions`` are the texts of its header and its query, one of which is ``after``."""

    path: str
    generation_id: str
    positions: tuple[str | None, str | None]
    after: Cursor
    token: str
    given_id: str
    client: str | None


def read(environ: dict[str, Any]) -> StreamWanted | None:
    """The request, if it is one for a stream with nothing in it that this module does not know."""
    path = _PATH.fullmatch(environ["PATH_INFO"])
    if path is None or environ["REQUEST_METHOD"] != "GET" or environ.get("SCRIPT_NAME"):
        return None
    query = _QUERY.fullmatch(environ.get("QUERY_STRING", ""))
    if environ["wsgi.url_scheme"] not in ("http", "https"):
        return None
    if query is None or not _HOST.fullmatch(environ.get("HTTP_HOST", "")) or any(name in environ for name in _LONG):
        return None
    if environ.get("CONTENT_LENGTH") not in (None, "", "0"):
        return None
    header = environ.get("HTTP_LAST_EVENT_ID")
    position = query[1] if header is None else header
    try:
        after = START if position is None else Cursor.parse(position)
        token = bearer_of(environ.get("HTTP_AUTHORIZATION", ""))
    except UnbrokenError:
        return None
    if token is None:
        return None
    given_id, client = environ.get("HTTP_X_REQUEST_ID", ""), environ.get("REMOTE_ADDR")
    return StreamWanted(path[0], path[1], (header, query[1]), after, token, given_id, client)
