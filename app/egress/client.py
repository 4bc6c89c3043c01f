"""Requests to addresses that users name: the whole way, within bounds of time and bytes.

The connection leads to an address that was judged, and nowhere else. It has no proxy, no redirect, no cookie and no
variable of the environment, and ends with its response.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address

from app.egress.addresses import Address
from app.egress.exchange import Exchange, NoReply
from app.egress.resolver import Resolver
from app.egress.rules import EgressRules, Refused
from app.egress.target import Target, target_of

CONNECT_SECONDS = 5.0
# Addresses of a name that are tried, one after the other.
MOST_ADDRESSES = 3
# Seconds after the head of a response in which the beginning of its body is read.
EXCERPT_SECONDS = 1.0
USER_AGENT = "unbroken-webhooks"
NO_CONNECTION = "no connection to the receiver"


@dataclass(frozen=True, slots=True)
class Reply:
    """The head of a response, with names of headers in small letters, and the first bytes of its body."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    excerpt: bytes = field(repr=False)


class EgressClient:
    """Sends requests. One loop uses it. ``seconds`` bounds a request, from the look-up to the head of the response.

    ``context`` is the TLS of the connections; by default, that of the system's authorities (``SSL_CERT_FILE``).
    """

    def __init__(
        self,
        rules: EgressRules,
        seconds: float,
        resolver: Resolver | None = None,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._rules = rules
        self._seconds = seconds
        self._resolver = resolver or Resolver(rules)
        self._context = context or ssl.create_default_context()

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """Send a body, once. Raises Refused, NameNotFound, NoReply; each has a sentence for the owner of the URL."""
        target = target_of(url, self._rules)
        began = time.monotonic()
        addresses = await self._resolver.addresses(target)
        left = max(self._seconds - (time.monotonic() - began), 0.0)
        try:
            async with asyncio.timeout(left):
                exchange = await self._connected(target, addresses, _request(target, headers, body))
                try:
                    status = await exchange.head
                    await asyncio.wait({exchange.over}, timeout=EXCERPT_SECONDS)
                finally:
                    exchange.close()
        except TimeoutError:
            raise NoReply(f"no response within {self._seconds:g} s (WEBHOOK_TIMEOUT_SECONDS)") from None
        return Reply(status, exchange.headers, bytes(exchange.excerpt))

    async def _connected(self, target: Target, addresses: list[Address], request: bytes) -> Exchange:
        failure = NoReply(NO_CONNECTION)
        for address in addresses[:MOST_ADDRESSES]:
            try:
                connected = await _connect(address, target.port)
            except NoReply as error:
                failure = error
                continue
            return await self._begun(target, connected, request)
        raise failure

    async def _begun(self, target: Target, connected: socket.socket, request: bytes) -> Exchange:
        exchange = Exchange(request)
        try:
            await asyncio.get_running_loop().create_connection(
                lambda: exchange,
                sock=connected,
                ssl=self._context if target.is_tls else None,
                # The name in SNI and in the certificate; the connection is made already.
                server_hostname=target.host if target.is_tls else None,
            )
        except ssl.SSLCertVerificationError as error:
            raise NoReply(f"the certificate of the receiver is not valid: {error.verify_message}") from None
        except (OSError, ssl.SSLError):
            raise NoReply("no TLS connection to the receiver" if target.is_tls else NO_CONNECTION) from None
        except BaseException:
            exchange.close()
            connected.close()
            raise
        return exchange


async def _connect(address: Address, port: int) -> socket.socket:
    """A connection to one address. Raises NoReply."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    connecting = socket.socket(family, socket.SOCK_STREAM)
    try:
        connecting.setblocking(False)
        async with asyncio.timeout(CONNECT_SECONDS) as limit:
            await asyncio.get_running_loop().sock_connect(connecting, (str(address), port))
        if ip_address(connecting.getpeername()[0]) != address:
            raise NoReply("the connection leads to another address")
    except TimeoutError:
        connecting.close()
        if limit.expired():
            raise NoReply(f"no connection to the receiver within {CONNECT_SECONDS:g} s") from None
        raise NoReply(NO_CONNECTION) from None
    except OSError as error:
        connecting.close()
        refused = isinstance(error, ConnectionRefusedError)
        raise NoReply("the receiver refuses connections" if refused else NO_CONNECTION) from None
    except BaseException:
        connecting.close()
        raise
    return connecting


def _request(target: Target, headers: Mapping[str, str], body: bytes) -> bytes:
    """The bytes of a request. Raises Refused for a header that would end its line."""
    lines = {
        "Host": target.authority,
        "User-Agent": USER_AGENT,
        "Accept": "*/*",
        "Accept-Encoding": "identity",
        "Connection": "close",
        "Content-Length": str(len(body)),
        **headers,
    }
    if any(not (value.isascii() and value.isprintable()) for value in lines.values()):
        raise Refused("a header of the request has a character that no header may have")
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"POST {target.path} HTTP/1.1\r\n{head}\r\n".encode("ascii") + body
