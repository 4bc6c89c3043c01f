"""The right to write a generation under one epoch, and the facts a worker needs to use it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from app.domain.trace_context import TraceContext
from app.domain.upstreams import UpstreamRun


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write under one epoch. Every write of a worker names it."""

    generation_id: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Claimed:
    """A claimed generation: its lease, and the facts of its row that running it takes. Times are in seconds.

    ``remaining``: until its deadline; None where it has none. ``age``: from its acceptance to this claim.
    ``elapsed``: from its first claim to this one. ``model_version``: the configuration under which it was accepted;
    None where an earlier release accepted it. ``target``: ``upstream/name`` of the target that was called last; None
    for the model's first one. ``request_id``: of the HTTP request that created it. ``upstream_run``: the last run that
    a call has begun at an upstream that keeps runs. ``key_id``: of the API key that asked for the answer; None for
    another credential. ``begun``: earlier claims by workers that did not give the generation back. ``trace``: of
    the HTTP request; None without one.
    """

    lease: Lease
    user_id: str
    conversation_id: str
    message_id: str
    user_message_id: str
    model: str
    parameters: dict[str, Any]
    attempts: list[Any]
    tries: int
    cancelled: bool
    remaining: float | None
    age: float
    model_version: int | None
    elapsed: float = 0.0
    target: str | None = None
    request_id: str | None = None
    upstream_run: UpstreamRun | None = None
    key_id: str | None = None
    begun: int = 0
    trace: TraceContext | None = None
