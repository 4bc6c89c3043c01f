"""The doors of the page: the shell at every address it has, and its assets."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path

from flask import Blueprint, Response, abort, make_response, render_template, request

STATIC = Path(__file__).parent / "static"
TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
# Trusted Types on top: the browser itself refuses a string where HTML or a script is expected.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' data:",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "form-action 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
PERMISSIONS = "camera=(), microphone=(), geolocation=(), payment=(), usb=()"
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": PERMISSIONS,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}
FOR_EVER = "public, max-age=31536000, immutable"
ASK_AGAIN = "no-cache"

page = Blueprint("page", __name__, template_folder="templates")


@dataclass(frozen=True, slots=True)
class Asset:
    """A file of the page as it is sent."""

    body: bytes
    zipped: bytes
    content_type: str
    etag: str


def _read(path: Path) -> Asset:
    body = path.read_bytes()
    return Asset(body, gzip.compress(body, 9, mtime=0), TYPES[path.suffix], hashlib.sha256(body).hexdigest()[:32])


ASSETS = {path.name: _read(path) for path in sorted(STATIC.iterdir()) if path.suffix in TYPES}
MODULES = [name for name in ASSETS if name.endswith(".js") and name != "theme.js"]
# One hash for all, in the path: relative imports stay inside it, so a page never mixes two versions.
VERSION = hashlib.sha256("".join(asset.etag for asset in ASSETS.values()).encode()).hexdigest()[:12]


@page.get("/")
@page.get("/new")
@page.get("/c/<conversation>")
# The name of a model may have slashes; in an address they are escaped, and arrive here as themselves.
@page.get("/m/<path:model>/new")
@page.get("/m/<path:model>/c/<conversation>")
def show(conversation: str | None = None, model: str | None = None) -> Response:
    """The shell. Whether the conversation exists is the API's to say: the shell knows nobody."""
    return _shell()


@page.get("/static/<path:name>")
def asset(name: str) -> Response:
    """A file of the page: ``/static/stream.js``, or with the version in front, cached for ever."""
    version, _, rest = name.rpartition("/")
    found = ASSETS.get(rest)
    if found is None or not all(char in "0123456789abcdef" for char in version):
        abort(404)
    zipped = request.accept_encodings.quality("gzip") > 0
    response = make_response(found.zipped if zipped else found.body)
    if zipped:
        response.headers["Content-Encoding"] = "gzip"
    response.headers.update({"Content-Type": found.content_type, "Vary": "Accept-Encoding"})
    # A page from before a deploy asks for files of its version; it gets today's, and asks again tomorrow.
    response.headers["Cache-Control"] = FOR_EVER if version == VERSION else ASK_AGAIN
    response.set_etag(f"{found.etag}{'-gz' if zipped else ''}")
    response.make_conditional(request)
    return _guarded(response)


def render_not_found() -> Response:
    """The shell with status 404, for people who follow an address the page does not have."""
    return _shell(404)


def _shell(status: int = 200) -> Response:
    body = render_template("page.html", assets=f"/static/{VERSION}", modules=MODULES)
    response = make_response(body, status)
    response.headers["Cache-Control"] = ASK_AGAIN
    if status == 200:
        response.add_etag()
        response.make_conditional(request)
    return _guarded(response)


def _guarded(response: Response) -> Response:
    response.headers.update(HEADERS)
    return response
