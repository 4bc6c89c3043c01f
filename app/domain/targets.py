"""Targets: the upstreams and names under which the answers of one model can be made, in order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

Continuation = Literal["prefill", "vllm", "instruction", "none"]
CONTINUATIONS: frozenset[str] = frozenset(get_args(Continuation))
# The most targets of one model: an answer tries each of them.
MOST_TARGETS = 8


@dataclass(frozen=True, slots=True)
class Target:
    """A model of an upstream. ``upstream`` is a provider's name, ``name`` the upstream's own name of the model.

    ``parameters`` are added to those of the model, for calls of this target only. ``continuation`` is the way in which
    this target continues a text; None for the upstream's way.
    """

    upstream: str
    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    continuation: Continuation | None = None

    @property
    def key(self) -> str:
        """The target in attempts, breakers and metrics: ``upstream/name``."""
        return f"{self.upstream}/{self.name}"
