"""The variables of webhooks."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, field_validator
from pydantic_settings import BaseSettings, NoDecode

from app.egress.rules import EgressRules, read_networks, read_ports


def _words(value: Any) -> Any:
    return tuple(word.strip() for word in value.split(",") if word.strip()) if isinstance(value, str) else value


class WebhookSettings(BaseSettings):
    """The receivers that may be called, the bounds of the sender in each worker process, and the bounds of users."""

    webhook_allowed_networks: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_words)] = ()
    webhook_allow_http: bool = False
    webhook_ports: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_words)] = ("443", "8443")
    webhook_timeout_seconds: float = Field(15, ge=1, le=60)
    webhooks_at_once: int = Field(100, ge=1, le=1000)
    webhooks_at_once_per_endpoint: int = Field(5, ge=1, le=100)

    max_webhook_endpoints_per_user: int = Field(20, ge=0, le=1000)
    max_webhooks_waiting_per_user: int = Field(10_000, ge=1, le=1_000_000)
    webhook_days: int = Field(30, ge=1, le=3650)

    @field_validator("webhook_allowed_networks")
    @classmethod
    def _networks(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
        read_networks(networks)
        return networks

    @field_validator("webhook_ports")
    @classmethod
    def _ports(cls, ports: tuple[str, ...]) -> tuple[str, ...]:
        read_ports(ports)
        return ports

    @property
    def egress_rules(self) -> EgressRules:
        """The rules for addresses that users name."""
        networks = read_networks(self.webhook_allowed_networks)
        return EgressRules(networks, read_ports(self.webhook_ports), self.webhook_allow_http)
