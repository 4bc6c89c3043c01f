"""The verdict on an IP address: only addresses of the public Internet may be called, and networks that are allowed.

The lists follow the registries of special-purpose addresses of IANA (RFC 6890), read in November 2026. An IPv6 address
outside the range of global unicast is refused, so that a new kind of address is refused, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from app.egress.rules import Network

Address = IPv4Address | IPv6Address

# Never allowed, not even as a part of an allowed network.
_NEVER_4 = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",  # this host
            "169.254.169.254/32",  # metadata of AWS, Google Cloud, Azure, DigitalOcean and others
            "169.254.170.2/32",  # credentials of containers at AWS
            "169.254.170.23/32",
            "100.100.100.200/32",  # metadata of Alibaba Cloud
            "168.63.129.16/32",  # Azure's platform, although a public address
            "192.0.0.192/32",  # metadata of Oracle Cloud
            "224.0.0.0/4",  # multicast
            "255.255.255.255/32",
        ),
    )
)
_NEVER_6 = tuple(
    map(
        IPv6Network,
        (
            "::/128",
            "fd00:ec2::254/128",  # metadata of AWS
            "fd00:ec2::23/128",
            "fd20:ce::254/128",  # metadata of Google Cloud
            "ff00::/8",  # multicast
            "::ffff:0:0/96",  # IPv4-mapped
            "::ffff:0:0:0/96",  # IPv4-translated
            "2001::/32",  # Teredo
            "2002::/16",  # 6to4
            "64:ff9b:1::/48",  # NAT64 of a network of its own
        ),
    )
)
# Refused unless an allowed network has the address.
_SPECIAL_4 = tuple(
    map(
        IPv4Network,
        (
            "10.0.0.0/8",
            "100.64.0.0/10",  # carrier-grade NAT
            "127.0.0.0/8",
            "169.254.0.0/16",  # link-local
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.88.99.0/24",  # relays of 6to4
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "240.0.0.0/4",
        ),
    )
)
_GLOBAL_6 = IPv6Network("2000::/3")
_SPECIAL_6 = tuple(map(IPv6Network, ("2001::/23", "2001:db8::/32", "3fff::/20")))
# The addresses of IPv4 behind the NAT64 of RFC 6052: the verdict is that on the IPv4 address.
_NAT64 = IPv6Network("64:ff9b::/96")


def is_allowed(address: Address, networks: Sequence[Network] = ()) -> bool:
    """True for an address that may be called. ``networks`` are private ones that the deployment allows."""
    if isinstance(address, IPv6Address):
        return _is_allowed_6(address, networks)
    if any(address in network for network in _NEVER_4):
        return False
    return _is_in(address, networks) or not any(address in network for network in _SPECIAL_4)


def parse(text: str) -> Address | None:
    """The address of a text in its plain form; None for a name, a scope id, and any other way to write an address."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return None if isinstance(address, IPv6Address) and address.scope_id is not None else address


def _is_allowed_6(address: IPv6Address, networks: Sequence[Network]) -> bool:
    if address.scope_id is not None or any(address in network for network in _NEVER_6):
        return False
    if address in _NAT64:
        return is_allowed(IPv4Address(int(address) & 0xFFFFFFFF), networks)
    if _is_in(address, networks):
        return True
    return address in _GLOBAL_6 and not any(address in network for network in _SPECIAL_6)


def _is_in(address: Address, networks: Sequence[Network]) -> bool:
    return any(address.version == network.version and address in network for network in networks)
