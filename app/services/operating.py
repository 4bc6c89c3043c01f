"""What an operator does with generations of others: look, stop, give up, try again."""

from __future__ import annotations

from dataclasses import dataclass

from app.domain.commands import Regenerate, User
from app.domain.errors import LeaseLost, NotFound, StoreDown, WrongState
from app.services.generations import Generations
from app.services.starting import Starter
from app.store import leases, operations
from app.store.database import Database
from app.store.operations import Watched

# Two who fail the same one take it from each other; not for ever.
FAIL_TRIES = 5
# What an answer ends with when an operator gives it up.
GIVEN_UP = {"code": "failed_by_operator", "message": "An operator ended this answer."}


@dataclass(frozen=True, slots=True)
class Look:
    """Which generations to show: all that fit what is not None."""

    status: str | None = None
    stuck: bool | None = None
    user: str | None = None
    limit: int = 50
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class WatchedPage:
    """A page of them. ``next_cursor`` None: it was the last one."""

    items: list[Watched]
    next_cursor: str | None


class Operator:
    """Acts for whoever owns a generation. Every method raises NotFound for one that does not exist."""

    def __init__(self, database: Database, generations: Generations, starter: Starter, lease: float) -> None:
        self._database = database
        self._generations = generations
        self._starter = starter
        self._lease = lease

    def look(self, look: Look) -> WatchedPage:
        """Generations of everybody, newest first."""
        with self._database.system() as tx:
            found = operations.find(
                tx, look.limit + 1, status=look.status, stuck=look.stuck, user=look.user, before=look.cursor
            )
        shown = found[: look.limit]
        return WatchedPage(shown, shown[-1].id if len(found) > len(shown) else None)

    def cancel(self, generation_id: str) -> Watched:
        """Stop it as its owner would; twice is the same as once."""
        self._generations.cancel(_owner(self._get(generation_id)), generation_id)
        return self._get(generation_id)

    def fail(self, generation_id: str) -> Watched:
        """End it as an error, with what it said so far. Raises WrongState when it has ended, or is being cancelled."""
        for _ in range(FAIL_TRIES):
            with self._database.system() as tx:
                claimed = leases.take(tx, generation_id, "operator", self._lease)
            if claimed is None:
                self._get(generation_id)
                raise WrongState("Only an answer that is waiting or in the making can be given up.")
            try:
                self._generations.finish_failed(claimed, GIVEN_UP)
                return self._get(generation_id)
            except LeaseLost:
                continue  # somebody took it meanwhile; who commits first wins
        raise StoreDown("Others take it again and again. Ask again a little later.")

    def requeue(self, generation_id: str) -> Watched:
        """Answer the same message once more, on a branch of its own; the generation that does it.

        Of one generation there is one such attempt, however often it is asked for. Raises WrongState unless the
        generation has ended as an error, and what starting raises.
        """
        dead = self._get(generation_id)
        if dead.status != "error":
            raise WrongState("Only an answer that has ended as an error can be made once more.")
        again = Regenerate(
            dead.message_id,
            model=dead.model,
            on_busy="enqueue",
            idempotency_key=f"requeue {generation_id}",
            parameters=dead.parameters,
        )
        return self._get(self._starter.start(_owner(dead), again).generation.id)

    def _get(self, generation_id: str) -> Watched:
        with self._database.system() as tx:
            found = operations.find(tx, 1, generation_id=generation_id)
        if not found:
            raise NotFound("There is no such generation.")
        return found[0]


def _owner(watched: Watched) -> User:
    return User(watched.user_id, watched.subject)
