"""The transport for an upstream: direct, by way of the environment's proxy, or none at all."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from worker.providers.http.direct import DirectTransport
from worker.providers.http.interface import Answer, NoWay, Transport
from worker.providers.http.proxied import ProxiedTransport

_PROXY_SCHEMES = frozenset({"http", "https"})


def transport_for(base_url: str, header_bytes: int) -> Transport:
    """The transport that the environment calls for. A proxy that cannot be used fails each request, with the reason."""
    proxy = environment_proxy(base_url)
    if proxy is None:
        return DirectTransport(header_bytes)
    reason = proxy_refusal(proxy)
    return NoWayTransport(reason) if reason else ProxiedTransport(proxy, header_bytes)


def environment_proxy(url: str) -> str | None:
    """The proxy that HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY name for an address; http:// without a scheme."""
    parts = urlsplit(url)
    if proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    return f"http://{proxy}" if proxy and "://" not in proxy else proxy


def proxy_refusal(proxy: str) -> str | None:
    """The reason why a proxy cannot be used, without its address, which may hold a password; None for a usable one."""
    scheme = urlsplit(proxy).scheme.lower()
    if scheme in _PROXY_SCHEMES:
        return None
    kind = "a SOCKS proxy" if scheme.startswith("socks") else f"a proxy of the kind {scheme[:20]!r}"
    return (
        f"The environment names {kind} for the upstream (HTTPS_PROXY, HTTP_PROXY, ALL_PROXY), which is not supported. "
        "Name an HTTP proxy, or the upstream's host in NO_PROXY."
    )


class NoWayTransport:
    """A Transport for an upstream that cannot be reached: each request fails at once with the reason."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    async def open(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None) -> Answer:
        """See Transport.open."""
        raise NoWay(self._reason)

    async def close(self) -> None:
        """Nothing is held."""
