"""The page of a shared conversation. It can be read without scripts, and is drawn as Markdown with them."""

from __future__ import annotations

from flask import Response, make_response, render_template, request

from app.domain.share import Snapshot
from app.web.languages import choose
from app.web.views import HEADERS, VARIES, page_values

_HEADERS = {
    **HEADERS,
    "Cache-Control": "no-store",
    "X-Robots-Tag": "noindex, nofollow, noarchive",
}


def show(snapshot: Snapshot) -> Response:
    """The conversation as it was shared."""
    return _page(200, snapshot)


def refuse() -> Response:
    """The page of an address that is unknown, or has ended."""
    return _page(404, None)


def _page(status: int, snapshot: Snapshot | None) -> Response:
    body = render_template("shared.html", **page_values(choose(request), "shared"), snapshot=snapshot)
    response = make_response(body, status)
    response.headers.update(_HEADERS)
    response.vary.update(VARIES)
    return response
