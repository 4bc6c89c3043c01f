"""The discovery document of the identity provider (OpenID Connect Discovery 1.0)."""

from __future__ import annotations

from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.domain.errors import SignInFailed
from app.openid.transport import Transport

FRESH_SECONDS = 3600.0
STALE_SECONDS = 86_400.0
# A provider that announces none has to sign with this one (Discovery 1.0, section 3).
_DEFAULT_ALGORITHM = "RS256"
# A shared secret or none at all proves nothing here: the public key would be the secret.
ASYMMETRIC = frozenset({
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519",
})  # fmt: skip


class Metadata(BaseModel):
    """The fields of a discovery document that are used; others are left out."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None = None
    end_session_endpoint: str | None = None
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)
    signing: tuple[str, ...] = Field((_DEFAULT_ALGORITHM,), alias="id_token_signing_alg_values_supported")
    names_itself: bool = Field(False, alias="authorization_response_iss_parameter_supported")

    @property
    def algorithms(self) -> frozenset[str]:
        """The algorithms with which a token may be signed."""
        return ASYMMETRIC.intersection(self.signing)

    @property
    def addresses(self) -> list[str]:
        """Every address that is called or that a browser is sent to."""
        named = (self.authorization_endpoint, self.token_endpoint, self.jwks_uri)
        return [*named, *(url for url in (self.userinfo_endpoint, self.end_session_endpoint) if url)]

    @property
    def client_authentication(self) -> str:
        """The way in which the client proves itself at the token endpoint. Raises SignInFailed for none we have."""
        for method in ("client_secret_basic", "client_secret_post"):
            if method in self.token_endpoint_auth_methods_supported:
                return method
        raise SignInFailed("the identity provider accepts neither client_secret_basic nor client_secret_post")


def fetch(issuer: str, transport: Transport) -> Metadata:
    """The document of an issuer, which has to name exactly this issuer. Raises ProviderDown, SignInFailed."""
    reply = transport.get(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
    if reply.status != 200:
        raise SignInFailed(f"the discovery document is answered with HTTP {reply.status}")
    try:
        found = Metadata.model_validate(reply.object())
    except ValidationError as error:
        fields = ", ".join(sorted({str(each["loc"][0]) for each in error.errors()}))
        raise SignInFailed(f"the discovery document has no usable {fields}") from None
    if found.issuer != issuer:
        raise SignInFailed(f"the discovery document is that of another issuer, {found.issuer[:200]!r}")
    if not found.algorithms:
        raise SignInFailed("the discovery document names no asymmetric algorithm of signatures")
    scheme = urlsplit(issuer).scheme
    if not all(_usable(url, scheme) for url in found.addresses):
        raise SignInFailed("the discovery document has an address that is not https")
    return found


def _usable(url: str, scheme: str) -> bool:
    """True for an address over TLS; for one without, when the issuer's own has none (on this machine)."""
    try:
        parts = urlsplit(url)
        return parts.scheme in ("https", scheme) and bool(parts.hostname) and "@" not in parts.netloc
    except ValueError:
        return False
