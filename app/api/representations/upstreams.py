"""Upstreams as operators see them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel, Field

from app.api.representations.fields import Json
from app.services.upstream_status import TargetStatus, UpstreamStatus

BreakerState = Literal["closed", "half_open", "open"]


class WatchedTarget(BaseModel):
    """A target of configured models."""

    name: str = Field(description="The upstream's own name of the model")
    breaker: BreakerState
    failures: int = Field(description="In a row")
    seconds: float = Field(description="Until its breaker admits a call; 0 when it does")
    models: list[str]

    @staticmethod
    def of(target: TargetStatus) -> Json:
        """A target with its breaker."""
        state, failures, seconds = target.breaker
        return {
            "name": target.name,
            "breaker": state,
            "failures": failures,
            "seconds": seconds,
            "models": target.models,
        }


class WatchedUpstream(BaseModel):
    """An upstream, with the breakers of its targets."""

    name: str
    kind: str | None = Field(description="Its protocol; null before a worker has started that knows the upstream")
    breaker: BreakerState = Field(description="The worst of its targets")
    failures: int = Field(description="Of all its targets")
    models: list[str] = Field(description="The models that have a target there")
    targets: list[WatchedTarget]

    @staticmethod
    def of(upstream: UpstreamStatus) -> Json:
        """An upstream and its targets."""
        return {
            "name": upstream.name,
            "kind": upstream.kind,
            "breaker": upstream.breaker,
            "failures": upstream.failures,
            "models": upstream.models,
            "targets": [WatchedTarget.of(target) for target in upstream.targets],
        }


class WatchedUpstreams(BaseModel):
    """Every configured upstream, in order."""

    items: list[WatchedUpstream]

    @staticmethod
    def of(found: Iterable[UpstreamStatus]) -> Json:
        """Every upstream."""
        return {"items": [WatchedUpstream.of(one) for one in found]}
