"""The right to write a generation, in PostgreSQL and as a plain model: both agree after every step, in any order."""

from __future__ import annotations

from time import time
from typing import NamedTuple

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
# Seconds by which times of Python and PostgreSQL, read at one moment of one clock, may differ: both are rounded.
ROUNDED = 0.001

epochs = st.sampled_from([0, 0, 0, 0, 1, 2])  # the age of a writer's lease, in revisions
patience = st.sampled_from([0.0, 3.0])


class Moment(NamedTuple):
    """A time of PostgreSQL that the model knows as an interval: a process may stand still around each statement."""

    earliest: float
    latest: float

    def after(self, seconds: float) -> Moment:
        return Moment(self.earliest + seconds, self.latest + seconds)

    def is_over(self, during: Moment) -> bool | None:
        """True when it is over for a statement of this interval; None when the statement's own time decides."""
        if self.latest < during.earliest:
            return True
        return False if during.latest < self.earliest else None


def all_of(*conditions: bool | None) -> bool | None:
    """True, False, or None where that depends on a condition that is None."""
    return False if False in conditions else None if None in conditions else True


def any_of(*conditions: bool | None) -> bool | None:
    """True, False, or None where that depends on a condition that is None."""
    return True if True in conditions else None if None in conditions else False


class Rows(RuleBasedStateMachine):
    """One generation with writers of all its revisions, a sweeper and cancels. Time passes in steps."""

    stack: Stack

    @initialize()
    def begin(self) -> None:
        self.resources = self.stack.resources
        before = time()
        self.id = start(self.resources, self.stack.user).generation.id
        self.leases = Leases(self.resources.database, "model", LEASE, 600)
        self.status, self.epoch, self.tries, self.dispatches = "queued", 0, 0, 0
        self.lease_until: Moment | None = None
        self.next_dispatch = self.since(before).after(2.0)
        self.cancelled = False
        self.chunks: dict[Cursor, bytes] = {}
        self.final: Cursor | None = None

    def since(self, before: float) -> Moment:
        """The interval from ``before``, in which PostgreSQL has read its clock, until now."""
        return Moment(before - ROUNDED, time() + ROUNDED)

    def free(self, late: float, during: Moment) -> bool | None:
        over = self.lease_until is None or self.lease_until.after(late).is_over(during)
        return all_of(self.status == "running", over)

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
        self.lease_until = self.lease_until and self.lease_until.after(-seconds)
        self.next_dispatch = self.next_dispatch.after(-seconds)

    @rule(late=patience)
    def claim(self, late: float) -> None:
        before = time()
        claimed = self.leases.claim(self.id, late)
        during = self.since(before)
        assert any_of(self.status == "queued", self.free(late, during)) in (None, claimed is not None)
        if claimed:
            self.epoch, self.tries, self.dispatches = self.epoch + 1, self.tries + 1, 0
            self.status, self.lease_until, self.next_dispatch = "running", during.after(LEASE), during
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
        before = time()
        assert self.leases.renew([part]) == ({self.id} if expected else set())
        if expected:
            self.lease_until = self.since(before).after(LEASE)
            self.chunks |= events

    @rule(back=epochs)
    def advance(self, back: int) -> None:
        before = time()
        with self.resources.database.system() as tx:
            claimed = leases.advance(tx, self.lease(back), [], LEASE)
        assert (claimed is not None) == self.holds(back)
        if claimed:
            self.epoch, self.lease_until = self.epoch + 1, self.since(before).after(LEASE)

    @rule(back=epochs, late=st.booleans())
    def release(self, back: int, late: bool) -> None:
        """Give the lease back. With ``late``, a renewal of this lease arrives afterwards."""
        before = time()
        assert self.leases.release(self.lease(back), []) == self.holds(back)
        if self.holds(back):
            self.tries, self.lease_until, self.next_dispatch = max(self.tries - 1, 0), None, self.since(before)
        if late:
            self.save(back, 100, 1)

    @rule(back=epochs)
    def leave(self, back: int) -> None:
        before = time()
        self.leases.leave(self.lease(back))
        if self.holds(back):
            self.tries, self.lease_until = max(self.tries - 1, 0), self.since(before)
            self.next_dispatch = self.lease_until

    @rule(back=epochs)
    def expire(self, back: int) -> None:
        before = time()
        with self.resources.database.user(self.stack.user.id) as tx:
            leases.expire(tx, self.lease(back))
        if self.holds(back):
            self.lease_until = self.next_dispatch = self.since(before)

    @rule()
    def cancel(self) -> None:
        before = time()
        with self.resources.database.user(self.stack.user.id) as tx:
            claimed = leases.claim_to_cancel(tx, self.id, CANCEL_LEASE)
        during = self.since(before)
        again = self.lease_until is None or self.lease_until.after(leases.CANCEL_AGAIN_SECONDS).is_over(during)
        expected = all_of(self.status in ("queued", "running"), any_of(not self.cancelled, again))
        assert expected in (None, claimed is not None)
        if claimed:
            self.status, self.epoch, self.cancelled = "running", self.epoch + 1, True
            self.lease_until, self.next_dispatch = during.after(CANCEL_LEASE), during

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
        before = time()
        with self.resources.database.system() as tx:
            is_due = self.id in leases.due(tx, 1000, LEASE, 10**6, late)
        during = self.since(before)
        waits = any_of(self.status == "queued", self.free(late, during))
        assert all_of(waits, self.next_dispatch.is_over(during)) in (None, is_due)
        if is_due:
            self.dispatches += 1
            self.next_dispatch = during.after(min(2**self.dispatches, 60))

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
