"""A second entrance to a TCP server: by TLS, or by a socket in the file system. Bytes are passed on unchanged.

with Front.encrypted(port, directory) as front:      # front.port, front.certificate
with Front.by_path(port, directory / "socket"):
"""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

_CHUNK = 65_536
Met = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Front:
    """Passes connections on to ``port`` on 127.0.0.1, from a thread of its own."""

    def __init__(self, port: int, listen: Callable[[Met], Awaitable[asyncio.Server]]) -> None:
        self._target = port
        self._listen = listen
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), name="front", daemon=True)
        # Its own port, and the certificate of its authority, when it is encrypted.
        self.port = 0
        self.certificate = Path()

    @classmethod
    def encrypted(cls, port: int, directory: Path) -> Front:
        """A front on a free port of 127.0.0.1. Only a client that is given ``certificate`` trusts its certificate."""
        certificate, key = directory / "front.pem", directory / "front.key"
        _certify("127.0.0.1", certificate, key)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate, key)
        front = cls(port, lambda met: asyncio.start_server(met, "127.0.0.1", 0, ssl=context))
        front.certificate = certificate
        return front

    @classmethod
    def by_path(cls, port: int, path: Path) -> Front:
        """A front at a UNIX socket with this path."""
        return cls(port, lambda met: asyncio.start_unix_server(met, path))

    def __enter__(self) -> Front:
        self._thread.start()
        assert self._ready.wait(60), "it did not begin"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(60)

    async def _main(self) -> None:
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        server = await self._listen(self._meet)
        where = server.sockets[0].getsockname()
        self.port = where[1] if isinstance(where, tuple) else 0
        self._ready.set()
        await self._ended.wait()
        server.close()

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind, onward = await asyncio.open_connection("127.0.0.1", self._target)
        # At the end connections are left as they are.
        with suppress(asyncio.CancelledError):
            await asyncio.gather(_pass_on(reader, onward), _pass_on(behind, writer))


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
    with suppress(OSError):
        writer.close()


def _certify(address: str, certificate: Path, key: Path) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "front")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), critical=False)
        .sign(private, hashes.SHA256())
    )
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8
    key.write_bytes(private.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
