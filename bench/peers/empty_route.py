"""An empty route: the cost of a connection and a request in gunicorn and granian, without Flask and with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from flask import Flask, Response

BODY = b"data: empty\n\n"

flask_app = Flask(__name__)


@flask_app.get("/<path:_>")
def empty(_: str) -> Response:
    """The body, through Flask."""
    return Response(BODY)


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """The body."""
    start_response("200 OK", [("Content-Type", "text/event-stream"), ("Content-Length", str(len(BODY)))])
    return [BODY]


async def rsgi_app(scope: Any, protocol: Any) -> None:
    """The body, on granian's own interface."""
    protocol.response_bytes(200, [("content-type", "text/event-stream")], BODY)
