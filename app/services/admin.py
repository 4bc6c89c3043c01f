"""Actions of administrators on generations of any user: list, cancel, fail, requeue."""

from __future__ import annotations

from dataclasses import dataclass, replace

from app.domain.answer_errors import AnswerError
from app.domain.answer_format import restored_parameters
from app.domain.audit import Actor
from app.domain.commands import Regenerate, User
from app.domain.credential import Credential
from app.domain.errors import LeaseLost, NotFound, StoreDown, WrongState
from app.domain.time_ids import first_after, first_since
from app.services.generation_start import GenerationStarter
from app.services.generations import Generations
from app.store import admin_generations, audit, generations, leases, usage
from app.store.admin_generations import SavedEvents, Wanted, Watched
from app.store.database import Database, Tx

# Two administrators who fail one generation take it from each other; each tries so often.
FAIL_TRIES = 5
# The error of a generation that an administrator has failed.
_FAILED: AnswerError = "failed_by_operator"
GIVEN_UP = {"code": _FAILED, "message": "An operator ended this answer."}


@dataclass(frozen=True, slots=True)
class WatchedPage:
    """A page of generations. ``next_cursor`` is None for the last page; another page may have fewer than its limit."""

    items: list[Watched]
    next_cursor: str | None


class GenerationAdmin:
    """Acts in the name of a generation's owner. Every method raises NotFound for one that does not exist.

    An action is audited before it begins: it has several transactions, and none may be without its row.
    """

    def __init__(self, database: Database, generations: Generations, starter: GenerationStarter, lease: float) -> None:
        self._database = database
        self._generations = generations
        self._starter = starter
        self._lease = lease

    def look(self, wanted: Wanted, limit: int) -> WatchedPage:
        """Generations of all users, newest first."""
        with self._database.operator() as tx:
            ids, looked_to = admin_generations.find(tx, _in_time(wanted), limit + 1)
            shown = admin_generations.some(tx, ids[:limit])
        return WatchedPage(shown, ids[limit - 1] if len(ids) > limit else looked_to)

    def one(self, generation_id: str) -> tuple[Watched, list[SavedEvents]]:
        """A generation with the number of its stored events."""
        with self._database.operator() as tx:
            return _present(tx, generation_id), admin_generations.saved_events(tx, generation_id)

    def cancel(self, actor: Actor, generation_id: str, reason: str | None = None) -> Watched:
        """Cancel a generation as its owner would; a second cancel changes nothing."""
        owner = self._owner(actor, "generation.cancelled", self._get(generation_id), reason)
        self._generations.cancel(owner, generation_id)
        return self._get(generation_id)

    def fail(self, actor: Actor, generation_id: str, reason: str | None = None) -> Watched:
        """End a generation as an error, with its text so far. Raises WrongState after its end or its cancel."""
        owner = self._owner(actor, "generation.failed", self._get(generation_id), reason)
        for _ in range(FAIL_TRIES):
            with self._database.user(owner.id) as tx:
                claimed = leases.take(tx, generation_id, self._lease)
            if claimed is None:
                self._get(generation_id)
                raise WrongState("Only a queued or running answer can be failed.")
            try:
                self._generations.finish_failed(claimed, GIVEN_UP)
                return self._get(generation_id)
            except LeaseLost:
                continue  # another request has claimed it meanwhile; the first commit wins
        raise StoreDown("Other requests claim this answer again and again. Try again a little later.")

    def requeue(self, actor: Actor, generation_id: str, reason: str | None = None) -> Watched:
        """Answer the message of a failed generation again, on a new branch; the new generation, of the same API key.

        Of one generation there is one such attempt, however often it is asked for. Raises WrongState unless the
        generation has ended as an error, and what starting raises.
        """
        dead = self._get(generation_id)
        if dead.status != "error":
            raise WrongState("Only an answer that has ended as an error can be requeued.")
        again = Regenerate(
            dead.message_id,
            model=dead.model,
            on_busy="enqueue",
            idempotency_key=f"requeue {generation_id}",
            parameters=restored_parameters(dead.parameters),
        )
        owner = self._owner(actor, "generation.requeued", dead, reason)
        with self._database.user(owner.id) as tx:
            key_id = usage.key_of(tx, generation_id)
            again = replace(again, webhook_url=generations.webhook_url_of(tx, generation_id))
        if key_id is not None:
            owner = replace(owner, credential=Credential("key", key_id))
        return self._get(self._starter.start(owner, again).generation.id)

    def _owner(self, actor: Actor, action: str, watched: Watched, reason: str | None) -> User:
        """The owner of a generation, after the action on it is audited."""
        details: dict[str, str | int | bool | None] = {} if reason is None else {"reason": reason}
        with self._database.operator() as tx:
            audit.record(tx, actor, action, "generation", watched.id, user_id=watched.user_id, details=details)
        return User(watched.user_id, watched.subject)

    def _get(self, generation_id: str) -> Watched:
        with self._database.operator() as tx:
            return _present(tx, generation_id)


def _present(tx: Tx, generation_id: str) -> Watched:
    found = admin_generations.some(tx, [generation_id])
    if not found:
        raise NotFound("There is no such generation.")
    return found[0]


def _in_time(wanted: Wanted) -> Wanted:
    """The filter with its times as ids, which an index serves."""
    before = [bound for bound in (wanted.before, wanted.until and first_after(wanted.until)) if bound]
    return replace(
        wanted, first=first_since(wanted.since) if wanted.since else None, before=min(before) if before else None
    )
