"""The document `/diagram`: the page puts it into a sandboxed frame, which draws diagrams without origin and network."""

from __future__ import annotations

from flask import Blueprint, Response, abort, make_response, render_template

from app.web.views import DIAGRAMS, HEADERS, REVALIDATE, VERSION

# The sandbox of the frame holds for the address itself, too. Mermaid puts style sheets into its images.
POLICY = "; ".join(
    (
        "sandbox allow-scripts",
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'unsafe-inline'",
        "connect-src 'none'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'self'",
    )
)
_HEADERS = {
    **HEADERS,
    "Content-Security-Policy": POLICY,
    "X-Frame-Options": "SAMEORIGIN",
    "Cache-Control": REVALIDATE,
}

routes = Blueprint("diagram", __name__, template_folder="templates")


@routes.get("/diagram")
def show_diagram_frame() -> Response:
    """The document of the frame. It has no data; the page posts the source of a diagram to it."""
    if DIAGRAMS != "drawn":
        abort(404)
    response = make_response(render_template("diagram.html", assets=f"/static/{VERSION}"))
    response.headers.update(_HEADERS)
    return response
