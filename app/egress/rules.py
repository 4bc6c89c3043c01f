"""The rules of a deployment for requests to addresses that users name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network

Network = IPv4Network | IPv6Network
HTTPS_PORT, HTTP_PORT = 443, 80
_RANGE = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")


class Refused(ValueError):
    """A URL or its host must not be called. The text is a sentence that its owner may read: it has no address."""


@dataclass(frozen=True, slots=True)
class EgressRules:
    """``networks`` are private ones that may be called. ``ports`` are inclusive ranges; ``http`` allows plain HTTP."""

    networks: tuple[Network, ...] = ()
    ports: tuple[tuple[int, int], ...] = ((443, 443), (8443, 8443))
    http: bool = False

    def allows_port(self, port: int, *, is_http: bool) -> bool:
        """True for a port of the ranges, and for port 80 of plain HTTP where that is allowed."""
        return (is_http and port == HTTP_PORT) or any(first <= port <= last for first, last in self.ports)


def read_networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """Networks as ``10.20.0.0/16`` or ``fd12::/48``. Raises ValueError."""
    found: list[Network] = []
    for text in texts:
        try:
            found.append(ip_network(text))
        except ValueError:
            raise ValueError("a network is written as 10.20.0.0/16 or fd12:3456::/32, without bits of a host") from None
    return tuple(found)


def read_ports(texts: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """Ports and ranges of them, as ``443`` and ``8000-8999``. Raises ValueError."""
    ranges: list[tuple[int, int]] = []
    for text in texts:
        if not (written := _RANGE.fullmatch(text)):
            raise ValueError("a port is a number, and a range of ports is written as 8000-8999")
        bounds = int(written[1]), int(written[2] or written[1])
        if not 1 <= bounds[0] <= bounds[1] <= 65_535:
            raise ValueError("ports are numbers from 1 to 65535, in rising order")
        ranges.append(bounds)
    if not ranges:
        raise ValueError("at least one port is needed")
    return tuple(ranges)
