"""The line of life of a generation: what its row tells of it, in the order of time. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal

What = Literal[
    "queued",
    "claimed",
    "takeover",
    "first_token",
    "checkpoint",
    "retry",
    "failover",
    "released",
    "cancel_requested",
    "fail_requested",
    "end",
]
# The moments that a row keeps, and what each is called.
_NOTED: dict[str, What] = {
    "takeover": "takeover",
    "revision": "retry",
    "target": "failover",
    "released": "released",
    "cancel_requested": "cancel_requested",
    "fail_requested": "fail_requested",
}
_BY_REQUESTS = frozenset({"cancel_requested", "fail_requested"})
# The order of moments of one time.
_ORDER: dict[str, int] = {"queued": 0, "end": 2}


@dataclass(frozen=True, slots=True)
class Facts:
    """The facts of a generation's row. ``saved``: the number of stored events, by epoch."""

    created_at: datetime
    started_at: datetime | None
    first_token_at: datetime | None
    finished_at: datetime | None
    last_updated: datetime
    status: str
    finish_reason: str | None
    error: Mapping[str, Any] | None
    worker: str | None
    epoch: int
    moments: Sequence[Mapping[str, Any]]
    attempts: Sequence[Mapping[str, Any]]
    saved: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Moment:
    """A moment of a life. ``attempt`` is the number of the call that was, or began, then; None where there is none."""

    at: datetime
    what: What
    worker: str | None = None
    epoch: int = 0
    attempt: int | None = None
    detail: dict[str, Any] = field(default_factory=dict)


def timeline(facts: Facts, lease_seconds: float) -> list[Moment]:
    """All moments, oldest first. ``lease_seconds``: the length of a lease, from whose end its last renewal follows."""
    held = _merged(_held(facts))
    found = [Moment(facts.created_at, "queued"), *held]
    if facts.first_token_at is not None:
        found.append(_placed(held, Moment(facts.first_token_at, "first_token")))
    found += _checkpoints(held, facts, lease_seconds)
    if facts.finished_at is not None:
        detail = {"status": facts.status, "finish_reason": facts.finish_reason}
        if facts.error is not None:
            detail["error"] = facts.error.get("code")
        found.append(Moment(facts.finished_at, "end", facts.worker, facts.epoch, len(facts.attempts) or None, detail))
    return sorted(found, key=lambda moment: (moment.at, _ORDER.get(moment.what, 1)))


def _held(facts: Facts) -> list[Moment]:
    """The first claim, and the moments that were noted, each with the worker that held the generation then."""
    noted = [moment for moment in facts.moments if moment["what"] in _NOTED]
    found = list[Moment]()
    if facts.started_at is not None and not any(m["epoch"] == 1 and m["what"] in _BY_REQUESTS for m in noted):
        # A takeover names the worker that was left; the row, the last one.
        number = _number(1, "claimed", facts.attempts)
        found.append(Moment(facts.started_at, "claimed", _worker(noted, facts), 1, number))
    for n, moment in enumerate(noted, 1):
        what, epoch = _NOTED[moment["what"]], moment["epoch"]
        is_request = moment["what"] in _BY_REQUESTS
        found.append(
            Moment(
                _time(moment["at"]),
                what,
                None if is_request else _worker(noted[n:], facts),
                epoch,
                None if is_request else _number(epoch, what, facts.attempts),
                _detail(moment, facts.attempts),
            )
        )
    return found


def _worker(following: Sequence[Mapping[str, Any]], facts: Facts) -> str | None:
    """The worker that held a generation before the moments that follow."""
    left = (moment["left"] for moment in following if moment["what"] == "takeover")
    return next(left, facts.worker)


def _detail(moment: Mapping[str, Any], attempts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    match moment["what"]:
        case "takeover":
            ended = moment.get("lease_until")
            if ended is None:
                return {"reason": "released", "lease_ended": None}
            return {"reason": "expired", "lease_ended": _time(ended)}
        case "revision":
            return _left(moment["epoch"], attempts)
        case "target":
            return {**_left(moment["epoch"], attempts), "target": moment.get("target")}
    return {}


def _merged(noted: Iterable[Moment]) -> list[Moment]:
    """The moments; a revision that begins for another target is one failover."""
    merged = list[Moment]()
    for moment in noted:
        before = merged[-1] if merged else None
        if moment.what == "failover" and before and before.what == "retry" and before.epoch == moment.epoch:
            merged[-1] = replace(moment, at=before.at, detail={**moment.detail, **before.detail})
        else:
            merged.append(moment)
    return merged


def _left(epoch: int, attempts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The outcome and the target of the call before, where it was recorded."""
    earlier = [attempt for attempt in attempts if attempt.get("epoch", 0) < epoch] or list(attempts[:1])
    last = earlier[-1] if earlier else {}
    return {"outcome": last.get("outcome"), "left": last.get("target")}


def _number(epoch: int, what: str, attempts: Sequence[Mapping[str, Any]]) -> int:
    """The number of the call in an epoch: its first, or its last when it was given back; of a running one, the next."""
    of_epoch = [attempt.get("attempt") or n for n, attempt in enumerate(attempts, 1) if attempt.get("epoch") == epoch]
    if of_epoch:
        return int(of_epoch[-1 if what == "released" else 0])
    return sum(1 for attempt in attempts if attempt.get("epoch", 0) < epoch) + 1


def _placed(held: Sequence[Moment], moment: Moment) -> Moment:
    """A moment in the epoch that was in force then."""
    before = [one for one in held if one.at <= moment.at and one.what not in _BY_REQUESTS] or list(held[:1])
    if not before:
        return moment
    return replace(moment, worker=before[-1].worker, epoch=before[-1].epoch, attempt=before[-1].attempt)


def _checkpoints(held: Sequence[Moment], facts: Facts, lease_seconds: float) -> list[Moment]:
    """One moment for each epoch that events were stored of: when the last ones were."""
    found = []
    for epoch, events in sorted(facts.saved.items()):
        of_epoch = [one for one in held if one.epoch == epoch and one.what not in _BY_REQUESTS]
        if not of_epoch:
            continue
        at = _last_saved(epoch, held, facts, lease_seconds)
        begun = of_epoch[0]
        found.append(Moment(max(at, begun.at), "checkpoint", begun.worker, epoch, begun.attempt, {"events": events}))
    return found


def _last_saved(epoch: int, held: Sequence[Moment], facts: Facts, lease_seconds: float) -> datetime:
    following = next((one for one in held if one.epoch > epoch), None)
    if following is None:
        return facts.finished_at or facts.last_updated
    ended = following.detail.get("lease_ended")
    if ended is None:
        return following.at
    return min(following.at, datetime.fromtimestamp(ended.timestamp() - lease_seconds, UTC))


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
