"""A target with its provider, and one call of it as its breaker has admitted it."""

from __future__ import annotations

from dataclasses import dataclass

from app.domain.breaker import Admission
from app.domain.targets import Target
from worker.providers.base import Provider


@dataclass(frozen=True, slots=True)
class Candidate:
    """A target, with the provider that calls it."""

    target: Target
    provider: Provider

    @property
    def key(self) -> str:
        """See Target.key."""
        return self.target.key

    @property
    def continues(self) -> bool:
        """True when a prompt for this target may carry a prefix."""
        return self.provider.continues


@dataclass(frozen=True, slots=True)
class TargetCall:
    """A call of a target. ``admission`` is None where no breaker was asked: the model has one target."""

    candidate: Candidate
    admission: Admission | None = None

    @property
    def key(self) -> str:
        """See Target.key."""
        return self.candidate.key
