"""The page of a link that signs somebody in: one button, or the reason that nobody is signed in."""

from __future__ import annotations

from flask import Response, make_response, render_template

from app.web.views import HEADERS, POLICY, VERSION

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
    """The page with the reason."""
    return _page(status, problem=problem)


def _page(status: int, **values: str) -> Response:
    body = render_template("sign_in_link.html", assets=f"/static/{VERSION}", **values)
    response = make_response(body, status)
    response.headers.update(_HEADERS)
    return response
