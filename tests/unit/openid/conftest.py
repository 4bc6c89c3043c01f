"""A fake identity provider for the tests of a module, well-behaved at the begin of each, and its client."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from app.domain.errors import SignInFailed
from app.openid.client import Client, Identity
from app.openid.identity_provider import IdentityProvider
from app.openid.transport import Transport
from tests.fakes.oidc_provider import OIDCProvider

# Seconds; short, so that a test of an outage is.
PATIENCE = 0.5

Connect = Callable[..., IdentityProvider]


@pytest.fixture(scope="module")
def server() -> Iterator[OIDCProvider]:
    """The provider of the module."""
    with OIDCProvider(origin="http://127.0.0.1:8000") as server:
        yield server


@pytest.fixture
def provider(server: OIDCProvider) -> OIDCProvider:
    """The provider, well-behaved."""
    server.reset()
    return server


@pytest.fixture
def connect(provider: OIDCProvider) -> Iterator[Connect]:
    """A client of the provider that knows nothing yet; the arguments replace values of the client."""
    made = []

    def connect(seconds: float = 5, **changes: Any) -> IdentityProvider:
        values = {
            "issuer": provider.issuer,
            "client_id": provider.client_id,
            "client_secret": provider.client_secret,
            "public_url": provider.origin,
            "admin_values": frozenset({"admins"}),
        }
        made.append(IdentityProvider(Client(**{**values, **changes}), Transport(seconds)))
        return made[-1]

    yield connect
    for each in made:
        each.close()


def sign_in(client: IdentityProvider, provider: OIDCProvider) -> Identity:
    """A whole sign-in with this browser."""
    begun = client.begin()
    return client.finish(provider.browse(begun.url), begun)


def refusal(client: IdentityProvider, provider: OIDCProvider) -> str:
    """The reason with which a whole sign-in is refused."""
    with pytest.raises(SignInFailed) as caught:
        sign_in(client, provider)
    assert "secret" not in caught.value.detail
    return caught.value.reason
