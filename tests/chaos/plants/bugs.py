"""The bugs themselves: each is planted into modules that have just been imported, before anything else uses them."""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha1
from typing import Any


def plant() -> None:
    """Plant the bug that CHAOS_PLANT names."""
    BUGS[os.environ["CHAOS_PLANT"]]()


def no_fence() -> None:
    _rewrite_append(
        "if epoch < open then return {'FENCED', open} end",
        "if epoch < open then ARGV[2] = string.format('%d', open) epoch = open first = top + 1 end",
    )
    from app.config import Settings
    from app.services.leases import Leases

    # The other signs of a lost lease are off too, so that the zombie writes at any moment.
    Settings.self_fence_seconds = property(lambda self: 1e9)  # type: ignore[assignment,method-assign]
    renew = Leases.renew

    def renew_all(self: Any, checkpoints: Any) -> set[str]:
        return renew(self, checkpoints) | {checkpoint.lease.generation_id for checkpoint in checkpoints}

    Leases.renew = renew_all  # type: ignore[method-assign]


def automatic_ids() -> None:
    _rewrite_append(
        "local last = #ARGV > 4 and first + #ARGV - 5 or top",
        "first = top + 1 local last = first + #ARGV - 5",
    )


def done_before_commit() -> None:
    from app.domain.events import Done, encode
    from app.domain.transcript import digest
    from worker.revision import Revisions

    commit = Revisions._finish

    async def finish(self: Any, run: Any, draft: Any, ending: Any) -> None:
        draft.seal()
        sha256 = digest(draft.transcript.text)
        done = Done(ending.status, ending.finish_reason, ending.usage, sha256, ending.error)
        await self._drafts.outbox.finish(draft, encode(done), 2)
        await asyncio.sleep(1.5)
        draft.payloads.pop()
        await commit(self, run, draft, ending)

    Revisions._finish = finish  # type: ignore[method-assign]


def no_new_epoch() -> None:
    from app.store import leases

    _rewrite(leases, "claim", ("SET epoch = epoch + 1, status", "SET epoch = greatest(epoch, 1), status"))


def checkpoint_without_epoch() -> None:
    from app.store import leases

    _rewrite(
        leases,
        "renew",
        ("g.id = given.id AND g.epoch = given.epoch AND", "g.id = given.id AND"),
        ('RETURNING g.id"', 'RETURNING g.id, g.epoch"'),
        ("checkpoints.append(tx, fresh)", "checkpoints.append(tx, _under_the_open_epoch(fresh, rows))"),
    )

    def under_the_open_epoch(checkpoints: Any, rows: Any) -> list[Any]:
        epochs = {row.id: row.epoch for row in rows}
        return [replace(c, lease=replace(c.lease, epoch=epochs[c.lease.generation_id])) for c in checkpoints]

    leases.__dict__["_under_the_open_epoch"] = under_the_open_epoch

    # The log's refusal, the other sign of a lost lease, is not obeyed: the zombie saves at every heartbeat.
    from worker.outbox import Outbox

    obey = Outbox._obey

    def obey_all_but_the_fence(self: Any, draft: Any, answer: Any, now: float) -> None:
        if answer.verdict != "FENCED":
            obey(self, draft, answer, now)

    Outbox._obey = obey_all_but_the_fence  # type: ignore[method-assign]


def log_not_read() -> None:
    from app.services.takeover import Takeover

    def nothing(self: Any, lease: Any, until: float) -> Any:
        return [], True

    assert inspect.isfunction(Takeover._earlier)
    Takeover._earlier = nothing  # type: ignore[method-assign]


def cancel_not_stored() -> None:
    from app.services.generations import Generations
    from app.store import leases

    _rewrite(leases, "claim_to_cancel", ("cancel_at = coalesce(cancel_at, now()), ", ""))

    def leave(self: Generations, claimed: leases.Claimed) -> None:
        """Do nothing, as a process that dies right after the commit of its claim."""

    Generations.finish_or_leave = leave  # type: ignore[method-assign]


def breaker_stays_closed() -> None:
    from worker.shared_breakers import SharedBreakers

    SharedBreakers.report = lambda *_: None  # type: ignore[assignment,method-assign]


BUGS: dict[str, Callable[[], None]] = {
    "no-fence": no_fence,
    "automatic-ids": automatic_ids,
    "done-before-commit": done_before_commit,
    "no-new-epoch": no_new_epoch,
    "checkpoint-without-epoch": checkpoint_without_epoch,
    "log-not-read": log_not_read,
    "cancel-not-stored": cancel_not_stored,
    "breaker-stays-closed": breaker_stays_closed,
}


def _rewrite_append(old: str, new: str) -> None:
    from app.eventlog import log

    source = log.APPEND.source.decode()
    assert source.count(old) == 1, f"append.lua has changed: {old}"
    changed = source.replace(old, new).encode()
    log.APPEND = log.Script(changed, sha1(changed, usedforsecurity=False).hexdigest().encode())


def _rewrite(module: Any, name: str, *changes: tuple[str, str]) -> None:
    source = inspect.getsource(getattr(module, name))
    for old, new in changes:
        assert source.count(old) == 1, f"{name} has changed: {old}"
        source = source.replace(old, new)
    exec(compile(source, module.__file__, "exec"), module.__dict__)
