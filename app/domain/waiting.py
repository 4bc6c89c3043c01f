"""The reason for which an unfinished answer has nothing new to show. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

Reason = Literal["conversation", "own_limit", "queue", "retry", "failover", "worker"]


@dataclass(frozen=True, slots=True)
class Waiting:
    """The reason of a wait.

    ``conversation``: an earlier answer of the conversation is not finished. ``own_limit``: the user has as many running
    answers as one user may have. ``queue``: all slots are taken. ``retry``: the provider failed, and is called again.
    ``failover``: the provider failed, and another one is called. ``worker``: the worker has missed its heartbeats, and
    another one takes over at the end of its lease.

    ``until``: the next attempt begins then, or the lease ends. ``error``: the code of the failure. ``attempt``: the
    number of the call that follows it.
    """

    reason: Reason
    until: datetime | None = None
    error: str | None = None
    attempt: int | None = None


@dataclass(frozen=True, slots=True)
class WaitFacts:
    """The facts of an unfinished generation's row that explain a wait.

    ``is_behind``: an earlier answer of its conversation is not finished. ``running``: the running answers of its user.
    ``is_quiet``: its worker has missed heartbeats. ``lease_until``: None without a lease. ``moment``: the newest one of
    its life; see app/store/moments.py.
    """

    status: str
    epoch: int
    is_cancelled: bool
    is_behind: bool
    running: int
    is_quiet: bool
    lease_until: datetime | None
    moment: Mapping[str, Any] | None


def waiting(facts: WaitFacts, has_begun: bool, most_running: Callable[[], int]) -> Waiting | None:
    """The reason of a wait, or None: the model is at work.

    ``has_begun``: events behind the first one of the revision are known. ``most_running``: the cap on the running
    answers of one user.
    """
    if facts.is_cancelled:
        return None
    if facts.status == "queued":
        return Waiting(_of_queued(facts, most_running))
    if facts.is_quiet:
        return Waiting("worker", until=facts.lease_until)
    moment = facts.moment
    if has_begun or moment is None or moment["epoch"] != facts.epoch:
        return None
    if moment["what"] == "pause":
        until = datetime.fromtimestamp(moment["at"], UTC) + timedelta(seconds=moment["seconds"])
        return Waiting("retry", until, moment["error"], moment["attempt"])
    return Waiting("failover") if moment["what"] == "target" else None


def _of_queued(facts: WaitFacts, most_running: Callable[[], int]) -> Reason:
    if facts.is_behind:
        return "conversation"
    return "own_limit" if facts.running >= most_running() else "queue"
