"""The readiness of the service by its numbers: the reasons against it, and the gaps of a ready service. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from app.store import admin_generations

STUCK_SECONDS = float(admin_generations.STUCK_SECONDS)
# Seconds. An expired lease is taken over within a sweep; a worker that cannot read the log leaves it to others for 5 s.
ABANDONED_SECONDS = 8.0
# Seconds after which a queue behind full slots is named; a burst of short answers has gone by then.
FULL_SECONDS = 5.0

Census = dict[str, float]

NO_WORKER = "No worker is alive: none has reported within the last seconds."
DRAINED = "Every living worker is drained by an operator: no answer begins until one is undrained or another starts."
WAITING = (
    f"Generations have been queued for more than {STUCK_SECONDS:.0f} seconds (STUCK_SECONDS) and no worker is at work."
)
ABANDONED = (
    f"A running generation has been without a worker for more than {ABANDONED_SECONDS:.0f} seconds (ABANDONED_SECONDS)."
)
LEAVING = "The last worker has drained; another one is expected within seconds."
LOST = "A worker that has running generations is lost; others continue them when their leases end."
LOST_IDLE = "A worker has stopped reporting within the last ten minutes; others are alive."
FULL = f"Every slot is taken, and generations have been queued for more than {FULL_SECONDS:.0f} seconds (FULL_SECONDS)."
REFUSING = "The breaker of a target is open: its calls go to other targets, or wait and fail."
BEHIND = "This process has not read what was revoked for a while: it looks every credential up, streams end late."
NO_REDIS = "Redis does not answer; streams are served from PostgreSQL, limits are counted by each process alone."
NO_WRITES = (
    "Redis refuses writes, as a full one does; streams are served from PostgreSQL, a sweep begins new generations."
)
# Seconds for which a write that PostgreSQL has refused to this process is named. Reads and reports go on meanwhile.
REFUSED_SECONDS = 15.0
NO_DATABASE_WRITES = (
    "PostgreSQL has refused a write a moment ago: its disk is full, or the server only reads; new messages get 503."
)
NOT_MIGRATED = "The database is not migrated."


def judge(census: Census) -> tuple[list[str], list[str]]:
    """The reasons for which the service is not ready, and the gaps of a ready service, by these numbers."""
    reasons: list[str] = []
    degraded: list[str] = []
    if not census["workers_alive"]:
        if census["workers_leaving"]:
            degraded.append(LEAVING)
        else:
            reasons.append(DRAINED if census["workers_drained"] else NO_WORKER)
    if census["oldest_queued_seconds"] > STUCK_SECONDS and not census["working"]:
        reasons.append(WAITING)
    elif census["oldest_queued_seconds"] > FULL_SECONDS and census["running"] >= census["slots"] > 0:
        degraded.append(FULL)
    if census["abandoned_seconds"] > ABANDONED_SECONDS:
        reasons.append(ABANDONED)
    elif census["lost"] and not reasons:
        degraded.append(LOST)
    elif census["workers_lost"] and census["workers_alive"]:
        degraded.append(LOST_IDLE)
    return reasons, degraded


def judge_stores(redis: str, open_breakers: Sequence[str]) -> list[str]:
    """The gaps that Redis (``ok``, ``down``, ``no writes``) and the targets with an open breaker leave."""
    gaps = {"ok": [], "down": [NO_REDIS], "no writes": [NO_WRITES]}[redis]
    return [*gaps, REFUSING] if open_breakers else gaps
