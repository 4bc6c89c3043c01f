"""The notes of a worker beside its lease while it calls providers: the target and the run of a call."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from app.domain.lease import Lease
from app.domain.upstreams import UpstreamRun
from app.store.database import Tx, as_json, execute
from app.store.moments import noted


def note_target(tx: Tx, lease: Lease, target: str, attempts: list[Any]) -> None:
    """Store the target that is called from now on, for the worker of a takeover, and the attempts before."""
    execute(
        tx,
        f"""UPDATE generations SET target = :target, attempts = :attempts,
               {noted("target", more="'target', CAST(:target AS text)")}
           WHERE id = :id AND epoch = :epoch AND status = 'running' AND lease_until IS NOT NULL""",
        id=lease.generation_id,
        epoch=lease.epoch,
        target=target,
        attempts=as_json(attempts),
    )


def note_pause(tx: Tx, lease: Lease, error: str, attempt: int, seconds: float) -> None:
    """Store that the next attempt begins in so many seconds, after a failure with the code ``error``."""
    more = "'error', CAST(:error AS text), 'attempt', CAST(:attempt AS int), 'seconds', CAST(:seconds AS float8)"
    execute(
        tx,
        f"""UPDATE generations SET {noted("pause", more=more)}
           WHERE id = :id AND epoch = :epoch AND status = 'running' AND lease_until IS NOT NULL""",
        id=lease.generation_id,
        epoch=lease.epoch,
        error=error,
        attempt=attempt,
        seconds=seconds,
    )


def note_run(tx: Tx, lease: Lease, run: UpstreamRun | None) -> bool:
    """Store the run that a call has begun, or that nobody comes back to it. False: the lease was lost."""
    return (
        execute(
            tx,
            """UPDATE generations SET upstream_run = :run
               WHERE id = :id AND epoch = :epoch AND status = 'running' AND lease_until IS NOT NULL""",
            id=lease.generation_id,
            epoch=lease.epoch,
            run=as_json(asdict(run)) if run else None,
        )
        == 1
    )
