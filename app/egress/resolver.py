"""The addresses of a host: looked up once for each request, within a deadline, and judged all together."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from threading import Thread

from app.egress.addresses import Address, is_allowed, parse
from app.egress.rules import EgressRules, Refused
from app.egress.target import Target

LOOKUP_SECONDS = 5.0
# A look-up cannot be interrupted. The request that has given it up holds its place for at most so many seconds more:
# slow name servers of one user take the places of that user and no others.
LINGER_SECONDS = 20.0

# Blocking: the addresses of a name as texts. Raises OSError.
Lookup = Callable[[str, int], list[str]]


class NameNotFound(Exception):
    """The name has no address, or no name server has answered in time. The text is a sentence."""


def system_lookup(host: str, port: int) -> list[str]:
    """The addresses that the system finds. Raises OSError."""
    # Bytes: a text would be encoded by IDNA 2003, and this name is in its ASCII form already.
    found = socket.getaddrinfo(host.encode("ascii"), port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return [str(entry[4][0]) for entry in found]


class Resolver:
    """Looks names up, each in a thread of its own. One loop uses it."""

    def __init__(
        self,
        rules: EgressRules,
        lookup: Lookup = system_lookup,
        seconds: float = LOOKUP_SECONDS,
        linger: float = LINGER_SECONDS,
    ) -> None:
        self._rules = rules
        self._lookup = lookup
        self._seconds = seconds
        self._linger = linger

    async def addresses(self, target: Target) -> list[Address]:
        """The addresses of a target, in the order of the system. Raises Refused, NameNotFound.

        One address that may not be called refuses all of them: the owner of the name has mixed it in.
        """
        found = [str(target.address)] if target.address is not None else await self._looked_up(target)
        addresses = [parse(text) for text in dict.fromkeys(found)]
        allowed = [one for one in addresses if one is not None and is_allowed(one, self._rules.networks)]
        if len(allowed) < len(addresses):
            raise Refused("the name has an address that webhooks may not call (WEBHOOK_ALLOWED_NETWORKS)")
        if not allowed:
            raise NameNotFound("the name has no address")
        return allowed

    async def _looked_up(self, target: Target) -> list[str]:
        running = self._begin(target.host, target.port)
        done, _ = await asyncio.wait({running}, timeout=self._seconds)
        if not done:
            await asyncio.wait({running}, timeout=self._linger)
            raise NameNotFound(f"the name was not looked up within {self._seconds:g} s")
        try:
            return running.result()
        except (OSError, UnicodeError):
            raise NameNotFound("the name was not found") from None

    def _begin(self, host: str, port: int) -> asyncio.Future[list[str]]:
        """Start a look-up. Its thread is a daemon, so that a process can end before a name server answers."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[str]] = loop.create_future()

        def settle(found: list[str] | None, error: Exception | None) -> None:
            if future.done():
                return
            if error is not None:
                future.set_exception(error)
                future.exception()  # it may have no reader any more
            else:
                future.set_result(found or [])

        def run() -> None:
            found, error = None, None
            try:
                found = self._lookup(host, port)
            except Exception as failure:
                error = failure
            try:
                loop.call_soon_threadsafe(settle, found, error)
            except RuntimeError:
                return  # the loop is closed

        Thread(target=run, name="webhook name", daemon=True).start()
        return future
