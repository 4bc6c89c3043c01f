"""A complete request for a stream as the main thread sees it, and the head of its response, without gunicorn's objects.

Both are those that gunicorn makes (gunicorn.http.wsgi). Written against gunicorn 27.0.1.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gunicorn.http.wsgi import SERVER
from gunicorn.util import http_date

from app.connections.parking import is_plain

STATUS = "200 OK"
_END = "/stream"


def plain_environ(conn: Any) -> dict[str, Any] | None:
    """The environment of a GET request for a stream over HTTP/1.1. None for every other request.

    It lacks what only an application needs, and the path is not decoded: a path that is encoded is None.
    """
    request = conn.parser.mesg
    path: str = request.path
    if request.method != "GET" or not path.endswith(_END) or "%" in path or request.version != (1, 1):
        return None
    if request.proxy_protocol_info or request._expected_100_continue or not is_plain(conn.sock):
        return None
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": path,
        "QUERY_STRING": request.query,
        "RAW_URI": request.uri,
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.url_scheme": request.scheme,
        "REMOTE_ADDR": conn.client if isinstance(conn.client, str) else conn.client[0],
    }
    for name, value in request.headers:
        if name == "SCRIPT_NAME":
            return None
        key = name if name == "CONTENT-LENGTH" else f"HTTP_{name}"
        key = key.replace("-", "_")
        environ[key] = f"{environ[key]},{value}" if key in environ else value
    return environ


def ready_head() -> str:
    """The first lines of a response in chunks after which its connection ends."""
    lines = (f"HTTP/1.1 {STATUS}", f"Server: {SERVER}", f"Date: {http_date()}", "Connection: close")
    return "".join(f"{line}\r\n" for line in (*lines, "Transfer-Encoding: chunked"))


def with_headers(head: str, headers: Iterable[tuple[str, str]]) -> bytes:
    """A whole head. The names and values are known to have no line break."""
    return f"{head}{''.join([f'{name}: {value}' + chr(13) + chr(10) for name, value in headers])}\r\n".encode("latin-1")
