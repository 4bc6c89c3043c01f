"""The routes of the two pages, of users and of operators: an HTML shell at each address, and the assets."""

from __future__ import annotations

import gzip
import hashlib
import posixpath
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from flask import Blueprint, Response, abort, current_app, make_response, render_template, request

from app.web.languages import FALLBACK, LANGUAGES, Language, choose

STATIC = Path(__file__).parent / "static"
# Packages of npm, where `make` or the image's build could install them (dev/web_packages.py).
PACKAGES = Path(__file__).parent / "packages"
TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}
# With Trusted Types the browser itself refuses a string where HTML or a script is expected.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "font-src 'self'",
        "connect-src 'self'",
        "img-src 'self' data: blob:",
        "manifest-src 'self'",
        # The frame that draws diagrams (diagram.py).
        "frame-src 'self'",
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
# The headers that the language of a page depends on.
VARIES = ("Accept-Language", "Cookie")
FOR_EVER = "public, max-age=31536000, immutable"
REVALIDATE = "no-cache"

# The key in the configuration of the application that names the way to sign in: "oidc", or "link".
SIGN_IN = "SIGN_IN"

# A proxy that keeps the operators' page away from its clients says so. The chat page then has no link to it.
OPERATORS_PAGE = "X-Operators-Page"

page = Blueprint("page", __name__, template_folder="templates")


@dataclass(frozen=True)
class Asset:
    """A file of the page. ``read``: its bytes."""

    read: Callable[[], bytes]
    content_type: str
    etag: str

    @cached_property
    def zipped(self) -> bytes:
        """The file as gzip. The first request of it pays for that: the packages would add 0.4 s to every start."""
        return gzip.compress(self.read(), 9, mtime=0)


# Comments of modules that stand on lines of their own. They are a fifth of what the page would send.
_COMMENTS = re.compile(rb"^[ \t]*(?://[^\n]*|/\*(?:[^*]|\*(?!/))*\*/[ \t]*)\n", re.MULTILINE)
# The reader for pages of others is documented by its comments.
DOCUMENTED = frozenset({"stream.js"})


def _own(path: Path) -> Asset:
    """A file of ours, which is kept in memory: an update in place changes no page that is open."""
    body = path.read_bytes()
    if path.suffix == ".js" and path.name not in DOCUMENTED:
        body = _COMMENTS.sub(b"", body)
    return Asset(lambda: body, TYPES[path.suffix], _etag(body))


def _package(path: Path) -> Asset:
    """A file of a package, which is read when it is asked for: together they would take 7 MB of each process."""
    return Asset(path.read_bytes, TYPES[path.suffix], _etag(path.read_bytes()))


def _etag(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()[:32]


def _all(folder: Path, asset: Callable[[Path], Asset], prefix: str = "") -> dict[str, Asset]:
    files = (path for path in sorted(folder.rglob("*")) if path.suffix in TYPES)
    return {prefix + path.relative_to(folder).as_posix(): asset(path) for path in files}


ASSETS = _all(STATIC, _own) | _all(PACKAGES, _package, "packages/")
# The page draws formulas where the library is installed, and shows them as they are written otherwise.
FORMULAS = "drawn" if "packages/katex/katex.min.js" in ASSETS else "written"
# The page draws diagrams where the library is installed, and shows their code otherwise.
DIAGRAMS = "drawn" if "packages/mermaid/mermaid.min.js" in ASSETS else "written"
# The frame that draws has no origin, so its scripts need a header by which a document of another origin may load them.
OF_THE_FRAME = frozenset({"packages/mermaid/mermaid.min.js", "diagram_frame.js"})
_IMPORT = re.compile(r"^(?:import|export) (?:[^;']*? from )?'([^']+)';", re.MULTILINE)


_LATER = re.compile(r"await import\('([^']+)'\)")


def _modules(name: str) -> list[str]:
    """The module ``name`` and all modules that it imports, directly or not, in the order of their names."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        current = waiting.pop()
        if current not in found:
            found.add(current)
            imported = _IMPORT.findall(ASSETS[current].read().decode())
            waiting += [posixpath.normpath(posixpath.join(posixpath.dirname(current), path)) for path in imported]
    return sorted(found)


def _later(names: list[str]) -> set[str]:
    """The modules that these modules load when they need them, and those that these import."""
    named = {path for name in names for path in _LATER.findall(ASSETS[name].read().decode())}
    return {module for path in named for module in _modules(posixpath.normpath(path))} - set(names)


# The module that each page begins with.
MAIN = {"chat": "main.js", "ops": "ops/main.js", "shared": "shared.js"}
# The texts of each language but English, which all pages load with their modules.
CATALOGUES = {code: f"texts/{code}.js" for code in LANGUAGES if code != FALLBACK}
# The browser requests the modules of a page at once, and not one after the other.
MODULES = {name: _modules(main) for name, main in MAIN.items()}
# Dialogs of the chat page are loaded when somebody opens them.
LATER = _later(MODULES["chat"])
# One hash for all files, in the path. Relative imports stay inside the path, so a page never mixes two versions.
VERSION = hashlib.sha256("".join(asset.etag for asset in ASSETS.values()).encode()).hexdigest()[:12]


@page.get("/")
@page.get("/new")
@page.get("/signin")
@page.get("/settings")
@page.get("/settings/<section>")
@page.get("/c/<conversation>")
# The name of a model may have slashes. They are escaped in the address and decoded here.
@page.get("/m/<path:model>/new")
@page.get("/m/<path:model>/c/<conversation>")
def show(conversation: str | None = None, model: str | None = None, section: str | None = None) -> Response:
    """The shell. It has no data of a user; the API reports a conversation that does not exist."""
    return _shell("chat", choose(request))


@page.get("/ops", strict_slashes=False)
@page.get("/ops/generations")
@page.get("/ops/generations/<name>")
@page.get("/ops/workers")
@page.get("/ops/users")
@page.get("/ops/users/<name>")
@page.get("/ops/dead-letters")
@page.get("/ops/audit")
def show_ops(name: str | None = None) -> Response:
    """The shell of the operators' page. It has no data; the API refuses a person without the role."""
    return _shell("ops", LANGUAGES[FALLBACK])


@page.get("/static/<path:name>")
def asset(name: str) -> Response:
    """A file of the page: ``/static/stream.js``, or with the version in front, cached for ever."""
    version, _, rest = ("", "", name) if name in ASSETS else name.partition("/")
    found = ASSETS.get(rest)
    if found is None or not all(char in "0123456789abcdef" for char in version):
        abort(404)
    zipped = request.accept_encodings.quality("gzip") > 0
    response = make_response(found.zipped if zipped else found.read())
    if zipped:
        response.headers["Content-Encoding"] = "gzip"
    response.headers.update({"Content-Type": found.content_type, "Vary": "Accept-Encoding"})
    # A page from before a deploy requests files of its version. It gets the current ones, which it must not keep.
    response.headers["Cache-Control"] = FOR_EVER if version == VERSION else REVALIDATE
    response.set_etag(f"{found.etag}{'-gz' if zipped else ''}")
    response.make_conditional(request)
    _with_headers(response)
    if rest in OF_THE_FRAME:
        response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
    return response


def render_not_found() -> Response:
    """The shell with status 404, for an address that neither page has."""
    if request.path.startswith("/ops/"):
        return _shell("ops", LANGUAGES[FALLBACK], 404)
    return _shell("chat", choose(request), 404)


def page_values(language: Language, name: str | None = None) -> dict[str, object]:
    """The values that every template takes. ``name``: the page whose modules are loaded; None for a page without."""
    return {
        "assets": f"/static/{VERSION}",
        "modules": MODULES[name] if name else [],
        "language": language,
        "t": language.text,
        "catalogue": CATALOGUES.get(language.code),
        "diagrams": DIAGRAMS,
    }


def _shell(name: str, language: Language, status: int = 200) -> Response:
    body = render_template(
        f"{name}.html",
        **page_values(language, name),
        languages=" ".join(LANGUAGES),
        formulas=FORMULAS,
        sign_in=current_app.config[SIGN_IN],
        operators_page="closed" if request.headers.get(OPERATORS_PAGE) == "closed" else "open",
    )
    response = make_response(body, status)
    response.headers["Cache-Control"] = REVALIDATE
    response.vary.update(VARIES)
    if status == 200:
        response.add_etag()
        response.make_conditional(request)
    return _with_headers(response)


def _with_headers(response: Response) -> Response:
    response.headers.update(HEADERS)
    return response
