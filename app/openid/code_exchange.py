"""The authorization request and the exchange of its code for tokens (RFC 6749, PKCE of RFC 7636), by Authlib."""

from __future__ import annotations

import secrets
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote_plus, urlencode

from authlib.oauth2 import ClientAuth, OAuth2Client, OAuth2Error

from app.domain.errors import SignInFailed
from app.openid.client import AuthorizationRequest, Client
from app.openid.discovery import Metadata
from app.openid.transport import Reply, Transport

# Bytes of each random value.
_RANDOM_BYTES = 32
_METHOD = "S256"


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of one sign-in. The access token opens the userinfo endpoint and nothing else here."""

    id_token: str = field(repr=False)
    access_token: str | None = field(repr=False)


class CodeFlow:
    """The authorization code flow of one client."""

    def __init__(self, client: Client, transport: Transport) -> None:
        self._client = client
        self._transport = transport

    def begin(self, metadata: Metadata) -> AuthorizationRequest:
        """A new request with values of its own."""
        state, nonce, verifier = (secrets.token_urlsafe(_RANDOM_BYTES) for _ in range(3))
        url, _ = self._library(metadata).create_authorization_url(
            metadata.authorization_endpoint, state=state, code_verifier=verifier, nonce=nonce
        )
        return AuthorizationRequest(url, state, nonce, verifier)

    def exchange(self, metadata: Metadata, code: str, verifier: str) -> Tokens:
        """The tokens for a code, which is good once. Raises SignInFailed, ProviderDown."""
        try:
            found = self._library(metadata).fetch_token(
                metadata.token_endpoint, grant_type="authorization_code", code=code, code_verifier=verifier
            )
        except OAuth2Error as error:
            raise SignInFailed(f"the identity provider refuses the code: {_word(error.error)}") from None
        except (ValueError, TypeError):
            raise SignInFailed("the response of the token endpoint cannot be read") from None
        id_token, access_token = found.get("id_token"), found.get("access_token")
        if not isinstance(id_token, str):
            raise SignInFailed("the response of the token endpoint has no ID token")
        return Tokens(id_token, access_token if isinstance(access_token, str) else None)

    def _library(self, metadata: Metadata) -> Any:
        library = OAuth2Client(
            _Session(self._transport),
            self._client.client_id,
            self._client.client_secret,
            token_endpoint_auth_method=metadata.client_authentication,
            scope=self._client.scopes,
            redirect_uri=self._client.redirect_uri,
            code_challenge_method=_METHOD,
        )
        library.register_client_auth_method(("client_secret_basic", _basic))
        return library


class _Session:
    """The part of a session of ``requests`` that Authlib uses, on the transport with its bounds."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def post(self, url: str, data: Mapping[str, str], headers: Mapping[str, str], auth: Any) -> _Response:
        url, prepared, body = auth.prepare("POST", url, dict(headers), urlencode(data))
        return _Response(self._transport.post(url, prepared, body.encode()))


class _Response:
    """A response as Authlib reads it."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self.status_code = reply.status

    def json(self) -> dict[str, Any]:
        return self._reply.object()

    def raise_for_status(self) -> None:
        """Nothing: the transport has raised an error for the statuses of an outage."""


def _basic(auth: ClientAuth, method: str, url: str, headers: dict[str, str], body: str) -> tuple[str, Any, str]:
    """The Authorization header with id and secret encoded as RFC 6749, section 2.3.1, demands it."""
    text = f"{quote_plus(auth.client_id)}:{quote_plus(auth.client_secret)}"
    return url, headers | {"Authorization": f"Basic {b64encode(text.encode()).decode()}"}, body


def _word(error: Any) -> str:
    """The name of an error for the log; nothing that could repeat a code or a secret."""
    text = str(error)
    return text if len(text) <= 40 and text.isidentifier() else "an error without a usable name"
