"""The right to write a generation, in PostgreSQL and as a plain model: both agree after every step, in any order."""

from __future__ import annotations

from time import monotonic

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from app.domain.cursor import Cursor
from app.domain.events import pack
from app.domain.lease import Lease
from app.services.leases import Leases
from app.store import checkpoints, generations, leases
from app.store.checkpoints import Checkpoint
from app.store.database import execute, fetch_one
from tests.actors import start
from tests.stack import Stack, until

LEASE = 4.0
CANCEL_LEASE = 2.0
# No statement runs so near to a limit, in seconds, that its own duration could decide the result.
MARGIN = 0.4

epochs = st.sampled_from([0, 0, 0, 0, 1, 2])  # the age of a writer's lease, in revisions
patience = st.sampled_from([0.0, 3.0])


class Rows(RuleBasedStateMachine):
    """One generation with writers of all its revisions, a sweeper and cancels. Time passes in steps."""

    stack: Stack

    @initialize()
    def begin(self) -> None:
        self.resources = self.stack.resources
        self.id = start(self.resources, self.stack.user).generation.id
        self.leases = Leases(self.resources.database, "model", LEASE, 600)
        self.passed = 0.0
        self.status, self.epoch, self.tries, self.dispatches = "queued", 0, 0, 0
        self.lease_until: float | None = None
        self.next_dispatch = self.now + 2.0
        self.cancelled = False
        self.chunks: dict[Cursor, bytes] = {}
        self.final: Cursor | None = None

    @property
    def now(self) -> float:
        return monotonic() + self.passed

    def clear(self, *limits: float | None) -> bool:
        """True when each of these moments is more than ``MARGIN`` seconds away."""
        return all(limit is None or abs(limit - self.now) > MARGIN for limit in limits)

    def free(self, late: float) -> bool:
        return self.status == "running" and (self.lease_until is None or self.lease_until + late < self.now)

    def lease(self, back: int) -> Lease:
        return Lease(self.id, max(self.epoch - back, 0))

    def holds(self, back: int) -> bool:
        return self.status == "running" and back == 0

    @rule(seconds=st.sampled_from([1.0, 2.5, 7.0, 70.0]))
    def time_passes(self, seconds: float) -> None:
        with self.resources.database.system() as tx:
            execute(
                tx,
                """UPDATE generations SET lease_until = lease_until - make_interval(secs => :seconds),
                       next_dispatch_at = next_dispatch_at - make_interval(secs => :seconds) WHERE id = :id""",
                seconds=seconds,
                id=self.id,
            )
        self.passed += seconds

    @rule(late=patience)
    def claim(self, late: float) -> None:
        if self.lease_until is not None and not self.clear(self.lease_until + late):
            return
        expected = self.status == "queued" or self.free(late)
        claimed = self.leases.claim(self.id, late)
        assert (claimed is not None) == expected
        if claimed:
            self.epoch, self.tries, self.dispatches = self.epoch + 1, self.tries + 1, 0
            self.status, self.lease_until, self.next_dispatch = "running", self.now + LEASE, self.now
            assert (claimed.lease.epoch, claimed.tries) == (self.epoch, self.tries)
            assert claimed.cancelled == self.cancelled

    @rule(back=epochs, behind=st.sampled_from([0, 0, 0, 1, 3, 100]), count=st.integers(0, 4))
    def save(self, back: int, behind: int, count: int) -> None:
        """Renew the lease, with a checkpoint of ``count`` events or without one.

        After lost replies a writer saves again from ``behind`` events before the end of the saved ones, without a hole.
        """
        lease = self.lease(back)
        first = max(sum(cursor.epoch == lease.epoch for cursor in self.chunks) - behind, 0)
        events = {cursor: _event(cursor) for n in range(first, first + count) if (cursor := Cursor(lease.epoch, n))}
        body = pack(list(events.values())) if events else None
        part = Checkpoint(lease, self.stack.user.id, first, max(first + count - 1, first), body, None)
        expected = self.holds(back) and self.lease_until is not None
        assert self.leases.renew([part]) == ({self.id} if expected else set())
        if expected:
            self.lease_until = self.now + LEASE
            self.chunks |= events

    @rule(back=epochs)
    def advance(self, back: int) -> None:
        with self.resources.database.system() as tx:
            claimed = leases.advance(tx, self.lease(back), [], LEASE)
        assert (claimed is not None) == self.holds(back)
        if claimed:
            self.epoch, self.lease_until = self.epoch + 1, self.now + LEASE

    @rule(back=epochs, late=st.booleans())
    def release(self, back: int, late: bool) -> None:
        """Give the lease back. With ``late``, a renewal of this lease arrives afterwards."""
        assert self.leases.release(self.lease(back), []) == self.holds(back)
        if self.holds(back):
            self.tries, self.lease_until, self.next_dispatch = max(self.tries - 1, 0), None, self.now
        if late:
            self.save(back, 100, 1)

    @rule(back=epochs)
    def leave(self, back: int) -> None:
        self.leases.leave(self.lease(back))
        if self.holds(back):
            self.tries, self.lease_until, self.next_dispatch = max(self.tries - 1, 0), self.now, self.now

    @rule(back=epochs)
    def expire(self, back: int) -> None:
        with self.resources.database.user(self.stack.user.id) as tx:
            leases.expire(tx, self.lease(back))
        if self.holds(back):
            self.lease_until, self.next_dispatch = self.now, self.now

    @rule()
    def cancel(self) -> None:
        again = None if self.lease_until is None else self.lease_until + leases.CANCEL_AGAIN_SECONDS
        if not self.clear(again):
            return
        live = self.status in ("queued", "running")
        expected = live and (not self.cancelled or again is None or again < self.now)
        with self.resources.database.user(self.stack.user.id) as tx:
            claimed = leases.claim_to_cancel(tx, self.id, CANCEL_LEASE)
        assert (claimed is not None) == expected
        if claimed:
            self.status, self.epoch, self.cancelled = "running", self.epoch + 1, True
            self.lease_until, self.next_dispatch = self.now + CANCEL_LEASE, self.now

    @rule(back=epochs, now=st.sampled_from([True, False, False, False, False]))
    def finish(self, back: int, now: bool) -> None:
        if not now:
            return  # so that most generations run for many steps
        lease = self.lease(back)
        end = generations.End("completed", 7, "", "stop", None, None, [], None, None, None)
        with self.resources.database.system() as tx:
            written = generations.finish(tx, lease, end)
        assert (written is not None) == self.holds(back)
        if written:
            self.status, self.final, self.lease_until = "completed", Cursor(self.epoch, 7), None

    @rule(late=patience)
    def sweep(self, late: float) -> None:
        limit = None if self.lease_until is None else self.lease_until + late
        if not self.clear(limit, self.next_dispatch):
            return
        waits = self.status == "queued" or self.free(late)
        expected = waits and self.next_dispatch <= self.now
        with self.resources.database.system() as tx:
            assert (self.id in leases.due(tx, 1000, LEASE, 10**6, late)) == expected
        if expected:
            self.dispatches += 1
            self.next_dispatch = self.now + min(2**self.dispatches, 60)

    @invariant()
    def rows_are_what_the_model_says(self) -> None:
        if not hasattr(self, "id"):
            return
        with self.resources.database.system() as tx:
            row = generations.get(tx, self.id)
            more = fetch_one(tx, "SELECT dispatches, lease_until FROM generations WHERE id = :id", id=self.id)
            stored = checkpoints.chunks(tx, self.id)
        assert row
        assert more
        assert (row.status, row.epoch, row.tries, row.final) == (self.status, self.epoch, self.tries, self.final)
        assert (more.dispatches, row.cancel_at is not None) == (self.dispatches, self.cancelled)
        assert (more.lease_until is None) == (self.lease_until is None)
        assert dict(stored) == self.chunks


def test_rows_and_a_plain_model_agree_whatever_writers_do(module_stack: Stack) -> None:
    Rows.stack = module_stack
    # For LEASE seconds after a restart of PostgreSQL every lease is honoured, also an expired one.
    until(lambda: _up_for(module_stack) > LEASE, LEASE + 60)
    run_state_machine_as_test(
        Rows,
        settings=settings(
            max_examples=30, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


def _event(cursor: Cursor) -> bytes:
    """The payload of this id, which never changes. Some are so long that one row cannot hold them all."""
    return f"{cursor}".encode() * (1 if cursor.n % 3 else 60)


def _up_for(stack: Stack) -> float:
    with stack.resources.database.system() as tx:
        row = fetch_one(tx, "SELECT CAST(extract(epoch FROM now() - pg_postmaster_start_time()) AS float8) AS seconds")
    assert row
    return float(row.seconds)
