"""The address of a request as its client has written it (``@target-uri``, RFC 9421, section 2.2.2)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from app.api.signatures.profile import SignatureRefused

_ORIGIN = re.compile(r"(?P<scheme>https?)://(?P<host>[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{1,5}))?")
# The address of a proxy's request begins with an origin (RFC 9112, section 3.2.2).
_ABSOLUTE = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://[^/?#]*")
_PORTS = {"http": "80", "https": "443"}


def target_uri(environ: Mapping[str, Any], host: str, public_url: str | None) -> str:
    """The address with the origin of PUBLIC_URL, or else that of the request. Raises SignatureRefused.

    ``environ`` is that of WSGI, ``host`` the host of the request with its port; a trusted proxy has set them.
    """
    origin = public_url or f"{environ['wsgi.url_scheme']}://{host}"
    target = _ABSOLUTE.sub("", str(environ["RAW_URI"]), count=1)
    if "#" in target:
        raise SignatureRefused("address")
    return f"{_canonical(origin)}{target if target.startswith('/') else '/' + target}"


def _canonical(origin: str) -> str:
    """The origin in lower case, without the port that its scheme implies (RFC 9110, section 4.2.3)."""
    parts = _ORIGIN.fullmatch(origin.lower())
    if parts is None:
        raise SignatureRefused("address")
    port = "" if parts["port"] in (None, _PORTS[parts["scheme"]]) else f":{parts['port']}"
    return f"{parts['scheme']}://{parts['host']}{port}"
