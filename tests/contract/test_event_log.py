"""One contract for both event logs: the log in memory passes every test that the log in Redis passes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import hiredis
import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from app.domain.cursor import Cursor
from app.domain.errors import LogDown
from app.domain.events import Entry
from app.eventlog.client import redis_client
from app.eventlog.log import (
    FINISHED_TTL_MS,
    RUNNING_TTL_MS,
    AppendResult,
    EventLog,
    FastAppend,
    RedisLog,
    is_out_of_step,
    publish_command,
    xadd_command,
)
from app.eventlog.memory import MemoryLog
from dev.server import free_port
from tests.redis_log import forget

ID = "0199f0f0-0000-7000-8000-000000000001"


class Rig(Protocol):
    """A log, with its publications and with losses that only a server can cause."""

    log: EventLog

    def heard(self) -> list[Entry]:
        """The entries published so far."""

    def forget(self, kept: int) -> None:
        """Lose every entry but the first ``kept``, as a server does whose last seconds were not on disk."""


class MemoryRig:
    def __init__(self) -> None:
        self._heard: list[Entry] = []
        self.memory = MemoryLog(lambda generation_id, entry: self._heard.append(entry))
        self.log: EventLog = self.memory

    def heard(self) -> list[Entry]:
        return self._heard

    def forget(self, kept: int) -> None:
        self.memory.forget(ID, kept)


class RedisRig:
    def __init__(self, url: str, namespace: str = "contract") -> None:
        self.client = redis_client(url)
        self.redis = RedisLog(self.client, namespace)
        self.log: EventLog = self.redis
        self.keys = self.redis.keys(ID)
        self._pubsub = self.client.pubsub(ignore_subscribe_messages=True)
        self._pubsub.subscribe(self.keys.channel.decode())
        self._heard: list[Entry] = []
        while not self._subscribed():
            self._pubsub.get_message(timeout=0.1)

    def _subscribed(self) -> bool:
        [(_, count)] = self.client.pubsub_numsub(self.keys.channel)
        return bool(count)

    def heard(self) -> list[Entry]:
        """All entries published so far: a marker published behind them arrives last."""
        self.client.publish(self.keys.channel, b"marker")
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            message = self._pubsub.get_message(timeout=0.1)
            if message is None:
                continue
            if message["data"] == b"marker":
                return self._heard
            position, _, payload = message["data"].partition(b" ")
            self._heard.append(Entry(Cursor.parse(position.decode()), payload))
        raise AssertionError("the marker did not come back")

    def forget(self, kept: int) -> None:
        forget(self.client, self.keys, kept)

    def add(self, epoch: int, n: int, payload: bytes) -> Any:
        """Append the next event by a bare XADD and publish it when it is appended. The raw reply, or the error."""
        try:
            reply = self.client.execute_command(*xadd_command(self.keys, epoch, n, payload))
        except redis.ResponseError as error:
            return error
        if reply is not None:
            self.client.execute_command(*publish_command(self.keys, reply, payload))
        return reply

    def keys_without_expiry(self) -> list[bytes]:
        return [key for key in self.client.scan_iter(match="contract:*") if self.client.pttl(key) < 0]

    def close(self) -> None:
        self._pubsub.close()
        self.client.close()


@pytest.fixture(params=["memory", "redis"])
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    if request.param == "memory":
        yield MemoryRig()
        return
    rig = RedisRig(request.getfixturevalue("redis_url"))
    yield rig
    rig.close()


@pytest.fixture
def redis_rig(redis_url: str) -> Iterator[RedisRig]:
    rig = RedisRig(redis_url)
    yield rig
    rig.close()


def payloads(*names: str) -> list[bytes]:
    return [name.encode() for name in names]


def at(epoch: int, first: int, *names: str) -> list[Entry]:
    return [Entry(Cursor(epoch, n), name.encode()) for n, name in enumerate(names, first)]


# --- each verdict ------------------------------------------------------------------------------------------------


def test_what_was_appended_is_read_in_order(rig: Rig) -> None:
    assert rig.log.open(ID, 1) == AppendResult("OK", -1)
    assert rig.log.append(ID, 1, 0, payloads("a", "b")) == AppendResult("OK", 1)
    assert rig.log.append(ID, 1, 2, payloads("c")) == AppendResult("OK", 2)
    assert rig.log.read(ID) == at(1, 0, "a", "b", "c")


def test_a_log_that_was_never_opened_is_lost(rig: Rig) -> None:
    assert rig.log.append(ID, 1, 0, payloads("a")).verdict == "LOST"
    assert rig.log.read(ID) == []


def test_a_dropped_log_is_lost_until_it_is_opened_again(rig: Rig) -> None:
    rig.log.open(ID, 1)
    rig.log.append(ID, 1, 0, payloads("a", "b"))
    rig.log.unlink([ID])
    assert rig.log.read(ID) == []
    assert rig.log.append(ID, 1, 2, payloads("c")).verdict == "LOST"
    assert rig.log.open(ID, 1) == AppendResult("OK", -1)
    assert rig.log.append(ID, 1, 2, payloads("c")) == AppendResult("GAP", -1)
    assert rig.log.append(ID, 1, 0, payloads("a", "b", "c")) == AppendResult("OK", 2)
    assert rig.log.read(ID) == at(1, 0, "a", "b", "c")


def test_opening_a_later_revision_fences_the_earlier_one(rig: Rig) -> None:
    rig.log.open(ID, 1)
    rig.log.append(ID, 1, 0, payloads("a"))
    assert rig.log.open(ID, 3) == AppendResult("OK", -1)
    assert rig.log.append(ID, 1, 1, payloads("b")) == AppendResult("FENCED", 3)
    assert rig.log.append(ID, 1, 0, payloads("a")) == AppendResult("FENCED", 3)
    assert rig.log.append(ID, 1, 0, []) == AppendResult("FENCED", 3)
    assert rig.log.open(ID, 1) == AppendResult("FENCED", 3)
    assert rig.log.open(ID, 2) == AppendResult("FENCED", 3)
    assert rig.log.read(ID) == at(1, 0, "a")


def test_a_revision_that_was_not_opened_cannot_be_written(rig: Rig) -> None:
    rig.log.open(ID, 1)
    assert rig.log.append(ID, 2, 0, payloads("x")) == AppendResult("UNOPENED", 1)
    assert rig.log.append(ID, 2, 0, []) == AppendResult("UNOPENED", 1)
    assert rig.log.read(ID) == []


def test_a_lost_suffix_is_a_gap_and_is_filled_by_resending(rig: Rig) -> None:
    rig.log.open(ID, 1)
    rig.log.append(ID, 1, 0, payloads("a", "b", "c", "d"))
    rig.forget(2)
    assert rig.log.append(ID, 1, 4, payloads("e")) == AppendResult("GAP", 1)
    assert rig.log.append(ID, 1, 2, payloads("c", "d", "e")) == AppendResult("OK", 4)
    assert rig.log.read(ID) == at(1, 0, "a", "b", "c", "d", "e")


def test_a_question_without_events_notices_a_lost_suffix(rig: Rig) -> None:
    rig.log.open(ID, 1)
    rig.log.append(ID, 1, 0, payloads("a", "b", "c"))
    rig.forget(1)
    assert rig.log.append(ID, 1, 3, []) == AppendResult("OK", 0)


def test_a_whole_revision_that_was_lost_is_written_again(rig: Rig) -> None:
    rig.log.open(ID, 1)
    rig.log.append(ID, 1, 0, payloads("a", "b"))
    rig.log.open(ID, 2)
    rig.log.append(ID, 2, 0, payloads("s", "t"))
    rig.forget(1)
    assert rig.log.append(ID, 2, 2, payloads("u")) == AppendResult("GAP", -1)
    assert rig.log.append(ID, 2, 0, payloads("s", "t", "u")) == AppendResult("OK", 2)
    assert rig.log.read(ID) == at(1, 0, "a") + at(2, 0, "s", "t", "u")


# --- repeating -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", range(5))
def test_resending_any_part_adds_only_what_is_missing(rig: Rig, first: int) -> None:
    names = ["a", "b", "c", "d", "e", "f"]
    rig.log.open(ID, 1)
    rig.log.append(ID, 1, 0, payloads(*names[:5]))
    assert rig.log.append(ID, 1, first, payloads(*names[first:])) == AppendResult("OK", 5)
    assert rig.log.append(ID, 1, first, payloads(*names[first:5])) == AppendResult("OK", 5)
    assert rig.log.read(ID) == at(1, 0, *names)
    assert rig.heard() == at(1, 0, *names)


def test_an_id_keeps_its_first_meaning(rig: Rig) -> None:
    rig.log.open(ID, 1)
    rig.log.append(ID, 1, 0, payloads("a", "b"))
    assert rig.log.append(ID, 1, 0, payloads("X", "Y", "c")) == AppendResult("OK", 2)
    assert rig.log.read(ID) == at(1, 0, "a", "b", "c")


def test_opening_twice_is_opening_once(rig: Rig) -> None:
    rig.log.open(ID, 2)
    rig.log.append(ID, 2, 0, payloads("a", "b"))
    assert rig.log.open(ID, 2) == AppendResult("OK", 1)
    assert rig.log.append(ID, 2, 2, payloads("c")) == AppendResult("OK", 2)
    assert rig.log.read(ID) == at(2, 0, "a", "b", "c")


# --- reading and listening ---------------------------------------------------------------------------------------


def test_reading_past_a_position_gives_what_follows_across_revisions(rig: Rig) -> None:
    rig.log.open(ID, 1)
    rig.log.append(ID, 1, 0, payloads("a", "b"))
    rig.log.open(ID, 4)
    rig.log.append(ID, 4, 0, payloads("s", "t"))
    whole = at(1, 0, "a", "b") + at(4, 0, "s", "t")
    for position, after in enumerate([Cursor(0, 0), *(entry.cursor for entry in whole)]):
        assert rig.log.read(ID, after) == whole[position:]
        assert rig.log.read(ID, after, limit=2) == whole[position:][:2]
    assert rig.log.read(ID, Cursor(2, 7)) == at(4, 0, "s", "t")
    assert rig.log.read(ID, Cursor(4, 99)) == []


def test_what_is_published_is_the_log_in_its_order(rig: Rig) -> None:
    rig.log.open(ID, 1)
    rig.log.append(ID, 1, 0, payloads("a", "b"))
    rig.log.append(ID, 1, 1, payloads("b", "c"))
    rig.log.open(ID, 2)
    rig.log.append(ID, 1, 3, payloads("zombie"))
    rig.log.append(ID, 2, 0, payloads("s"))
    rig.log.append(ID, 2, 5, payloads("gap"))
    assert rig.heard() == rig.log.read(ID) == at(1, 0, "a", "b", "c") + at(2, 0, "s")


@pytest.mark.parametrize("payload", [b"", b"\x00\r\n \xff", "é日本🙂".encode(), b"x" * 200_000])
def test_payloads_are_bytes_and_nothing_is_done_to_them(rig: Rig, payload: bytes) -> None:
    rig.log.open(ID, 1)
    rig.log.append(ID, 1, 0, [payload])
    assert rig.log.read(ID) == [Entry(Cursor(1, 0), payload)]
    assert rig.heard() == [Entry(Cursor(1, 0), payload)]


def test_many_events_at_once_are_as_good_as_one_by_one(rig: Rig) -> None:
    many = [b"%d" % n for n in range(7000)]
    rig.log.open(ID, 1)
    for first in range(0, 7000, 3500):
        assert rig.log.append(ID, 1, first, many[first : first + 3500]) == AppendResult("OK", first + 3499)
    first_page = rig.log.read(ID)
    rest = rig.log.read(ID, first_page[-1].cursor)
    assert [entry.payload for entry in first_page + rest] == many


def test_generations_do_not_touch_each_other(rig: Rig) -> None:
    other = ID[:-1] + "2"
    rig.log.open(ID, 1)
    rig.log.open(other, 5)
    rig.log.append(ID, 1, 0, payloads("a"))
    rig.log.append(other, 5, 0, payloads("b"))
    rig.log.unlink([other])
    assert rig.log.read(ID) == at(1, 0, "a")


def test_the_short_way_is_packed_as_any_command_is() -> None:
    keys = RedisLog(redis_client("redis://127.0.0.1"), "contract").keys(ID)
    for n, payload in ((0, b""), (12, b'{"a":"b"}'), (1000, "é\r\n".encode() * 99)):
        short = FastAppend(keys, 17)
        assert short.xadd(n, payload) == hiredis.pack_command(xadd_command(keys, 17, n, payload))
        assert short.publish(b"17-%d" % n, payload) == hiredis.pack_command(
            publish_command(keys, b"17-%d" % n, payload)
        )


# --- Redis only -----------------------------------------------------------------------------------------------------


def test_every_key_has_a_time_to_live_at_every_moment(redis_rig: RedisRig) -> None:
    log = redis_rig.redis
    steps: list[Callable[[], Any]] = [
        lambda: log.open(ID, 1),
        lambda: log.append(ID, 1, 0, payloads("a")),
        lambda: log.append(ID, 1, 1, payloads("b")),
        lambda: log.append(ID, 1, 2, [], RUNNING_TTL_MS),
        lambda: log.open(ID, 2),
        lambda: log.append(ID, 2, 0, payloads("s")),
        lambda: redis_rig.client.delete(redis_rig.keys.log),
        lambda: log.append(ID, 2, 1, payloads("t")),
        lambda: log.append(ID, 2, 2, payloads("done"), FINISHED_TTL_MS),
        lambda: redis_rig.client.delete(redis_rig.keys.meta),
        lambda: log.append(ID, 2, 3, payloads("late")),
        lambda: log.open(ID, 3),
        lambda: log.append(ID, 3, 0, payloads("x")),
    ]
    for number, step in enumerate(steps):
        step()
        assert redis_rig.keys_without_expiry() == [], f"after step {number}"


def test_appending_keeps_the_time_to_live_and_a_question_refreshes_it(redis_rig: RedisRig) -> None:
    log, client, keys = redis_rig.redis, redis_rig.client, redis_rig.keys
    log.open(ID, 1)
    log.append(ID, 1, 0, payloads("a"))
    for key in (keys.log, keys.meta):
        assert RUNNING_TTL_MS - 60_000 < client.pttl(key) <= RUNNING_TTL_MS
        client.pexpire(key, 50_000)
    log.append(ID, 1, 1, payloads("b"))
    assert max(client.pttl(keys.log), client.pttl(keys.meta)) <= 50_000
    log.append(ID, 1, 2, [], RUNNING_TTL_MS)
    assert min(client.pttl(keys.log), client.pttl(keys.meta)) > 50_000
    log.append(ID, 1, 2, payloads("done"), FINISHED_TTL_MS)
    for key in (keys.log, keys.meta):
        assert FINISHED_TTL_MS - 60_000 < client.pttl(key) <= FINISHED_TTL_MS


def test_the_keys_of_a_generation_share_a_slot_and_begin_with_the_namespace(redis_rig: RedisRig) -> None:
    keys = redis_rig.keys
    assert {key.partition(b"}")[0] for key in keys} == {b"contract:{" + ID.encode()}


def test_scripts_that_the_server_forgot_are_sent_again(redis_rig: RedisRig) -> None:
    redis_rig.redis.open(ID, 1)
    redis_rig.client.script_flush()
    assert redis_rig.redis.append(ID, 1, 0, payloads("a")) == AppendResult("OK", 0)
    redis_rig.client.script_flush()
    assert redis_rig.redis.open(ID, 2) == AppendResult("OK", -1)


def test_the_next_event_may_be_added_by_a_plain_command(redis_rig: RedisRig) -> None:
    redis_rig.log.open(ID, 1)
    redis_rig.log.append(ID, 1, 0, payloads("a"))
    assert redis_rig.add(1, 1, b"b") == b"1-1"
    assert redis_rig.log.append(ID, 1, 2, payloads("c")) == AppendResult("OK", 2)
    assert redis_rig.log.read(ID) == redis_rig.heard() == at(1, 0, "a", "b", "c")


def test_a_plain_command_does_not_pass_the_fence_not_even_before_the_next_revision_has_said_anything(
    redis_rig: RedisRig,
) -> None:
    redis_rig.log.open(ID, 1)
    redis_rig.log.append(ID, 1, 0, payloads("a"))
    redis_rig.log.open(ID, 2)
    assert is_out_of_step(redis_rig.add(1, 1, b"zombie"))
    assert redis_rig.log.append(ID, 2, 0, payloads("s")) == AppendResult("OK", 0)
    assert is_out_of_step(redis_rig.add(1, 1, b"zombie"))
    assert redis_rig.log.read(ID) == at(1, 0, "a") + at(2, 0, "s")


def test_a_plain_command_makes_no_log_and_says_nothing_twice(redis_rig: RedisRig) -> None:
    assert is_out_of_step(redis_rig.add(1, 0, b"a"))
    redis_rig.log.open(ID, 1)
    assert is_out_of_step(redis_rig.add(1, 0, b"a"))
    redis_rig.log.append(ID, 1, 0, payloads("a", "b"))
    assert is_out_of_step(redis_rig.add(1, 1, b"X"))
    assert redis_rig.log.read(ID) == at(1, 0, "a", "b")


def test_a_server_full_of_memory_is_not_a_writer_out_of_step(redis_rig: RedisRig) -> None:
    redis_rig.log.open(ID, 1)
    redis_rig.log.append(ID, 1, 0, payloads("a"))
    redis_rig.client.config_set("maxmemory", "1mb")
    try:
        assert not is_out_of_step(redis_rig.add(1, 1, b"b"))
    finally:
        redis_rig.client.config_set("maxmemory", "0")
    assert redis_rig.log.read(ID) == at(1, 0, "a")


@pytest.mark.parametrize("kept", [0, 1, 3])
def test_a_hole_that_nobody_was_told_of_is_found_and_the_log_written_anew(redis_rig: RedisRig, kept: int) -> None:
    """A proxy can hide a failover from a writer; the new server then lacks the newest entries."""
    redis_rig.log.open(ID, 1)
    redis_rig.log.append(ID, 1, 0, payloads("a"))
    redis_rig.log.open(ID, 2)
    redis_rig.log.append(ID, 2, 0, payloads("s", "t", "u"))
    redis_rig.forget(kept)
    redis_rig.add(2, 3, b"v")
    answer = redis_rig.log.append(ID, 2, 4, payloads("w"))
    assert answer.verdict == "LOST" or (kept == 0 and answer.verdict == "GAP")
    redis_rig.log.open(ID, 2)
    assert redis_rig.log.append(ID, 2, 0, payloads("s", "t", "u", "v", "w")) == AppendResult("OK", 4)
    assert redis_rig.log.read(ID)[-5:] == at(2, 0, "s", "t", "u", "v", "w")
    assert redis_rig.keys_without_expiry() == []


def test_a_log_with_events_of_a_revision_that_was_not_open_is_begun_anew(redis_rig: RedisRig) -> None:
    """The whole log was lost, and a writer of an earlier epoch opened its revision before the present writer did."""
    redis_rig.log.open(ID, 1)
    redis_rig.log.append(ID, 1, 0, payloads("a"))
    assert redis_rig.add(2, 7, b"ahead") == b"2-7"
    assert redis_rig.log.append(ID, 2, 8, payloads("b")) == AppendResult("UNOPENED", 1)
    assert redis_rig.log.open(ID, 2) == AppendResult("OK", -1)
    assert redis_rig.log.append(ID, 2, 0, payloads("s")) == AppendResult("OK", 0)
    assert redis_rig.log.read(ID) == at(2, 0, "s")
    assert redis_rig.keys_without_expiry() == []


def test_a_server_that_is_not_there_is_a_log_that_is_down() -> None:
    log = RedisLog(redis_client(f"redis://127.0.0.1:{free_port()}/0"), "contract")
    for ask in (
        lambda: log.open(ID, 1),
        lambda: log.append(ID, 1, 0, [b"a"]),
        lambda: log.read(ID),
        lambda: log.unlink([ID]),
    ):
        with pytest.raises(LogDown):
            ask()


# --- both at once, at random ---------------------------------------------------------------------------------------


class BothLogs(RuleBasedStateMachine):
    """Writers with different epochs, some of them fenced, over a server that loses entries. Both logs must agree."""

    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.client = redis_client(self.url)
        self.client.flushall()
        self.both = [MemoryRig(), RedisRig(self.url)]
        # The payload of each id as it was first seen, and the highest epoch opened since the log was lost.
        self.meanings: dict[Cursor, bytes] = {}
        self.opened: int | None = None
        # By epoch: the top of the last OK to its writer, on a connection that has not ended since.
        self.in_step: dict[int, int] = {}

    epochs = st.integers(1, 4)

    def ask(self, question: Callable[[EventLog], AppendResult]) -> AppendResult:
        memory, real = (question(rig.log) for rig in self.both)
        assert memory == real
        return real

    def said(self, epoch: int, n: int) -> bytes:
        """The payload of an id. It depends on the id only, because a draft in memory never changes an event."""
        return b"%d.%d" % (epoch, n)

    @rule(epoch=epochs)
    def open(self, epoch: int) -> None:
        answer = self.ask(lambda log: log.open(ID, epoch))
        expected = "FENCED" if self.opened is not None and epoch < self.opened else "OK"
        assert answer.verdict == expected
        if expected == "OK":
            self.opened = epoch
            # After a loss of the whole log; a test of its own shows that this is found within a second.
            self.in_step = {each: top for each, top in self.in_step.items() if each <= epoch}

    @rule(epoch=epochs, first=st.integers(0, 8), count=st.integers(0, 5))
    def append(self, epoch: int, first: int, count: int) -> None:
        before = self.both[1].log.read(ID)
        events = [self.said(epoch, n) for n in range(first, first + count)]
        answer = self.ask(lambda log: log.append(ID, epoch, first, events))
        after = self.both[1].log.read(ID)
        if answer.verdict != "OK":
            assert after == before
        assert (answer.verdict == "LOST") == (self.opened is None)
        if self.opened is not None:
            assert (answer.verdict == "FENCED") == (epoch < self.opened)
            assert (answer.verdict == "UNOPENED") == (epoch > self.opened)
            assert (answer.verdict in ("OK", "GAP")) == (epoch == self.opened)
        self.in_step.pop(epoch, None)
        # A writer without an append knows no stream to add to; a draft begins with its snapshot.
        if answer.verdict == "OK" and events:
            self.in_step[epoch] = answer.top

    @rule(epoch=epochs)
    def add_the_next(self, epoch: int) -> None:
        """Append by a bare XADD, which a fenced writer sends too until it is refused."""
        if epoch not in self.in_step:
            return
        n = self.in_step[epoch] + 1
        memory, real = self.both
        assert isinstance(real, RedisRig)
        expected = memory.log.append(ID, epoch, n, [self.said(epoch, n)])
        reply = real.add(epoch, n, self.said(epoch, n))
        if expected.verdict == "OK":
            assert reply == b"%d-%d" % (epoch, n)
            self.in_step[epoch] = n
        else:
            assert is_out_of_step(reply)
            del self.in_step[epoch]

    @rule(epoch=epochs)
    def resend(self, epoch: int) -> None:
        """Send every event behind the top that the last reply named, as a writer does after a gap."""
        answer = self.ask(lambda log: log.append(ID, epoch, 99, [b"far"]))
        if answer.verdict == "GAP":
            events = [self.said(epoch, n) for n in range(answer.top + 1, answer.top + 4)]
            answer = self.ask(lambda log: log.append(ID, epoch, answer.top + 1, events))
            assert answer.verdict == "OK"
            self.in_step[epoch] = answer.top

    @rule(share=st.floats(0, 1))
    def lose_a_suffix(self, share: float) -> None:
        if self.opened is None:
            return
        self.in_step.clear()  # each connection ends with its server
        kept = int(len(self.both[1].log.read(ID)) * share)
        for rig in self.both:
            rig.forget(kept)

    @rule()
    def drop(self) -> None:
        for rig in self.both:
            rig.log.unlink([ID])
        self.opened = None

    @rule(after=st.builds(Cursor, st.integers(0, 5), st.integers(0, 9)), limit=st.integers(1, 6))
    def read(self, after: Cursor, limit: int) -> None:
        memory, real = (rig.log.read(ID, after, limit) for rig in self.both)
        assert memory == real

    @invariant()
    def contents_are_the_same_and_no_id_has_two_meanings(self) -> None:
        memory, real = (rig.log.read(ID) for rig in self.both)
        assert memory == real
        for cursor, payload in real:
            assert self.meanings.setdefault(cursor, payload) == payload
        assert [entry.cursor for entry in real] == sorted({entry.cursor for entry in real})

    @invariant()
    def nothing_lives_for_ever(self) -> None:
        rig = self.both[1]
        assert isinstance(rig, RedisRig)
        assert rig.keys_without_expiry() == []

    def teardown(self) -> None:
        memory, real = (rig.heard() for rig in self.both)
        assert memory == real
        for cursor, payload in real:
            assert self.meanings.setdefault(cursor, payload) == payload
        for rig in self.both:
            with contextlib.suppress(AttributeError):
                rig.close()
        self.client.close()


def test_the_twins_agree_whatever_writers_and_servers_do(redis_url: str) -> None:
    BothLogs.url = redis_url
    run_state_machine_as_test(
        BothLogs,
        settings=settings(
            max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
