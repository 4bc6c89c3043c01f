"""Workers die, hang or leave; stores go away and come back: the answer continues without a gap or a repeat."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.domain.cursor import Cursor
from app.domain.events import Done, Entry, Snapshot, decode
from app.domain.transcript import Transcript
from app.eventlog.log import RUNNING_TTL_MS
from app.store import admin_generations, checkpoints
from app.store.database import ONE_MOMENT, fetch_one
from app.store.generations import Generation
from dev.valkey import Valkey
from tests.fakes.proxy import TcpProxy
from tests.fakes.upstream import TOKEN, Call, FakeUpstream
from tests.stack import Stack, Worker, until

# A busy machine may stop a worker for seconds, and its lease must not end by that.
LEASE = 5


@pytest.fixture(scope="module")
def upstream() -> Iterator[FakeUpstream]:
    with FakeUpstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def own_valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """A Valkey of this module's own, which its tests empty."""
    server = Valkey(tmp_path_factory.mktemp("own-valkey"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def deploy(
    tmp_path: Path, database_url: str, own_valkey: Valkey, upstream: FakeUpstream
) -> Iterator[Callable[..., Stack]]:
    """A deployment with these settings."""
    stacks: list[Stack] = []

    def make(**settings: Any) -> Stack:
        given = {"OPENAI_BASE_URL": upstream.base_url, "LEASE_SECONDS": LEASE, "HEARTBEAT_SECONDS": 0.5, **settings}
        stacks.append(Stack(tmp_path, database_url, own_valkey.url(), **given))
        return stacks[-1]

    yield make
    for stack in stacks:
        stack.stop()


_number = iter(range(10**6))


def ask(stack: Stack, **behaviour: Any) -> str:
    said = json.dumps({"fake": {"key": next(_number), **behaviour}})
    return stack.start(said, model="fake").generation.id


def calls_of(stack: Stack, upstream: FakeUpstream, generation_id: str) -> list[Call]:
    asked = stack.resources.conversations.messages(
        stack.user, stack.generation(generation_id).conversation_id, 0, 1
    ).items[0]
    return [call for call in upstream.calls if any(m.get("content") == asked.content for m in call.body["messages"])]


def holder(stack: Stack, generation_id: str, *workers: Worker) -> Worker:
    """The worker that has claimed a generation, by the name in its row."""

    def found() -> Worker | None:
        with stack.resources.database.system() as tx:
            row = fetch_one(tx, "SELECT worker FROM generations WHERE id = :id", id=generation_id)
        assert row is not None
        return next((worker for worker in workers if row.worker == worker.name), None)

    return until(found, what="a claim")  # type: ignore[return-value]


def speaks(stack: Stack, generation_id: str, events: int = 15, timeout: float = 60) -> list[Entry]:
    """Wait until a generation's log has this many events. Returns the log."""
    return until(lambda: (log := stack.log(generation_id)) and len(log) >= events and log, timeout)


def check(stack: Stack, row: Generation) -> Transcript:
    """Assert that archive, row and message agree, and that Redis has a part of the archive. Returns the transcript."""
    entries = stack.read(row.id)
    assert entries == stack.archive(row.id)
    folded = Transcript.of(entries)
    message = stack.resources.conversations.messages(stack.user, row.conversation_id, 1, 1).items[0]
    assert folded.done is not None
    assert message.content == folded.text
    assert folded.done.sha256 == row.sha256
    assert row.final == entries[-1].cursor
    return folded


def indices(text: str) -> list[int]:
    return [int(index) for _, index in TOKEN.findall(text)]


def reasons(entries: list[Entry]) -> list[str]:
    events = [decode(entry.payload) for entry in entries]
    return [event.reason for event in events if isinstance(event, Snapshot)]


# --- workers -------------------------------------------------------------------------------------------------------


def test_after_kill_nine_another_worker_continues_where_the_reader_is(
    deploy: Callable[..., Stack], upstream: FakeUpstream
) -> None:
    stack = deploy()
    workers = stack.workers(2)
    generation = ask(stack, tokens=250, rate=40)
    speaks(stack, generation)
    holder(stack, generation, *workers).kill()
    shown = stack.log(generation)
    entries = until(lambda: (log := stack.log(generation)) and log[-1].cursor > Cursor(2, 0) and log, LEASE + 60)
    assert entries[: len(shown)] == shown
    row = stack.finished(generation)
    assert (row.status, row.tries, row.epoch) == ("completed", 2, 2)
    assert [attempt["outcome"] for attempt in row.attempts] == ["lost", "finished"]
    said = check(stack, row)
    assert reasons(stack.read(generation)) == ["start", "continue"]
    assert said.text.startswith(Transcript.of(shown).text)
    assert indices(said.text) == list(range(250))
    assert len(calls_of(stack, upstream, generation)) == 2


def test_sigterm_hands_over_within_a_second_and_exits_cleanly(deploy: Callable[..., Stack]) -> None:
    stack = deploy(LEASE_SECONDS=90)
    workers = stack.workers(2)
    asked_for = [ask(stack, tokens=300, rate=30) for _ in range(6)]
    for generation in asked_for:
        speaks(stack, generation)
    first = holder(stack, asked_for[0], *workers)
    handed_over = [generation for generation in asked_for if holder(stack, generation, *workers) is first]
    asked = time.monotonic()
    first.signal(signal.SIGTERM)
    for generation in handed_over:
        until(lambda: stack.generation(generation).epoch >= 2)  # noqa: B023
    # Long before the lease ends. It takes about 1 s on an idle machine.
    assert time.monotonic() - asked < 30
    assert first.wait(60) == 0
    for generation in handed_over:
        row = stack.finished(generation)
        assert (row.status, row.tries) == ("completed", 1), "a hand-over is not a failed try"
        assert indices(check(stack, row).text) == list(range(300))
        assert reasons(stack.read(generation)) == ["start", "continue"]
    assert "Traceback" not in first.log(), first.tail(60)


def test_a_worker_that_hung_past_its_lease_adds_nothing_when_it_wakes(
    deploy: Callable[..., Stack], upstream: FakeUpstream
) -> None:
    stack = deploy()
    workers = stack.workers(2)
    # The provider still has the call of the frozen worker when that resumes, with tokens it has not read.
    generation = ask(stack, tokens=250, rate=40, stall_after=100, once=True)
    speaks(stack, generation)
    first = holder(stack, generation, *workers)
    first.signal(signal.SIGSTOP)
    until(lambda: stack.generation(generation).epoch >= 2, LEASE + 60)
    shown = speaks(stack, generation, 1)
    zombie = calls_of(stack, upstream, generation)[0]
    first.signal(signal.SIGCONT)
    until(lambda: zombie.ended)
    assert zombie.end == "client_disconnected"
    row = stack.finished(generation)
    said = check(stack, row)
    entries = stack.read(generation)
    assert entries[: len(shown)] == shown
    assert [entry.cursor.epoch for entry in entries] == sorted(entry.cursor.epoch for entry in entries)
    assert indices(said.text) == list(range(250))
    assert "generation taken over" in until(lambda: "taken over" in first.log() and first.log())


def test_a_finished_provider_is_not_called_again_when_only_the_commit_was_missing(
    deploy: Callable[..., Stack], upstream: FakeUpstream
) -> None:
    """The worker is killed between mark and commit, while it waits for PostgreSQL."""
    stack = deploy()
    url = stack.settings.database_url
    with TcpProxy.before(url) as proxy:
        first = stack.worker(DATABASE_URL=proxy.url(url))
        proxy.black_hole_at(lambda data: b"final_epoch = epoch" in data)
        generation = ask(stack, tokens=30, rate=60)
        until(lambda: proxy.rules.holed and any(b'"usage"' in e.payload[:16] for e in stack.log(generation)))
        first.kill()
    stack.worker()
    row = stack.finished(generation)
    assert row.status == "completed"
    assert len(calls_of(stack, upstream, generation)) == 1
    assert indices(check(stack, row).text) == list(range(30))
    assert row.usage is not None
    assert row.usage["output_tokens"] == 30
    [attempt] = row.attempts
    assert attempt["outcome"] == "finished"
    assert all(attempt["usage"][name] == row.usage[name] for name in ("input_tokens", "output_tokens"))
    assert reasons(stack.read(generation)) == ["start", "takeover"]


def test_a_mark_outlives_two_takeovers(deploy: Callable[..., Stack], upstream: FakeUpstream) -> None:
    """The worker that takes over to commit is lost, too, after it has opened its revision."""
    stack = deploy()
    url = stack.settings.database_url
    generation = ask(stack, tokens=20, rate=60)
    for _ in range(2):
        with TcpProxy.before(url) as proxy:
            # The finishing transaction gets no reply; every statement before it does.
            proxy.drop_request(lambda data: b"final_epoch = epoch" in data, 10**6)
            epoch = stack.generation(generation).epoch
            worker = stack.worker(DATABASE_URL=proxy.url(url))
            until(
                lambda: any(e.cursor.epoch > epoch and b'"usage"' in e.payload[:16] for e in stack.log(generation)),  # noqa: B023
                60,
            )
            worker.kill()
    stack.worker()
    row = stack.finished(generation)
    assert (row.status, row.epoch >= 3) == ("completed", True)
    assert len(calls_of(stack, upstream, generation)) == 1
    assert indices(check(stack, row).text) == list(range(20))


# --- broker and Redis ----------------------------------------------------------------------------------------------


def test_what_the_broker_forgot_is_found_by_the_sweeper(deploy: Callable[..., Stack], own_valkey: Valkey) -> None:
    stack = deploy()
    generation = ask(stack, tokens=10, rate=0)
    until(lambda: stack.resources.redis.llen(f"{stack.namespace}:generations"))
    stack.resources.redis.flushall()
    stack.worker()
    assert stack.finished(generation).status == "completed"


def test_after_flushall_the_log_is_rebuilt_and_goes_on_under_the_same_ids(deploy: Callable[..., Stack]) -> None:
    stack = deploy(LEASE_SECONDS=60)
    stack.worker()
    generation = ask(stack, tokens=300, rate=50)
    shown = speaks(stack, generation, 30)
    stack.resources.redis.flushall()
    row = stack.finished(generation)
    assert (row.status, row.epoch) == ("completed", 1)
    assert indices(check(stack, row).text) == list(range(300))
    assert stack.read(generation)[: len(shown)] == shown
    assert until(lambda: len(stack.log(generation)) == len(stack.archive(generation)))


def test_a_suffix_that_redis_lost_is_sent_again(deploy: Callable[..., Stack]) -> None:
    stack = deploy(LEASE_SECONDS=60)
    stack.worker()
    generation = ask(stack, tokens=120, rate=40, stall_after=60, stall_for=6)
    before = speaks(stack, generation, 25)
    keys = stack.resources.log.keys(generation)
    until(lambda: "".join(str(event) for event in stack.log(generation)).count(".59") == 1)
    kept = stack.log(generation)[:10]
    with stack.resources.redis.pipeline() as together:
        together.delete(keys.log)
        for entry in kept:
            together.execute_command("XADD", keys.log, str(entry.cursor), "e", entry.payload)
        together.pexpire(keys.log, RUNNING_TTL_MS)
        together.execute()
    again = until(lambda: (log := stack.log(generation)) and len(log) >= len(before) and log)
    assert again[: len(before)] == before
    row = stack.finished(generation)
    # The end stands in the log a tick after the row.
    until(lambda: stack.read(generation) == stack.log(generation))
    assert indices(check(stack, row).text) == list(range(120))


def test_an_answer_goes_on_without_redis_and_readers_follow_in_postgresql(deploy: Callable[..., Stack]) -> None:
    stack = deploy(LEASE_SECONDS=60)
    url = stack.settings.redis_url
    with TcpProxy.before(url) as proxy:
        stack.worker(REDIS_URL=proxy.url(url), CELERY_BROKER_URL=url)
        generation = ask(stack, tokens=400, rate=50)
        shown = speaks(stack, generation)
        proxy.refuse()
        until(lambda: len(stack.chunks(generation)) > len(shown) + 30)
        proxy.pass_()
        row = stack.finished(generation)
    assert (row.status, row.epoch) == ("completed", 1)
    assert indices(check(stack, row).text) == list(range(400))
    assert stack.read(generation)[: len(shown)] == shown


@pytest.mark.slow
def test_many_answers_begin_and_end_while_redis_is_a_black_hole(deploy: Callable[..., Stack]) -> None:
    """Answers that wait for Redis must not keep leases from being renewed."""
    stack = deploy(LEASE_SECONDS=15)
    url = stack.settings.redis_url
    with TcpProxy.before(url) as proxy:
        worker = stack.worker(60, REDIS_URL=proxy.url(url), CELERY_BROKER_URL=url)
        early = [ask(stack, tokens=240, rate=20) for _ in range(3)]
        for generation in early:
            speaks(stack, generation, 5)
        proxy.black_hole()
        late = [ask(stack, tokens=20, rate=50) for _ in range(40)]
        rows = [stack.finished(generation) for generation in [*early, *late]]
    assert {row.status for row in rows} == {"completed"}
    assert {row.tries for row in rows} == {1}, "no lease was lost"
    assert all(indices(check(stack, row).text) for row in rows)
    assert "Traceback" not in worker.log(), worker.tail(60)


# --- PostgreSQL ----------------------------------------------------------------------------------------------------


def test_an_answer_outlives_postgresql_being_away_for_less_than_its_lease(deploy: Callable[..., Stack]) -> None:
    stack = deploy(LEASE_SECONDS=30)
    url = stack.settings.database_url
    with TcpProxy.before(url) as proxy:
        worker = stack.worker(DATABASE_URL=proxy.url(url))
        generation = ask(stack, tokens=200, rate=40)
        speaks(stack, generation)
        proxy.refuse()
        # Counted in tokens of the upstream: a busy worker joins several of them into one event.
        until(lambda: len(indices(Transcript.of(stack.log(generation)).text)) > 140)
        proxy.pass_()
        row = stack.finished(generation)
    assert (row.status, row.epoch) == ("completed", 1)
    assert indices(check(stack, row).text) == list(range(200))
    assert "Traceback" not in worker.log(), worker.tail(60)


def test_a_worker_that_cannot_prove_its_lease_falls_silent(deploy: Callable[..., Stack]) -> None:
    """Self-fence: after 5/6 of a lease no event is sent, although the provider still sends."""
    stack = deploy()
    url = stack.settings.database_url
    with TcpProxy.before(url) as proxy:
        stack.worker(DATABASE_URL=proxy.url(url))
        generation = ask(stack, tokens=400, rate=45)
        speaks(stack, generation)
        proxy.refuse()
        cut = looked = quiet_since = time.monotonic()
        length = len(stack.log(generation))
        while time.monotonic() - quiet_since < 1.2:
            before, looked = looked, time.monotonic()
            if (now := len(stack.log(generation))) != length:
                # The event was appended after the previous look at the log.
                assert before - cut < LEASE, "it still speaks"
                length, quiet_since = now, time.monotonic()
            time.sleep(0.02)
        proxy.pass_()
        row = stack.finished(generation)
    assert row.status == "completed"
    assert indices(check(stack, row).text) == list(range(400))


def test_in_strict_mode_nothing_is_visible_before_it_is_durable(deploy: Callable[..., Stack]) -> None:
    stack = deploy(STRICT_DURABILITY=1)
    workers = stack.workers(2)
    # The first call cannot end before its worker is killed.
    generation = ask(stack, tokens=200, rate=40, stall_after=100, once=True)
    seen: set[Entry] = set()
    looks = 0
    while not stack.generation(generation).final:
        visible = stack.log(generation)
        with stack.resources.database.system(ONE_MOMENT) as tx:
            durable = checkpoints.archived(tx, generation) or checkpoints.chunks(tx, generation)
        assert set(visible) <= set(durable)
        seen |= set(visible)
        looks += 1
        if len(visible) > 3 and all(worker.alive for worker in workers):
            holder(stack, generation, *workers).kill()
    row = stack.finished(generation)
    assert looks > 3
    assert row.epoch == 2
    assert seen <= set(stack.read(generation))
    assert indices(check(stack, row).text) == list(range(200))
    assert isinstance(decode(stack.read(generation)[-1].payload), Done)


# --- many ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_five_hundred_answers_at_once_in_one_process(deploy: Callable[..., Stack]) -> None:
    stack = deploy(LEASE_SECONDS=60, HEARTBEAT_SECONDS=3, CHECKPOINT_SECONDS=2)
    waiting = [
        stack.start(f"Tell me about {n}", model="offline", parameters={"tokens": 30, "rate": 1}).generation.id
        for n in range(500)
    ]
    worker = stack.worker(500)

    def running() -> float:
        with stack.resources.database.system() as tx:
            return admin_generations.census(tx)["running"]

    until(lambda: running() == 500, 60, "five hundred at once", 0.1)
    rows = [stack.finished(generation, 120) for generation in waiting]
    assert {(row.status, row.tries, row.epoch) for row in rows} == {("completed", 1, 1)}
    for row in rows[::25]:
        check(stack, row)
    log = worker.log()
    assert "Traceback" not in log, worker.tail(60)
    assert '"level":"error"' not in log, worker.tail(60)
    assert '"action":"fenced"' not in log
