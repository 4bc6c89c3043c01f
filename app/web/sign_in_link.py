"""The page of a link that signs somebody in: one button, or the reason that nobody is signed in."""

from __future__ import annotations

from flask import Response, make_response, render_template, request

from app.web.languages import choose
from app.web.views import HEADERS, POLICY, VARIES, page_values

_HEADERS = {
    **HEADERS,
    "Content-Security-Policy": POLICY.replace("form-action 'none'", "form-action 'self'"),
    # The form's request has an Origin, and no request has the address with the code.
    "Referrer-Policy": "strict-origin",
    "Cache-Control": "no-store",
}


def offer(subject: str) -> Response:
    """The page with the button. It uses no script, so that a preview of the page uses nothing up."""
    return _page(200, subject=subject)


def refuse(problem: str, status: int) -> Response:
    """The page with the reason, in the words of the server."""
    return _page(status, problem=problem)


def explain(key: str, status: int) -> Response:
    """The page with the reason ``key`` of the catalogues, in the language of the request."""
    return _page(status, problem=choose(request).text(key))


def _page(status: int, **values: str) -> Response:
    body = render_template("sign_in_link.html", **page_values(choose(request)), **values)
    response = make_response(body, status)
    response.headers.update(_HEADERS)
    response.vary.update(VARIES)
    return response
