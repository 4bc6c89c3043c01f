"""The identity provider, as a sign-in and a sign-out use it. Every call ends within seconds."""

from __future__ import annotations

from collections.abc import Mapping
from hmac import compare_digest
from typing import Any

from authlib.common.urls import add_params_to_uri

from app.domain.errors import SignInFailed
from app.openid import claims, discovery, id_token, logout_token, signed
from app.openid.cached import Cached
from app.openid.client import AuthorizationRequest, Client, Ended, Identity
from app.openid.code_exchange import CodeFlow, Tokens
from app.openid.discovery import Metadata
from app.openid.keys import Keys
from app.openid.transport import Transport

# Characters of a code.
_LONGEST_CODE = 4096
# Characters of an ID token that still fits an address; a longer one is left out of the sign-out.
_LONGEST_HINT = 4000
_CANCELLED = "The sign-in was cancelled."


class IdentityProvider:
    """One identity provider and this service as its client. Any thread may use it; it connects at the first use."""

    def __init__(self, client: Client, transport: Transport) -> None:
        self._client = client
        self._transport = transport
        self._discovery = Cached(
            lambda: discovery.fetch(client.issuer, transport), discovery.FRESH_SECONDS, discovery.STALE_SECONDS
        )
        self._keys = Keys(lambda: self._discovery.get().jwks_uri, transport)
        self._flow = CodeFlow(client, transport)

    @property
    def issuer(self) -> str:
        """The issuer, which is a part of everybody's identity."""
        return self._client.issuer

    def begin(self) -> AuthorizationRequest:
        """A new sign-in. Raises ProviderDown, SignInFailed."""
        return self._flow.begin(self._discovery.get())

    def finish(self, answer: Mapping[str, str], begun: AuthorizationRequest) -> Identity:
        """The person whom the provider's answer names. ``answer`` has the parameters of the callback.

        ``begun`` is the sign-in that this browser began, good for one answer. Raises SignInFailed, ProviderDown.
        """
        if not compare_digest(answer.get("state", "").encode(), begun.state.encode()):
            raise SignInFailed("the answer has another state")
        metadata = self._discovery.get()
        code = _code(answer, metadata)
        tokens = self._flow.exchange(metadata, code, begun.verifier)
        token = signed.read(tokens.id_token, metadata.algorithms, self._keys)
        given = id_token.check(token, self._client, begun.nonce, tokens.access_token)
        given = {**self._userinfo(metadata, tokens, given), **given}
        claims.check_domain(given, self._client)
        return Identity(
            issuer=self._client.issuer,
            subject=given["sub"],
            email=claims.email(given),
            name=claims.text(given.get("name")) or claims.text(given.get("preferred_username")),
            role=claims.role(given, self._client),
            sid=claims.text(given.get("sid")),
            id_token=tokens.id_token,
        )

    def ended(self, token: str) -> Ended:
        """The sessions that a logout token ends. Raises SignInFailed, ProviderDown."""
        metadata = self._discovery.get()
        return logout_token.check(signed.read(token, metadata.algorithms, self._keys), self._client)

    def end_session_url(self, id_token_hint: str | None, state: str) -> str | None:
        """The address that ends the session at the provider; None when it has none. Raises ProviderDown, SignInFailed.

        The provider sends the browser back to the page of sign-in with ``state``.
        """
        endpoint = self._discovery.get().end_session_endpoint
        if endpoint is None:
            return None
        parameters = [
            ("client_id", self._client.client_id),
            ("post_logout_redirect_uri", self._client.signed_out_uri),
            ("state", state),
        ]
        if id_token_hint and len(id_token_hint) <= _LONGEST_HINT:
            parameters.append(("id_token_hint", id_token_hint))
        url: str = add_params_to_uri(endpoint, parameters)
        return url

    def close(self) -> None:
        """Close what is open."""
        self._transport.close()

    def _userinfo(self, metadata: Metadata, tokens: Tokens, given: Mapping[str, Any]) -> dict[str, Any]:
        """The claims of the userinfo endpoint, read when the ID token lacks one that is used."""
        lacking = claims.email(given) is None or claims.find(given, self._client.role_claim) is None
        if not lacking or metadata.userinfo_endpoint is None or tokens.access_token is None:
            return {}
        if not tokens.access_token.isascii() or not tokens.access_token.isprintable():
            raise SignInFailed("the access token does not fit a header")
        reply = self._transport.get(metadata.userinfo_endpoint, {"Authorization": f"Bearer {tokens.access_token}"})
        found = reply.object() if reply.status == 200 else {}
        if found.get("sub") != given["sub"]:
            raise SignInFailed(f"the userinfo endpoint names nobody, or another subject (HTTP {reply.status})")
        return found


def _code(answer: Mapping[str, str], metadata: Metadata) -> str:
    """The code of an answer that comes from this provider (RFC 9207)."""
    issuer = answer.get("iss")
    if issuer != metadata.issuer if issuer is not None else metadata.names_itself:
        raise SignInFailed("the answer does not come from the identity provider that was asked")
    error = answer.get("error")
    if error is not None:
        word = error if len(error) <= 40 and error.isidentifier() else "an error without a usable name"
        raise SignInFailed(f"the identity provider answers {word}", _CANCELLED if word == "access_denied" else None)
    code = answer.get("code", "")
    if not 1 <= len(code) <= _LONGEST_CODE or not code.isascii() or not code.isprintable():
        raise SignInFailed("the answer has no code")
    return code
