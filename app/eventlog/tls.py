"""TLS of connections to Redis outside redis-py, with the options of redis-py's addresses."""

from __future__ import annotations

import ssl
from typing import Any

from redis.connection import SSLConnection


def tls_context(where: dict[str, Any]) -> ssl.SSLContext | None:
    """The TLS context for an address that redis-py has parsed; None for an address without TLS.

    Raises redis.RedisError, OSError and ssl.SSLError for ``ssl_…`` words that make no sense or name no file.
    """
    if where.get("connection_class") is not SSLConnection:
        return None
    wanted = SSLConnection(**{name: value for name, value in where.items() if name.startswith("ssl_")})
    context = ssl.create_default_context()
    context.check_hostname = wanted.check_hostname
    context.verify_mode = wanted.cert_reqs
    if wanted.certfile:
        context.load_cert_chain(wanted.certfile, wanted.keyfile, wanted.certificate_password)
    if wanted.ca_certs or wanted.ca_path:
        context.load_verify_locations(wanted.ca_certs, wanted.ca_path)
    return context
