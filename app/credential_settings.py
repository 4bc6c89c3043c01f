"""The variables of tokens, API keys and signed requests."""

from __future__ import annotations

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings

from app.domain.signing_keys import SigningKey, parse_keys
from app.upstream_settings import some_server


class CredentialSettings(BaseSettings):
    """The secrets and keys that verify tokens and signatures."""

    jwt_secret: SecretStr | None = None
    jwt_secret_previous: SecretStr | None = None
    jwt_jwks_url: str | None = Field(None, pattern=r"^https?://", validate_default=True)
    jwt_audience: str = "unbroken"
    jwt_issuer: str = "unbroken"
    hmac_keys: SecretStr | None = None
    max_api_keys_per_user: int = Field(100, ge=1, le=10_000)
    signature_window_seconds: int = Field(300, ge=10, le=3600)

    @field_validator("jwt_secret", "jwt_secret_previous")
    @classmethod
    def _long_enough(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None and len(secret.get_secret_value().encode()) < 32:
            raise ValueError("a signing secret needs at least 32 bytes")
        return secret

    # Compared in the validator of the second one: one of the whole model runs only when every variable is valid.
    @field_validator("jwt_jwks_url")
    @classmethod
    def _some_way_to_check_tokens(cls, url: str | None, info: ValidationInfo) -> str | None:
        if url is None and info.data.get("jwt_secret", "") is None:
            raise ValueError("one of JWT_SECRET and JWT_JWKS_URL is needed")
        return None if url is None else some_server(url)

    @field_validator("hmac_keys")
    @classmethod
    def _readable_keys(cls, keys: SecretStr | None) -> SecretStr | None:
        if keys is not None:
            parse_keys(keys.get_secret_value())
        return keys

    @property
    def signing_keys(self) -> tuple[SigningKey, ...]:
        """The keys of signed requests."""
        return () if self.hmac_keys is None else parse_keys(self.hmac_keys.get_secret_value())
