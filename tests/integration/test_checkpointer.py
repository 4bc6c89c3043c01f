"""Checkpoints and leases of a process against a real PostgreSQL."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Event
from time import monotonic
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text

from app.domain.commands import User
from app.domain.cursor import Cursor
from app.domain.errors import DatabaseDown, LeaseLost
from app.domain.events import Entry, Token, decode
from app.domain.lease import Claimed
from app.domain.transcript import Transcript
from app.services.leases import Leases
from app.store import checkpoints
from app.store.database import Database, fetch_one
from app.wiring import Resources
from tests.actors import release, start
from tests.fakes.proxy import TcpProxy
from tests.stack import Stack
from worker.blocking import Blocking, LeaseKeeper
from worker.checkpoint import Checkpointer, Policy
from worker.draft import Draft
from worker.generation_trace import GenerationTraces
from worker.outbox import Outbox
from worker.run_state import RunState

NEVER = 1000.0


class Bench:
    """A checkpointer over a connection to PostgreSQL that can be disturbed; the outbox is not started."""

    def __init__(self, resources: Resources, user: User, url: str, policy: Policy, lease: float) -> None:
        self.resources = resources
        self.user = user
        self.database = Database(url, 4)
        self.leases = Leases(self.database, "bench", lease, 1800)
        self.executor = ThreadPoolExecutor(2)
        outbox = Outbox(resources.settings.redis_url, resources.log, 0.02, 25, _nothing)
        self.checkpointer = Checkpointer(self.leases, outbox, policy, self.executor)
        self.lost: list[str] = []

    def draft(self, *, strict: bool = False) -> Draft:
        generation = start(self.resources, self.user).generation.id
        claimed = self.leases.claim(generation)
        assert claimed
        return self.enter(claimed, strict=strict)

    def enter(self, claimed: Claimed, *, strict: bool = False) -> Draft:
        generation = claimed.lease.generation_id
        keys = self.resources.log.keys(generation)

        def lost(_: LeaseLost) -> None:
            self.lost.append(generation)

        draft = Draft(claimed, keys, Transcript(), lost, proven_at=monotonic(), opened=True, strict=strict)
        self.checkpointer.enter(draft)
        return draft

    def saved(self, draft: Draft) -> list[Entry]:
        with self.resources.database.system() as tx:
            return checkpoints.chunks(tx, draft.claimed.lease.generation_id)

    def lease_until(self, draft: Draft) -> float:
        with self.resources.database.system() as tx:
            row = fetch_one(
                tx,
                "SELECT CAST(extract(epoch FROM lease_until) AS float8) AS seconds FROM generations WHERE id = :id",
                id=draft.claimed.lease.generation_id,
            )
        assert row is not None
        return float(row.seconds)


async def _nothing(_: Claimed) -> None: ...


@pytest.fixture
def proxy(module_stack: Stack) -> Iterator[TcpProxy]:
    with TcpProxy.before(module_stack.settings.database_url) as proxy:
        yield proxy


@pytest.fixture
def at_bench(module_stack: Stack, proxy: TcpProxy) -> Callable[..., None]:
    def run(
        work: Callable[[Bench], Awaitable[None]],
        events: int = 1000,
        seconds: float = NEVER,
        heartbeat: float = NEVER,
        lease: float = 30,
    ) -> None:
        resources = module_stack.resources
        alice = resources.users.user(f"alice {uuid4()}", None)
        url = proxy.url(module_stack.settings.database_url)

        async def life() -> None:
            bench = Bench(resources, alice, url, Policy(events, seconds, heartbeat), lease)
            bench.checkpointer.start()
            try:
                await work(bench)
            finally:
                bench.checkpointer.close()
                bench.executor.shutdown()
                bench.database.close()

        asyncio.run(life())

    return run


async def until(condition: Callable[[], Any], timeout: float = 30.0) -> None:
    deadline = asyncio.get_running_loop().time() + timeout
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, "it did not come true"
        await asyncio.sleep(0.01)


def add(draft: Draft, count: int, size: int = 1) -> None:
    for number in range(count):
        draft.add(Token(f"{number}" * size))


def test_so_many_events_make_a_checkpoint(at_bench: Callable[..., None]) -> None:
    async def work(bench: Bench) -> None:
        draft = bench.draft()
        add(draft, 9)
        await asyncio.sleep(0.2)
        assert bench.saved(draft) == []
        add(draft, 1)
        await until(lambda: draft.saved == 10)
        assert [entry.payload for entry in bench.saved(draft)] == draft.payloads

    at_bench(work, events=10)


def test_so_much_time_makes_a_checkpoint(at_bench: Callable[..., None]) -> None:
    async def work(bench: Bench) -> None:
        draft = bench.draft()
        add(draft, 1)
        await until(lambda: draft.saved == 1)

    at_bench(work, seconds=0.2)


def test_what_waits_for_its_tick_is_saved_too(at_bench: Callable[..., None]) -> None:
    """An event that waits for its tick is in the next checkpoint, even when Redis delays the tick."""

    async def work(bench: Bench) -> None:
        draft = bench.draft()
        draft.add_text("a", False)
        draft.add_text("b", False)
        await until(lambda: draft.saved == 1)
        assert [decode(entry.payload) for entry in bench.saved(draft)] == [Token("ab")]

    at_bench(work, seconds=0.2)


def test_drafts_that_began_at_different_times_are_saved_together(at_bench: Callable[..., None]) -> None:
    async def work(bench: Bench) -> None:
        drafts = []
        for _ in range(4):
            drafts.append(bench.draft())
            await asyncio.sleep(0.07)
        for _ in range(100):
            for draft in drafts:
                add(draft, 1)
            await asyncio.sleep(0.02)
        await until(lambda: len({draft.saved_at for draft in drafts}) == 1)

    at_bench(work, seconds=0.4)


def test_so_many_bytes_make_a_checkpoint(at_bench: Callable[..., None]) -> None:
    async def work(bench: Bench) -> None:
        draft = bench.draft()
        add(draft, 1, 5000)
        await until(lambda: draft.saved == 1)

    at_bench(work)


def test_in_strict_mode_every_event_is_one(at_bench: Callable[..., None]) -> None:
    async def work(bench: Bench) -> None:
        draft = bench.draft(strict=True)
        add(draft, 1)
        await until(lambda: draft.saved == 1)

    at_bench(work)


def test_a_silent_draft_keeps_its_lease(at_bench: Callable[..., None]) -> None:
    async def work(bench: Bench) -> None:
        draft = bench.draft()
        before, ends = draft.proven_at, bench.lease_until(draft)
        await until(lambda: draft.proven_at > before + 0.5 and bench.lease_until(draft) > ends + 0.2)
        assert bench.saved(draft) == []

    at_bench(work, heartbeat=0.3)


def test_a_draft_whose_lease_has_gone_is_told_and_saves_nothing(at_bench: Callable[..., None]) -> None:
    async def work(bench: Bench) -> None:
        draft, other = bench.draft(), bench.draft()
        generation = draft.claimed.lease.generation_id
        release(bench.resources, generation)
        assert bench.leases.claim(generation)
        add(draft, 1)
        add(other, 1)
        await until(lambda: set(bench.lost) == {generation} and other.saved == 1)
        assert bench.saved(draft) == []

    at_bench(work, seconds=0.1)


def test_a_save_ends_when_the_lease_has_gone(at_bench: Callable[..., None]) -> None:
    """A save before a tool call, or of a leaving worker, raises LeaseLost; it does not repeat itself for ever."""

    async def work(bench: Bench) -> None:
        draft = bench.draft()
        generation = draft.claimed.lease.generation_id
        bench.resources.generations.cancel(bench.user, generation)
        add(draft, 1)
        with pytest.raises(LeaseLost):
            await asyncio.wait_for(bench.checkpointer.save(draft), 10)
        assert bench.lost == [generation]
        assert bench.saved(draft) == []

    at_bench(work)


def test_a_draft_that_left_is_not_told_what_its_successor_caused(
    at_bench: Callable[..., None], proxy: TcpProxy
) -> None:
    async def work(bench: Bench) -> None:
        draft = bench.draft()
        add(draft, 1)
        await bench.checkpointer.save(draft)
        proxy.delay(0.1)
        saving = asyncio.ensure_future(bench.checkpointer.save(draft))
        await asyncio.sleep(0.02)
        bench.checkpointer.leave(draft)
        following = bench.resources.database
        successor = Leases(following, "bench", 30, 1800).advance(draft.claimed.lease, [])
        second = bench.enter(successor)
        await saving
        proxy.pass_()
        add(second, 1)
        await bench.checkpointer.save(second)
        assert bench.lost == []
        assert {entry.cursor.epoch for entry in bench.saved(second)} == {1, 2}

    at_bench(work)


def test_while_postgresql_is_away_nothing_is_lost_and_afterwards_all_is_saved_once(
    at_bench: Callable[..., None], proxy: TcpProxy
) -> None:
    async def work(bench: Bench) -> None:
        draft = bench.draft()
        add(draft, 3)
        await until(lambda: draft.saved == 3)
        proxy.refuse()
        add(draft, 4)
        with pytest.raises(DatabaseDown):
            await bench.checkpointer.save(draft)
        assert draft.saved == 3
        proxy.pass_()
        await until(lambda: draft.saved == 7)
        assert [entry.payload for entry in bench.saved(draft)] == draft.payloads

    at_bench(work, seconds=0.1)


@pytest.mark.parametrize("more", [0, 3])
def test_a_checkpoint_whose_commit_got_no_reply_is_saved_once(
    at_bench: Callable[..., None], proxy: TcpProxy, more: int
) -> None:
    async def work(bench: Bench) -> None:
        draft = bench.draft()
        add(draft, 5)
        proxy.drop_reply_to(lambda data: b"COMMIT" in data)
        with pytest.raises(DatabaseDown):
            await bench.checkpointer.save(draft)
        add(draft, more)
        await bench.checkpointer.save(draft)
        entries = bench.saved(draft)
        assert [entry.payload for entry in entries] == draft.payloads
        assert [entry.cursor.n for entry in entries] == list(range(5 + more))

    at_bench(work)


def test_many_drafts_are_saved_together(at_bench: Callable[..., None]) -> None:
    async def work(bench: Bench) -> None:
        drafts = [bench.draft() for _ in range(30)]
        for number, draft in enumerate(drafts):
            add(draft, number % 5 + 1)
        await until(lambda: all(draft.saved == len(draft.payloads) for draft in drafts))
        for draft in drafts:
            assert [decode(entry.payload) for entry in bench.saved(draft)] == [
                decode(payload) for payload in draft.payloads
            ]

    at_bench(work, seconds=0.1)


def test_a_process_that_takes_over_from_itself_saves_the_new_revision_only(at_bench: Callable[..., None]) -> None:
    async def work(bench: Bench) -> None:
        old = bench.draft()
        generation = old.claimed.lease.generation_id
        release(bench.resources, generation)
        claimed = bench.leases.claim(generation)
        assert claimed
        new = bench.enter(claimed)
        add(old, 2)
        add(new, 3)
        await until(lambda: new.saved == 3 and bench.lost)
        assert bench.lost == [generation]
        assert [entry.cursor for entry in bench.saved(new)] == [Cursor(2, n) for n in range(3)]

    at_bench(work, seconds=0.2)


def run_of(draft: Draft) -> RunState:
    trace = GenerationTraces("w", ()).claimed(draft.claimed, 0)
    return RunState(draft.claimed, trace, asked_at=draft.proven_at, hesitated=False)


def test_a_lease_that_is_kept_is_proven_from_before_each_renewal(at_bench: Callable[..., None]) -> None:
    async def work(bench: Bench) -> None:
        held, lost = (run_of(bench.draft()) for _ in range(2))
        with bench.resources.database.system() as tx:
            tx.execute(
                text("UPDATE generations SET epoch = epoch + 1 WHERE id = :id"),
                {"id": lost.claimed.lease.generation_id},
            )
        keeper, since = LeaseKeeper(bench.leases, bench.executor, 0.05), lost.proven_at
        keeper.start()
        with keeper.keeping(held), keeper.keeping(lost):
            began = monotonic()
            await until(lambda: held.proven_at > began)
        assert held.proven_at <= monotonic()
        assert lost.proven_at == since

    at_bench(work)


def test_a_renewal_that_is_on_its_way_does_not_renew_a_lease_that_was_left(
    at_bench: Callable[..., None], proxy: TcpProxy
) -> None:
    async def work(bench: Bench) -> None:
        draft = bench.draft()
        bench.checkpointer.leave(draft)
        direct = Leases(bench.resources.database, "bench", 30, 1800)
        keeper = LeaseKeeper(bench.leases, bench.executor, 0.05)
        blocking = Blocking(bench.executor, bench.executor, keeper)
        held_up = Event()

        def is_renewal(data: bytes) -> bool:
            if b"SET lease_until" in data:
                held_up.set()
            return held_up.is_set()

        proxy.black_hole_at(is_renewal)
        keeper.start()
        with keeper.keeping(run_of(draft)):
            await until(held_up.is_set)
        leaving = asyncio.ensure_future(blocking.run_after_renewals(partial(direct.leave, draft.claimed.lease)))
        await asyncio.wait({leaving}, timeout=0.5)  # time for one that does not wait for the renewal
        proxy.pass_()
        await leaving
        await keeper.settle()
        assert bench.lease_until(draft) <= time.time() + 1

    at_bench(work)
