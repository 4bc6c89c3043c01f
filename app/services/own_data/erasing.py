"""The erasure of everything of a user: a request ends the access, and workers remove the rows batch by batch.

Every batch is a transaction of its own that leaves the rows in a state in which any worker can go on. The row of the
user is removed last. Redis is searched for the user's id when the user is gone, and once more when no process can have
a request of the user any more; then the erasure has finished, and the id with it.
"""

from __future__ import annotations

from contextlib import suppress
from time import monotonic

import redis
import structlog

from app.domain.audit import Actor
from app.domain.commands import User
from app.domain.errors import NotFound
from app.eventlog.log import redis_errors
from app.services.generations import Generations
from app.services.own_data.access import end_access
from app.services.users import new_id
from app.store import audit, erasures, removed_files
from app.store.database import Database
from app.store.erasures import Erasure

# Seconds after its request at which an erasure begins: every process refuses the user by then.
BEGIN_SECONDS = 2.0
# Seconds after the end of the user's rows at which nothing writes to Redis for the user any more.
SETTLED_SECONDS = 15.0
# Rows of a kind that one transaction removes, and the seconds for which one sweep goes on.
ROWS_AT_ONCE = 500
SWEEP_SECONDS = 1.0
# Erasures that one sweep looks at, generations that it cancels, and keys that Redis looks at in one command.
ERASURES_AT_ONCE = 100
CANCELLED_AT_ONCE = 20
KEYS_AT_ONCE = 1000

_log = structlog.get_logger()


class Erasures:
    """Requests erasures, and carries them out."""

    def __init__(
        self,
        database: Database,
        generations: Generations,
        client: redis.Redis,
        namespace: str,
    ) -> None:
        self._database = database
        self._generations = generations
        self._client = client
        self._namespace = namespace
        # Users whose last attempt raised an error.
        self._failed: set[str] = set()

    def request(self, user: User, actor: Actor) -> Erasure:
        """End a user's access, and have everything of the user erased. A second request finds the first one."""
        with self._database.user(user.id) as tx:
            found = erasures.request(tx, user.id, new_id())
            audit.record(tx, actor, "erasure.requested", "erasure", found.id)
            end_access(tx, user.id)
        return found

    def sweep(self) -> None:
        """Go on with all erasures for some time. Raises DatabaseDown, LogDown.

        An error with the rows of one user keeps no other erasure from going on. It is raised behind all of them.
        """
        until = monotonic() + SWEEP_SECONDS
        failure: Exception | None = None
        for user_id, erasure in self._due():
            try:
                self._go_on(user_id, erasure, until)
                self._failed.discard(user_id)
            except Exception as error:
                self._failed.add(user_id)
                failure = failure or error
                if monotonic() >= until:
                    break
        self._finish()
        if failure is not None:
            raise failure

    def _due(self) -> list[tuple[str, Erasure | None]]:
        """The users whose rows are to be removed; keepers have no erasure. Those that failed last come last."""
        with self._database.system() as tx:
            waiting = erasures.pending(tx, BEGIN_SECONDS, ERASURES_AT_ONCE)
            found: list[tuple[str, Erasure | None]] = [(one, None) for one in erasures.released(tx, ERASURES_AT_ONCE)]
        found += [(erasure.user_id, erasure) for erasure in waiting if erasure.user_id is not None]
        self._failed &= {user_id for user_id, _ in found}
        return sorted(found, key=lambda one: one[0] in self._failed)

    def _go_on(self, user_id: str, erasure: Erasure | None, until: float) -> None:
        if erasure is not None:
            self._cancel(user_id)
        self._empty(user_id, erasure, until)

    def _cancel(self, user_id: str) -> None:
        """Cancel the user's live generations, a few in one sweep."""
        with self._database.system() as tx:
            live = erasures.live(tx, user_id, CANCELLED_AT_ONCE)
        for generation_id in live:
            with suppress(NotFound):
                self._generations.cancel(User(user_id, ""), generation_id)

    def _empty(self, user_id: str, erasure: Erasure | None, until: float) -> None:
        """Remove batches of a user's rows, and at the end the user's row."""
        is_more = True
        while is_more and monotonic() < until:
            is_more = self._remove_batch(user_id, erasure)

    def _remove_batch(self, user_id: str, erasure: Erasure | None) -> bool:
        """Remove one batch. False: nothing is left, or this worker may not go on now."""
        with self._database.system() as tx:
            if not erasures.hold_for_erasure(tx, user_id) or erasures.live(tx, user_id, 1):
                return False
            gone = erasures.erase_some(tx, user_id, ROWS_AT_ONCE)
            if erasure is not None:
                erasures.count(tx, erasure.id, gone)
                if not gone and erasures.unname(tx, user_id, ROWS_AT_ONCE):
                    return True
                if not gone and erasures.has_keepers(tx, user_id):
                    return False
            if not gone:
                erasures.remove_user(tx, user_id)
        return bool(gone)

    def _finish(self) -> None:
        """Remove what Redis has of users who are gone, and finish the erasures that have settled."""
        with self._database.system() as tx:
            gone = erasures.settled(tx, 0, ERASURES_AT_ONCE)
            settled = erasures.settled(tx, SETTLED_SECONDS, ERASURES_AT_ONCE)
        if gone:
            self._empty_redis([erasure.user_id for erasure in gone if erasure.user_id])
        for erasure in settled:
            assert erasure.user_id is not None, "it has not finished"
            with self._database.system() as tx:
                if erasures.unname(tx, erasure.user_id, ROWS_AT_ONCE):
                    continue  # there may be more
                if not removed_files.is_settled(tx, erasure.user_id):
                    continue  # the sweep of files has not removed all bytes yet
                erasures.finish(tx, erasure)
            _log.info("user erased", action="erase_user", erasure_id=erasure.id, digest=erasure.digest.hex())

    def _empty_redis(self, user_ids: list[str]) -> None:
        """Remove every key of this deployment whose name has one of the ids. Raises LogDown."""
        wanted = [user_id.encode() for user_id in user_ids]
        with redis_errors():
            for key in self._client.scan_iter(match="*-*-*-*-*", count=KEYS_AT_ONCE):
                if self._namespace.encode() in key and any(user_id in key for user_id in wanted):
                    self._client.unlink(key)
