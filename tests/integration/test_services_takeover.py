"""A takeover keeps the longest log, an end is written once, and every reader reads the same log from anywhere."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from app.domain.attempts import at_target, unrecorded
from app.domain.commands import User
from app.domain.cursor import START, Cursor
from app.domain.errors import DatabaseDown, LeaseLost
from app.domain.events import Entry, Snapshot, Token, decode, pack
from app.domain.transcript import Transcript, digest
from app.services.poller import Poller
from app.services.takeover import Takeover
from app.store import checkpoints, lease_notes, leases
from app.store.checkpoints import Checkpoint
from app.wiring import Resources, build
from dev.server import free_port
from tests.actors import Hand, claim, release, start
from tests.factories import owner
from tests.fakes.proxy import TcpProxy
from tests.stack import Stack

EVENTS = 9


@pytest.fixture
def resources(module_stack: Stack) -> Resources:
    return module_stack.resources


@pytest.fixture
def alice(resources: Resources) -> User:
    return resources.users.user(f"alice {uuid4()}", None)


@pytest.fixture(scope="module")
def without_redis(module_stack: Stack) -> Iterator[Resources]:
    """The services of ``module_stack`` with the address of a Redis that does not run."""
    url = f"redis://127.0.0.1:{free_port()}/0"
    resources = build(module_stack.settings.model_copy(update={"redis_url": url, "celery_broker_url": url}))
    yield resources
    resources.close()


def chunks(resources: Resources, generation_id: str) -> list[Entry]:
    with resources.database.system() as tx:
        return checkpoints.chunks(tx, generation_id)


def whole(resources: Resources, generation_id: str, after: Cursor = START, limit: int = 5000) -> list[Entry]:
    """All entries behind a cursor, read page by page."""
    entries: list[Entry] = []
    while page := resources.reader.read(generation_id, entries[-1].cursor if entries else after, limit):
        entries += page
    return entries


# --- freezing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("redis", ["full", "partial", "empty", "down"])
@pytest.mark.parametrize("stored", ["full", "partial", "empty"])
def test_a_takeover_keeps_the_longest_log_there_is(
    resources: Resources, without_redis: Resources, alice: User, redis: str, stored: str
) -> None:
    first = claim(resources, start(resources, alice).generation.id).speak(EVENTS)
    counts = {"full": None, "partial": 6, "empty": 0, "down": None}
    if redis != "empty":
        first.publish(counts[redis])
    first.save({**counts, "partial": 4}[stored])
    release(resources, first.id)
    second = claim(resources, first.id, "second")

    services = without_redis if redis == "down" else resources
    frozen = services.takeover.freeze(second.claimed, 0)

    lengths = {"full": EVENTS + 1, "partial": 6, "empty": 0, "down": 0}
    kept = max(lengths[redis], {"full": EVENTS + 1, "partial": 4, "empty": 0}[stored])
    expected = Transcript.of(first.entries[:kept])
    assert (frozen.transcript.text, frozen.transcript.cursor) == (expected.text, expected.cursor)
    assert frozen.opened == (redis != "down")
    assert chunks(resources, first.id) == first.entries[:kept]
    if redis != "down":
        assert first.publish().verdict == "FENCED"


def test_what_only_redis_and_what_only_postgresql_has_is_put_together(resources: Resources, alice: User) -> None:
    """Redis lost the end of the first revision after its checkpoint. The second revision has no checkpoint."""
    first = claim(resources, start(resources, alice).generation.id).speak(6)
    first.publish(3)
    first.save()
    release(resources, first.id)
    second = claim(resources, first.id)
    second.say(Snapshot(Transcript.of(first.entries).text, "continue", 2), Token("more"))
    second.publish()
    release(resources, first.id)
    third = claim(resources, first.id)
    frozen = third.freeze()
    assert frozen.transcript.text == Transcript.of(first.entries).text + "more"
    assert chunks(resources, first.id) == first.entries + second.entries


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.booleans()), min_size=1, max_size=5))
def test_every_lost_call_is_recorded_at_the_target_where_it_was_made(
    resources: Resources, alice: User, calls: list[tuple[str, bool, bool]]
) -> None:
    """Each call: its target, whether a call at another target failed before it, and whether the log shows it."""
    generation, stored, made = start(resources, alice).generation.id, None, list[tuple[str, str]]()
    for target, has_failed, is_shown in calls:
        hand = claim(resources, generation)
        frozen = hand.freeze()
        lost = unrecorded(hand.claimed.attempts, frozen.calls, frozen.transcript, "lost", 1.0, 0)
        record = [*hand.claimed.attempts, *at_target(lost, frozen.target)]
        assert [(one["target"], one["outcome"]) for one in record] == made
        if has_failed:
            made.append(("x/x", "failed"))
            record.append({"target": "x/x", "outcome": "failed", "usage": None})
        key = f"{target}/{target}"
        if stored != key or has_failed:
            with resources.database.system() as tx:
                lease_notes.note_target(tx, hand.claimed.lease, key, record)
        if is_shown or not record or record[-1]["target"] == key:
            hand.say(Snapshot("", "start", len(record) + 1), Token("x")).publish()
        stored = key
        made.append((key, "lost"))
        release(resources, generation)
    ended = claim(resources, generation)
    resources.generations.finish_cancel(ended.claimed, 0)
    row = resources.generations.get(alice, generation).row
    assert [one["target"] for one in row.attempts] == [target for target, _ in made]


def test_freezing_twice_is_freezing_once(resources: Resources, alice: User) -> None:
    first = claim(resources, start(resources, alice).generation.id).speak(EVENTS)
    first.publish()
    first.save(4)
    release(resources, first.id)
    second = claim(resources, first.id)
    one, two = second.freeze(), second.freeze()
    assert (one.transcript.text, one.transcript.cursor) == (two.transcript.text, two.transcript.cursor)
    assert chunks(resources, first.id) == first.entries


def test_a_claim_that_was_taken_over_cannot_freeze(resources: Resources, alice: User) -> None:
    first = claim(resources, start(resources, alice).generation.id).speak(3)
    first.publish()
    release(resources, first.id)
    second = claim(resources, first.id)
    release(resources, first.id)
    third = claim(resources, first.id)
    with pytest.raises(LeaseLost):
        second.freeze()
    assert chunks(resources, first.id) == []
    third.freeze()
    with pytest.raises(LeaseLost):
        second.freeze()


def test_nobody_is_asked_what_was_said_before_the_first_revision(module_stack: Stack, alice: User) -> None:
    first = claim(module_stack.resources, start(module_stack.resources, alice).generation.id)
    url = module_stack.settings.database_url
    with TcpProxy.before(url) as proxy:
        shaky = build(module_stack.settings.model_copy(update={"database_url": proxy.url(url)}))
        proxy.refuse()
        frozen = Takeover(shaky.database, shaky.log).freeze(first.claimed, 0)
        shaky.close()
    assert (frozen.transcript.text, frozen.opened, frozen.read) == ("", True, True)


def test_a_redis_that_comes_back_within_the_patience_is_used(module_stack: Stack, alice: User) -> None:
    resources = module_stack.resources
    first = claim(resources, start(resources, alice).generation.id).speak(EVENTS)
    first.publish()
    release(resources, first.id)
    second = claim(resources, first.id)
    url = module_stack.settings.redis_url
    with TcpProxy.before(url) as proxy:
        shaky = build(module_stack.settings.model_copy(update={"redis_url": proxy.url(url)}))
        proxy.drop_replies(1.0)

        healing = threading.Timer(0.4, proxy.pass_)
        healing.start()
        frozen = Takeover(shaky.database, shaky.log).freeze(second.claimed, 5)
        shaky.close()
    assert frozen.opened
    assert frozen.transcript.text == Transcript.of(first.entries).text


# --- finishing -------------------------------------------------------------------------------------------------------


def test_an_end_is_in_the_row_the_message_and_the_archive_with_one_digest(resources: Resources, alice: User) -> None:
    hand = claim(resources, start(resources, alice).generation.id).speak(5)
    hand.publish()
    hand.save(4)
    done = hand.finish()
    view = resources.generations.get(alice, hand.id)
    text = Transcript.of(hand.entries).text
    assert view.row.status == "completed"
    assert view.content == text
    assert view.row.sha256 == digest(text) == decode(done).sha256  # type: ignore[union-attr]
    archived = whole(resources, hand.id)
    assert archived == [*hand.entries, Entry(Cursor(1, len(hand.events)), done)]
    assert view.row.final == archived[-1].cursor
    assert chunks(resources, hand.id) == []


def test_done_is_never_in_the_log_before_the_commit(module_stack: Stack, alice: User) -> None:
    resources = module_stack.resources
    hand = claim(resources, start(resources, alice).generation.id).speak(3)
    hand.publish()
    url = module_stack.settings.database_url
    with TcpProxy.before(url) as proxy:
        shaky = build(module_stack.settings.model_copy(update={"database_url": proxy.url(url)}))
        proxy.refuse()
        broken = Hand(shaky, hand.claimed)
        broken.events = hand.events
        with pytest.raises(DatabaseDown):
            broken.finish()
        assert resources.log.read(hand.id) == hand.entries[:4]
        assert resources.generations.get(alice, hand.id).row.status == "running"
        proxy.pass_()
        done = broken.finish()
        shaky.close()
    assert resources.generations.get(alice, hand.id).row.status == "completed"
    assert hand.end(done).verdict == "OK"
    assert whole(resources, hand.id)[-1].payload == done


def test_a_replaced_claim_cannot_end_anything(resources: Resources, alice: User) -> None:
    first = claim(resources, start(resources, alice).generation.id).speak(3)
    first.save()
    release(resources, first.id)
    second = claim(resources, first.id)
    with pytest.raises(LeaseLost):
        first.finish()
    assert resources.generations.get(alice, first.id).row.status == "running"
    second.speak(2)
    second.finish(before=first.entries[:4])
    with pytest.raises(LeaseLost):
        first.finish()


def test_a_replaced_claim_can_neither_renew_nor_save(resources: Resources, alice: User) -> None:
    first = claim(resources, start(resources, alice).generation.id).speak(3)
    release(resources, first.id)
    second = claim(resources, first.id).speak(2)
    body = pack(first.payloads)
    late = Checkpoint(first.claimed.lease, alice.id, 0, len(first.payloads) - 1, body, None)
    current = Checkpoint(second.claimed.lease, alice.id, 0, 1, pack(second.payloads[:2]), None)
    with resources.database.system() as tx:
        assert leases.renew(tx, [late], 30) == set()
        assert leases.renew(tx, [current], 30) == {first.id}
    assert chunks(resources, first.id) == second.entries[:2]


def test_a_lease_that_was_given_back_is_not_renewed_by_what_was_on_its_way(resources: Resources, alice: User) -> None:
    hand = claim(resources, start(resources, alice).generation.id).speak(3)
    with resources.database.system() as tx:
        assert leases.release(tx, hand.claimed.lease, [])
        beat = Checkpoint(hand.claimed.lease, alice.id, 0, 0, None, None)
        assert leases.renew(tx, [beat], 30) == set()
    assert claim(resources, hand.id).epoch == 2


@pytest.mark.parametrize("times", [1, 2])
def test_an_end_whose_commit_got_no_reply_is_recognised_as_ones_own(
    module_stack: Stack, alice: User, times: int
) -> None:
    hand = claim(module_stack.resources, start(module_stack.resources, alice).generation.id).speak(3)
    url = module_stack.settings.database_url
    with TcpProxy.before(url) as proxy:
        shaky = build(module_stack.settings.model_copy(update={"database_url": proxy.url(url)}))
        mine = Hand(shaky, hand.claimed)
        mine.events = hand.events
        proxy.drop_reply_to(lambda data: b"COMMIT" in data, times)
        try:
            done = mine.finish()
        except DatabaseDown:
            assert times == 2  # the check of the commit got no reply either: the call may be repeated
            done = mine.finish()
        assert mine.finish() == done
        shaky.close()
    archived = whole(module_stack.resources, hand.id)
    assert archived[-1].payload == done
    assert archived[:-1] == mine.entries


@pytest.mark.parametrize(
    ("table", "when"),
    [
        ("generations", "BEFORE UPDATE"),
        ("generation_archives", "BEFORE INSERT"),
        ("generation_chunks", "BEFORE DELETE"),
        ("messages", "BEFORE UPDATE"),
        ("conversations", "BEFORE UPDATE"),
    ],
)
def test_an_end_is_written_as_a_whole_or_not_at_all(
    resources: Resources, alice: User, module_database_url: str, table: str, when: str
) -> None:
    hand = claim(resources, start(resources, alice).generation.id).speak(3)
    hand.save()
    with owner(module_database_url) as cursor:
        cursor.execute(f"""
            CREATE OR REPLACE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN RAISE EXCEPTION 'no space left' USING ERRCODE = 'disk_full'; END $$;
            CREATE TRIGGER fail {when} ON {table} FOR EACH ROW EXECUTE FUNCTION fail();
        """)
    try:
        with pytest.raises(DatabaseDown):
            hand.finish()
    finally:
        with owner(module_database_url) as cursor:
            cursor.execute(f"DROP TRIGGER fail ON {table}")
    view = resources.generations.get(alice, hand.id)
    assert (view.row.status, view.row.final, view.content) == ("running", None, Transcript.of(hand.entries[:4]).text)
    assert chunks(resources, hand.id) == hand.entries[:4]
    hand.finish()
    assert resources.generations.get(alice, hand.id).row.status == "completed"


def test_a_conversations_next_queued_answer_may_not_begin_before_one_ends(resources: Resources, alice: User) -> None:
    first = start(resources, alice)
    conversation = first.conversation.id
    second = start(resources, alice, "more", conversation_id=conversation, on_busy="enqueue")
    hand = claim(resources, first.generation.id).speak(1)
    with resources.database.system() as tx:
        assert leases.claim(tx, second.generation.id, "early", 30, 60) is None
    hand.finish()
    claim(resources, second.generation.id)


# --- reading ---------------------------------------------------------------------------------------------------------


class Life:
    """A generation of several revisions. Each store has the beginning of each; together the stores have all events."""

    def __init__(self, resources: Resources, user: User, plan: list[tuple[int, int, int, int]], ended: bool) -> None:
        self.resources = resources
        self.id = start(resources, user).generation.id
        self.entries: list[Entry] = []
        for number, (length, in_redis, in_chunks, pieces) in enumerate(plan):
            if number:
                release(resources, self.id)
            hand = claim(resources, self.id)
            said = Transcript.of(self.entries)
            hand.say(Snapshot(said.text, "continue" if number else "start", number + 1)).speak(length)
            # One store has the whole revision. The plan chooses that store, and the part in the other.
            hand.publish(None if in_redis >= in_chunks else in_redis)
            hand.save(None if in_chunks > in_redis else in_chunks, pieces)
            self.entries += hand.entries
        if ended:
            hand = claim_again(resources, self.id)
            hand.say(Snapshot(Transcript.of(self.entries).text, "takeover", 9))
            frozen = hand.freeze()
            assert frozen.transcript.text == Transcript.of(self.entries).text
            done = hand.finish(before=self.entries)
            hand.end(done)
            self.entries += [*hand.entries, Entry(Cursor(hand.epoch, len(hand.events)), done)]


def claim_again(resources: Resources, generation_id: str) -> Hand:
    release(resources, generation_id)
    return claim(resources, generation_id)


revisions = st.lists(
    st.tuples(st.integers(0, 7), st.integers(0, 8), st.integers(0, 8), st.integers(1, 4)), min_size=1, max_size=3
)
HARDLY = settings(
    # Shrinking would read the stores a thousand times; the plan of a failure is short anyway.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@HARDLY
@given(plan=revisions, limit=st.sampled_from([1, 2, 5000]))
def test_a_running_log_reads_the_same_from_every_position_wherever_its_parts_are(
    module_stack: Stack, plan: list[tuple[int, int, int, int]], limit: int
) -> None:
    resources = module_stack.resources
    life = Life(resources, module_stack.user, plan, ended=False)
    for position, after in enumerate([START, *(entry.cursor for entry in life.entries)]):
        assert whole(resources, life.id, after, limit) == life.entries[position:]
    resources.conversations.delete(module_stack.user, resources.generations.get(
        module_stack.user, life.id).row.conversation_id)  # fmt: skip


@HARDLY
@given(plan=revisions, kept=st.integers(0, 30), limit=st.sampled_from([1, 3, 5000]))
def test_archive_and_live_log_are_the_same_function_from_id_to_bytes(
    module_stack: Stack, plan: list[tuple[int, int, int, int]], kept: int, limit: int
) -> None:
    """Redis may still have all of a finished log, nothing of it, or a beginning."""
    resources = module_stack.resources
    life = Life(resources, module_stack.user, plan, ended=True)
    with resources.database.system() as tx:
        assert checkpoints.archived(tx, life.id) == life.entries
    logged = resources.log.read(life.id)
    assert set(logged) <= set(life.entries)
    for entry in logged[min(kept, len(logged)) :]:
        resources.redis.xdel(resources.log.keys(life.id).log, str(entry.cursor))
    for position, after in enumerate([START, *(entry.cursor for entry in life.entries)]):
        assert whole(resources, life.id, after, limit) == life.entries[position:]


@pytest.mark.parametrize("ended", [False, True])
def test_without_redis_everything_saved_is_read(
    resources: Resources, without_redis: Resources, alice: User, ended: bool
) -> None:
    life = Life(resources, alice, [(5, 0, 9, 2), (4, 0, 9, 3)], ended)
    for position, after in enumerate([START, *(entry.cursor for entry in life.entries)]):
        assert whole(without_redis, life.id, after) == life.entries[position:]


def test_a_revision_whose_end_redis_lost_is_read_to_its_end(resources: Resources, alice: User) -> None:
    """Redis came back without the last seconds of revision 1, then revision 2 was opened in it."""
    life = Life(resources, alice, [(6, 3, 7, 3), (2, 9, 0, 1)], ended=False)
    assert [entry.cursor for entry in resources.log.read(life.id)] == [
        Cursor(1, 0), Cursor(1, 1), Cursor(1, 2), Cursor(2, 0), Cursor(2, 1), Cursor(2, 2),
    ]  # fmt: skip
    assert whole(resources, life.id) == life.entries


def test_a_position_beyond_the_end_reads_nothing(resources: Resources, alice: User) -> None:
    life = Life(resources, alice, [(2, 9, 0, 1)], ended=True)
    for after in (life.entries[-1].cursor, Cursor(2, 50), Cursor(99, 0)):
        assert whole(resources, life.id, after) == []


def test_a_poller_gets_content_and_events_of_the_same_moment(resources: Resources, alice: User) -> None:
    life = Life(resources, alice, [(6, 3, 7, 3), (4, 9, 2, 1)], ended=False)
    text = Transcript.of(life.entries).text
    poller = Poller(resources.generations, resources.reader)
    for after in [START, *(entry.cursor for entry in life.entries)]:
        poll = poller.poll(alice, life.id, after)
        assert poll.view.content == text
        assert poll.view.cursor == life.entries[-1].cursor
        assert poll.events == [entry for entry in life.entries if entry.cursor > after]


def test_many_revisions_are_archived_and_counted(resources: Resources, alice: User) -> None:
    life = Life(resources, alice, [(n, 9, 0, 1) for n in (1, 0, 3, 2)], ended=True)
    assert [epoch for epoch, _ in itertools.groupby(life.entries, key=lambda entry: entry.cursor.epoch)] == [
        1, 2, 3, 4, 5,
    ]  # fmt: skip
    resources.log.unlink([life.id])
    assert whole(resources, life.id) == life.entries
