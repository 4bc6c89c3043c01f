"""The variables of the public address and of sign-in by an identity provider (OpenID Connect)."""

from __future__ import annotations

import re
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode

from app.domain.session import SessionRules
from app.openid.client import Client
from app.upstream_settings import some_server

# Without one of them nobody can sign in by an identity provider.
NEEDED = ("public_url", "oidc_issuer", "oidc_client_id", "oidc_client_secret")
# They only say something about an identity provider.
_BESIDE = ("oidc_admin_values", "oidc_support_values", "oidc_operator_values", "oidc_allowed_domains")
_ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9a-f:.]+\](:[0-9]{1,5})?")
_DOMAIN = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+")
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


def _words(value: Any) -> Any:
    return tuple(word.strip() for word in value.split(",") if word.strip()) if isinstance(value, str) else value


class SignInSettings(BaseSettings):
    """The variables of sign-in; all of them are optional, and those of OIDC belong together."""

    public_url: str | None = None
    sign_in_over_http: bool = False
    session_idle_seconds: float = Field(604_800, ge=300, le=31_536_000)
    session_max_seconds: float = Field(2_592_000, ge=300, le=31_536_000)
    max_sessions_per_user: int = Field(50, ge=1, le=1000)
    oidc_issuer: str | None = Field(None, max_length=1000)
    oidc_client_id: str | None = Field(None, max_length=1000)
    oidc_scopes: str = Field("openid profile email", max_length=1000)
    oidc_role_claim: str = Field("roles", min_length=1, max_length=200)
    oidc_admin_values: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_words)] = ()
    oidc_support_values: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_words)] = ()
    oidc_operator_values: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_words)] = ()
    oidc_allowed_domains: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_words)] = ()
    oidc_client_secret: SecretStr | None = Field(None, validate_default=True, max_length=1000)

    @field_validator("public_url")
    @classmethod
    def _some_origin(cls, url: str | None) -> str | None:
        if url is None:
            return None
        origin = some_server(url.lower().removesuffix("/"))
        if not _ORIGIN.fullmatch(origin):
            raise ValueError("it has to be scheme://host or scheme://host:port, as https://chat.example.com")
        return origin

    @field_validator("oidc_issuer")
    @classmethod
    def _some_issuer(cls, url: str | None) -> str | None:
        if url is None:
            return None
        parts = urlsplit(some_server(url))
        if parts.query or parts.fragment or "@" in parts.netloc:
            raise ValueError("an issuer has no query, no fragment and no password")
        if not is_safe(url):
            raise ValueError("an issuer begins with https://; http:// is accepted on this machine only")
        return url

    @field_validator("oidc_scopes")
    @classmethod
    def _with_openid(cls, scopes: str) -> str:
        if "openid" not in scopes.split():
            raise ValueError("the scope openid has to be among them, separated by spaces")
        return " ".join(scopes.split())

    @field_validator("oidc_allowed_domains")
    @classmethod
    def _domains(cls, domains: tuple[str, ...]) -> tuple[str, ...]:
        names = tuple(domain.lower() for domain in domains)
        if not all(_DOMAIN.fullmatch(name) for name in names):
            raise ValueError("a domain is written as in an e-mail address: example.com,example.org")
        return names

    # Compared in the validator of the last one: a validator of the whole model runs only when every variable is valid.
    @field_validator("oidc_client_secret")
    @classmethod
    def _complete(cls, secret: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        values = {**info.data, "oidc_client_secret": secret}
        if not any(values.get(name) for name in (*NEEDED[1:], *_BESIDE)):
            return None
        missing = [name.upper() for name in NEEDED if name in values and not values[name]]
        if missing:
            needed = ", ".join(name.upper() for name in NEEDED)
            raise ValueError(f"missing: {', '.join(missing)}; sign-in by an identity provider needs {needed}")
        if values.get("public_url") and not is_safe(values["public_url"]):
            raise ValueError("PUBLIC_URL has to begin with https://; http:// is accepted on this machine only")
        return secret

    @property
    def session_rules(self) -> SessionRules:
        """The bounds of sessions."""
        return SessionRules(self.session_idle_seconds, self.session_max_seconds, self.max_sessions_per_user)

    @property
    def oidc_client(self) -> Client:
        """This service as the identity provider knows it."""
        return Client(
            issuer=self.oidc_issuer or "",
            client_id=self.oidc_client_id or "",
            client_secret=self.oidc_client_secret.get_secret_value() if self.oidc_client_secret else "",
            public_url=self.public_url or "",
            scopes=self.oidc_scopes,
            role_claim=self.oidc_role_claim,
            admin_values=frozenset(self.oidc_admin_values),
            support_values=frozenset(self.oidc_support_values),
            operator_values=frozenset(self.oidc_operator_values),
            allowed_domains=frozenset(self.oidc_allowed_domains),
        )


def is_safe(url: str) -> bool:
    """True for an address over TLS, and for one of this machine."""
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
