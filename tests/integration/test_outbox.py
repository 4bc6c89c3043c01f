"""The outbox of a worker process against a real Redis, through a connection that can be disturbed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from time import monotonic
from uuid import uuid4

import pytest

from app.domain.cursor import Cursor
from app.domain.errors import LeaseLost, LogDown
from app.domain.events import Entry, Mark, Reasoning, Snapshot, Token, decode
from app.domain.lease import Claimed, Lease
from app.domain.transcript import Transcript
from app.eventlog.client import redis_client
from app.eventlog.log import FINISHED_TTL_MS, RUNNING_TTL_MS, RedisLog
from tests.fakes.proxy import TcpProxy
from worker import log_connection
from worker.draft import Draft
from worker.outbox import Outbox

TICK = 0.02


class Desk:
    """An outbox, its log, and the claims that it has lost or reopened."""

    def __init__(self, url: str, through: str, **fields: float) -> None:
        self.client = redis_client(url)
        self.log = RedisLog(self.client, "outbox")
        self.lost: list[Claimed] = []
        self.reopened: list[Claimed] = []
        self.refusal: Exception | None = None
        self.outbox = Outbox(through, self.log, TICK, fields.get("self_fence", 25.0), self._reopen)

    async def _reopen(self, claimed: Claimed) -> None:
        if self.refusal:
            raise self.refusal
        self.reopened.append(claimed)
        self.log.open(claimed.lease.generation_id, claimed.lease.epoch)

    def draft(self, generation_id: str | None = None, epoch: int = 1, *, strict: bool = False) -> Draft:
        generation_id = generation_id or str(uuid4())
        claimed = Claimed(
            lease=Lease(generation_id, epoch), user_id="u", conversation_id="c", message_id="m", user_message_id="q",
            model="fake", parameters={}, attempts=[], tries=1, cancelled=False, remaining=None, age=0.0,
            model_version=None,
        )  # fmt: skip
        self.log.open(generation_id, epoch)
        draft = Draft(
            claimed,
            self.log.keys(generation_id),
            Transcript(),
            lambda error: self.lost.append(claimed),
            proven_at=monotonic(),
            opened=True,
            strict=strict,
        )
        self.outbox.enter(draft)
        return draft

    def read(self, draft: Draft) -> list[Entry]:
        return self.log.read(draft.claimed.lease.generation_id)

    def say(self, draft: Draft, *texts: str) -> None:
        for text in texts:
            draft.add_text(text, False)
        self.outbox.touch(draft)


@pytest.fixture
def proxy(redis_url: str) -> Iterator[TcpProxy]:
    with TcpProxy.before(redis_url) as proxy:
        yield proxy


@pytest.fixture
def at_desk(redis_url: str, proxy: TcpProxy) -> Callable[..., None]:
    """Runs a test's coroutine with a started outbox."""

    def run(work: Callable[[Desk], Awaitable[None]], **fields: float) -> None:
        async def life() -> None:
            desk = Desk(redis_url, proxy.url(redis_url), **fields)
            await desk.outbox.start()
            await until(lambda: desk.outbox.is_connected)
            try:
                await work(desk)
            finally:
                await desk.outbox.close()
                desk.client.close()

        asyncio.run(life())

    return run


async def until(condition: Callable[[], object], timeout: float = 30.0) -> None:
    deadline = asyncio.get_running_loop().time() + timeout
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, "it did not come true"
        await asyncio.sleep(0.005)


def test_what_is_said_within_a_tick_is_one_event(at_desk: Callable[..., None]) -> None:
    async def work(desk: Desk) -> None:
        draft = desk.draft()
        draft.add(Snapshot("", "start", 1))
        desk.say(draft, "a", "b", "c")
        await until(lambda: draft.acked == 2)
        desk.say(draft, "d")
        await until(lambda: draft.acked == 3)
        events = [decode(entry.payload) for entry in desk.read(draft)]
        assert events == [Snapshot("", "start", 1), Token("abc"), Token("d")]
        assert (draft.transcript.text, draft.transcript.cursor) == ("abcd", Cursor(1, 2))

    at_desk(work)


def test_what_is_said_while_a_reply_is_awaited_is_one_event(at_desk: Callable[..., None]) -> None:
    """A busy Redis receives fewer events. Text that arrives before its reply becomes one event."""

    async def work(desk: Desk) -> None:
        draft = desk.draft()
        draft.in_flight = True
        for text in "abc":
            desk.say(draft, text)
            await asyncio.sleep(TICK * 3)
        draft.in_flight = False
        desk.outbox.touch(draft)
        assert await desk.outbox.drain(draft, 30)
        assert [decode(entry.payload) for entry in desk.read(draft)] == [Token("abc")]

    at_desk(work)


def test_thinking_and_speaking_are_never_one_event(at_desk: Callable[..., None]) -> None:
    async def work(desk: Desk) -> None:
        draft = desk.draft()
        for text, thinking in (("a", True), ("b", True), ("c", False), ("d", True)):
            draft.add_text(text, thinking)
        draft.add(Mark("stop", None))
        assert await desk.outbox.drain(draft, 30)
        events = [decode(entry.payload) for entry in desk.read(draft)]
        assert events == [Reasoning("ab"), Token("c"), Reasoning("d"), Mark("stop", None)]

    at_desk(work)


def test_a_cut_connection_is_made_again_and_nothing_is_twice_or_missing(
    at_desk: Callable[..., None], proxy: TcpProxy
) -> None:
    async def work(desk: Desk) -> None:
        draft = desk.draft()
        for number in range(120):
            desk.say(draft, f"{number} ")
            if number % 30 == 15:
                proxy.cut()
            await asyncio.sleep(0.004)
        assert await desk.outbox.drain(draft, 30)
        assert Transcript.of(desk.read(draft)).text == "".join(f"{number} " for number in range(120))

    at_desk(work)


def test_lost_replies_do_no_harm(at_desk: Callable[..., None], proxy: TcpProxy) -> None:
    async def work(desk: Desk) -> None:
        draft = desk.draft()
        proxy.drop_reply_to(lambda data: b"EVALSHA" in data or b"XADD" in data, 3)
        for number in range(60):
            desk.say(draft, f"{number} ")
            await asyncio.sleep(0.01)
        assert await desk.outbox.drain(draft, 30)
        entries = desk.read(draft)
        assert [entry.cursor.n for entry in entries] == list(range(len(entries)))
        assert Transcript.of(entries).text == "".join(f"{number} " for number in range(60))
        assert proxy.lost_replies == 3

    at_desk(work)


def test_a_lost_log_is_opened_again_after_the_lease_is_proven_and_sent_from_the_start(
    at_desk: Callable[..., None],
) -> None:
    async def work(desk: Desk) -> None:
        draft = desk.draft()
        desk.say(draft, "a")
        await until(lambda: draft.acked == 1)
        desk.log.unlink([draft.claimed.lease.generation_id])
        since = draft.proven_at
        desk.say(draft, "b")
        await until(lambda: draft.acked == 2)
        assert draft.proven_at == since, "a lease in force was taken for one that was extended"
        assert desk.reopened == [draft.claimed]
        assert [decode(entry.payload) for entry in desk.read(draft)] == [Token("a"), Token("b")]

    at_desk(work)


def test_while_a_log_cannot_be_opened_it_is_tried_until_it_can(at_desk: Callable[..., None]) -> None:
    async def work(desk: Desk) -> None:
        draft = desk.draft()
        desk.refusal = LogDown()
        desk.log.unlink([draft.claimed.lease.generation_id])
        desk.say(draft, "a")
        await asyncio.sleep(0.3)
        assert desk.read(draft) == []
        desk.refusal = None
        await until(lambda: draft.acked == 1)

    at_desk(work)


def test_a_lease_that_cannot_be_proven_is_lost_and_nothing_is_written(at_desk: Callable[..., None]) -> None:
    async def work(desk: Desk) -> None:
        draft = desk.draft()
        desk.refusal = LeaseLost()
        desk.log.unlink([draft.claimed.lease.generation_id])
        desk.say(draft, "a")
        await until(lambda: desk.lost)
        assert desk.read(draft) == []

    at_desk(work)


def test_a_fenced_writer_is_told_with_its_next_word(at_desk: Callable[..., None]) -> None:
    async def work(desk: Desk) -> None:
        draft = desk.draft()
        desk.say(draft, "a")
        await until(lambda: draft.acked == 1)
        desk.log.open(draft.claimed.lease.generation_id, 2)
        desk.say(draft, "b")
        await until(lambda: desk.lost == [draft.claimed])
        assert len(desk.read(draft)) == 1

    at_desk(work)


def test_a_silent_writer_is_told_too_and_its_log_does_not_expire(at_desk: Callable[..., None]) -> None:
    async def work(desk: Desk) -> None:
        draft = desk.draft()
        desk.say(draft, "a")
        await until(lambda: draft.acked == 1)
        desk.client.pexpire(draft.keys.log, 60_000)
        await until(lambda: desk.client.pttl(draft.keys.log) > RUNNING_TTL_MS - 60_000)
        desk.log.open(draft.claimed.lease.generation_id, 2)
        await until(lambda: desk.lost == [draft.claimed])

    at_desk(work)


def test_a_silent_writer_notices_a_lost_suffix_and_sends_it_again(at_desk: Callable[..., None]) -> None:
    async def work(desk: Desk) -> None:
        draft = desk.draft()
        for text in "abcd":
            desk.say(draft, text)
            await until(lambda: draft.acked == len(draft.payloads) and not draft.pending)
        before = desk.read(draft)
        desk.client.delete(draft.keys.log)
        desk.client.execute_command("XADD", draft.keys.log, "1-0", "e", before[0].payload)
        await until(lambda: desk.read(draft) == before)

    at_desk(work)


def test_a_steady_writer_takes_the_short_way_and_who_listens_hears_every_event(at_desk: Callable[..., None]) -> None:
    async def work(desk: Desk) -> None:
        draft = desk.draft()
        with desk.client.pubsub(ignore_subscribe_messages=True) as listener:
            listener.subscribe(draft.keys.channel.decode())
            await until(lambda: desk.client.pubsub_numsub(draft.keys.channel)[0][1])
            desk.client.config_resetstat()
            began = monotonic()
            for number in range(30):
                desk.say(draft, f"{number} ")
                await until(lambda: draft.acked == len(draft.payloads) and not draft.pending)
            assert await desk.outbox.finish(draft, b'{"type":"done"}', 30)
            # An outbox that has appended nothing for a second checks that its log is whole.
            asked = monotonic() - began
            heard: list[bytes] = []
            deadline = monotonic() + 30
            while len(heard) < 31 and monotonic() < deadline:
                if message := listener.get_message(timeout=0.3):
                    heard.append(message["data"])
        assert heard == [b"%b %b" % (str(entry.cursor).encode(), entry.payload) for entry in desk.read(draft)]
        assert len(heard) == 31
        assert desk.client.info("commandstats")["cmdstat_evalsha"]["calls"] <= 8 + asked

    at_desk(work)


def test_each_of_many_writers_is_told_of_its_own_log(at_desk: Callable[..., None]) -> None:
    """Events of many drafts leave in one write, and the replies come in parts. One draft has been fenced meanwhile."""

    async def work(desk: Desk) -> None:
        drafts = [desk.draft() for _ in range(150)]
        for draft in drafts:
            desk.say(draft, "a")
        await until(lambda: all(draft.acked == 1 for draft in drafts))
        replaced = drafts.pop(70)
        desk.log.open(replaced.claimed.lease.generation_id, 2)
        desk.say(replaced, "late")
        for number, draft in enumerate(drafts):
            desk.say(draft, f"{number} " * 200)
        await until(lambda: desk.lost and all(draft.acked == 2 for draft in drafts))
        assert desk.lost == [replaced.claimed]
        assert len(desk.read(replaced)) == 1
        for number, draft in enumerate(drafts):
            said = [decode(entry.payload) for entry in desk.read(draft)]
            assert said == [Token("a"), Token(f"{number} " * 200)]

    at_desk(work)


def test_a_hole_behind_a_proxy_is_closed_within_seconds(at_desk: Callable[..., None]) -> None:
    """The connection holds, but the server behind the proxy lacks the last events. The next append leaves a hole."""

    async def work(desk: Desk) -> None:
        draft = desk.draft()
        for text in "abcd":
            desk.say(draft, text)
            await until(lambda: draft.acked == len(draft.payloads) and not draft.pending)
        first, *lost = desk.read(draft)
        with desk.client.pipeline() as together:
            together.delete(draft.keys.log)
            together.execute_command("XADD", draft.keys.log, "1-0", "e", first.payload)
            together.execute()
        desk.say(draft, "e")
        await until(lambda: len(desk.read(draft)) == 5)
        assert [decode(entry.payload) for entry in desk.read(draft)] == [Token(text) for text in "abcde"]
        assert desk.read(draft)[:4] == [first, *lost]

    at_desk(work)


def test_what_becomes_of_a_writer_that_has_left_is_told_to_nobody(
    at_desk: Callable[..., None], proxy: TcpProxy
) -> None:
    """A late reply to a draft that the run has left is ignored. The run's next revision must not count as lost."""

    async def work(desk: Desk) -> None:
        first = desk.draft()
        desk.say(first, "a")
        await until(lambda: first.acked == 1)
        proxy.black_hole()
        desk.say(first, "b")
        await until(lambda: first.in_flight)
        desk.outbox.leave(first)
        desk.log.open(first.claimed.lease.generation_id, 2)
        second = desk.draft(first.claimed.lease.generation_id, 2)
        desk.say(second, "c")
        proxy.pass_()
        await until(lambda: second.acked == 1 and not first.in_flight)
        assert desk.lost == []

    at_desk(work)


def test_who_cannot_prove_the_lease_falls_silent_until_it_is_proven(at_desk: Callable[..., None]) -> None:
    async def work(desk: Desk) -> None:
        draft = desk.draft()
        desk.say(draft, "a")
        await until(lambda: draft.acked == 1)
        draft.proven_at -= 1000
        desk.say(draft, "b")
        await asyncio.sleep(0.2)
        assert len(desk.read(draft)) == 1
        draft.proven_at += 1000
        desk.outbox.touch(draft)
        await until(lambda: draft.acked == 2)

    at_desk(work, self_fence=500.0)


def test_in_strict_mode_only_what_is_saved_is_sent(at_desk: Callable[..., None]) -> None:
    async def work(desk: Desk) -> None:
        draft = desk.draft(strict=True)
        desk.say(draft, "a")
        draft.seal()
        desk.say(draft, "b")
        await asyncio.sleep(0.1)
        assert desk.read(draft) == []
        draft.saved = 1
        desk.outbox.touch(draft)
        await until(lambda: draft.acked == 1)
        await asyncio.sleep(0.1)
        assert [decode(entry.payload) for entry in desk.read(draft)] == [Token("a")]

    at_desk(work)


def test_the_end_lets_the_log_expire_in_its_time(at_desk: Callable[..., None]) -> None:
    async def work(desk: Desk) -> None:
        draft = desk.draft()
        desk.say(draft, "a")
        assert await desk.outbox.finish(draft, b'{"type":"done"}', 30)
        assert 0 < desk.client.pttl(draft.keys.log) <= FINISHED_TTL_MS
        assert 0 < desk.client.pttl(draft.keys.meta) <= FINISHED_TTL_MS
        desk.outbox.leave(draft)

    at_desk(work)


def test_a_committed_end_is_told_however_long_ago_the_lease_was_proven(at_desk: Callable[..., None]) -> None:
    """The outbox appends a committed end although its lease was proven long ago: the commit itself proves the lease."""

    async def work(desk: Desk) -> None:
        draft = desk.draft()
        desk.say(draft, "a")
        await until(lambda: draft.acked == 1)
        draft.proven_at -= 1000
        desk.say(draft, "b")
        draft.seal()
        assert await desk.outbox.finish(draft, b'{"type":"done"}', 30)
        assert [entry.payload for entry in desk.read(draft)] == draft.payloads

    at_desk(work, self_fence=500.0)


def test_hundreds_of_writers_share_the_connection(
    at_desk: Callable[..., None], proxy: TcpProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A connection without a reply for 2 s is replaced; a proxy on a busy machine must not look like a Redis that hangs.
    monkeypatch.setattr(log_connection, "REPLY_SECONDS", 60.0)

    async def work(desk: Desk) -> None:
        drafts = [desk.draft() for _ in range(300)]
        for number in range(5):
            for draft in drafts:
                desk.say(draft, f"{number} ")
            await asyncio.sleep(TICK * 2)
        for draft in drafts:
            assert await desk.outbox.drain(draft, 30)
            assert Transcript.of(desk.read(draft)).text == "0 1 2 3 4 "
        assert proxy.connections == 1

    at_desk(work)


def test_a_connection_that_has_just_ended_is_not_written_to(at_desk: Callable[..., None]) -> None:
    """A timer may fire between the end of a connection and the moment at which the outbox notices it."""

    async def work(desk: Desk) -> None:
        draft = desk.draft()
        failures: list[dict[str, object]] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: failures.append(context))
        for number in range(4):
            await until(lambda: desk.outbox.is_connected)
            wire = desk.outbox._connection.wire
            assert wire
            wire.connection_lost(None)
            desk.say(draft, f"{number} ")
            desk.outbox._flush()
        assert await desk.outbox.drain(draft, 30)
        assert Transcript.of(desk.read(draft)).text == "".join(f"{number} " for number in range(4))
        assert failures == []

    at_desk(work)


def test_a_redis_that_does_not_answer_is_noticed_though_no_draft_has_anything_to_send(
    at_desk: Callable[..., None], proxy: TcpProxy
) -> None:
    async def work(desk: Desk) -> None:
        proxy.black_hole()
        await until(lambda: not desk.outbox.is_connected)
        proxy.pass_()
        await until(lambda: desk.outbox.is_connected)
        draft = desk.draft()
        desk.say(draft, "again")
        assert await desk.outbox.drain(draft, 30)

    at_desk(work)
