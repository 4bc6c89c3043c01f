"""The parts of a URL that a user has given, after a check of its form. Nothing is looked up.

A host that could be read in two ways is refused: another parser, such as that of the C library, might read another
address.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from urllib.parse import quote, urlsplit

import idna

from app.egress.addresses import Address, is_allowed, parse
from app.egress.rules import HTTP_PORT, HTTPS_PORT, EgressRules, Refused

MOST_URL_CHARACTERS = 2048
MOST_HOST_CHARACTERS = 253
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
# The last part of a host that the C library reads as a number, and so the host as an IPv4 address.
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
# Printable ASCII without spaces, quotes and brackets; `quote` leaves it as it is.
_SAFE = "!$%&'()*+,-./:;=?@[]_~"


@dataclass(frozen=True, slots=True)
class Target:
    """The server and the path of a request. ``address`` is set where the host is an IP address.

    ``path`` may have a secret of the receiver: it is in no log line.
    """

    is_tls: bool
    host: str
    port: int
    path: str = field(repr=False)
    address: Address | None = None

    @property
    def authority(self) -> str:
        """The value of the header ``Host``."""
        host = f"[{self.host}]" if isinstance(self.address, IPv6Address) else self.host
        return host if self.port == (HTTPS_PORT if self.is_tls else HTTP_PORT) else f"{host}:{self.port}"

    @property
    def receiver(self) -> str:
        """``host:port``, which deliveries to one server have in common."""
        return f"{self.host}:{self.port}"


def target_of(url: str, rules: EgressRules) -> Target:
    """The parts of a URL. Raises Refused with a sentence that names the part that is not allowed."""
    if len(url) > MOST_URL_CHARACTERS:
        raise Refused(f"the address has more than {MOST_URL_CHARACTERS} characters")
    if any(not sign.isprintable() or sign in ' "<>\\^`{|}' for sign in url):
        raise Refused('the address has a space, a control character or one of " < > \\ ^ ` { | }')
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise Refused("the address is not a URL") from None
    is_tls = parts.scheme == "https"
    if not is_tls and not (rules.http and parts.scheme == "http"):
        raise Refused("the address has to begin with https:// (WEBHOOK_ALLOW_HTTP)")
    if "@" in parts.netloc:
        raise Refused("the address has a user or a password, which would be in logs")
    if parts.fragment:
        raise Refused("the address has a fragment (#), which is never sent")
    host, address = _host(parts.hostname or "", parts.netloc)
    port = port if port is not None else (HTTPS_PORT if is_tls else HTTP_PORT)
    if not rules.allows_port(port, is_http=not is_tls):
        raise Refused(f"port {port} is not one that webhooks may use (WEBHOOK_PORTS)")
    if address is not None and not is_allowed(address, rules.networks):
        raise Refused("the address is not one of the public Internet (WEBHOOK_ALLOWED_NETWORKS)")
    path = quote(parts.path or "/", safe=_SAFE) + (f"?{quote(parts.query, safe=_SAFE)}" if parts.query else "")
    return Target(is_tls, host, port, path, address)


def _host(text: str, netloc: str) -> tuple[str, Address | None]:
    """The host in small ASCII letters, and its address where it is one. Raises Refused."""
    if "%" in text:
        raise Refused("the host has a % sign, as of a scope id")
    if netloc.startswith("["):
        address = parse(text)
        if not isinstance(address, IPv6Address):
            raise Refused("the host in brackets is not an IPv6 address")
        return str(address), address
    if text.endswith("."):
        raise Refused("the host ends with a dot")
    host = _in_ascii(text)
    labels = host.split(".")
    if len(host) > MOST_HOST_CHARACTERS or not all(_LABEL.fullmatch(label) for label in labels):
        raise Refused("the host is not a valid name")
    if not _NUMBER.fullmatch(labels[-1]):
        return host, None
    address = parse(host)
    if address is None:
        raise Refused("the host is a number that is not an IPv4 address of four plain decimal parts")
    return host, address


def _in_ascii(host: str) -> str:
    if host.isascii():
        return host.lower()
    try:
        return idna.encode(host, uts46=True).decode().lower()
    except UnicodeError:  # idna.IDNAError is one
        raise Refused("the host is not a valid internationalised name (IDNA 2008)") from None
