"""Two checkpoints of one draft can be on their way at once, with rows that overlap (chaos rig: text was doubled)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from app.domain.cursor import Cursor
from app.domain.events import pack
from app.services.leases import Leases
from app.store import leases as store
from app.store.checkpoints import Checkpoint
from app.store.database import fetch
from tests.actors import Hand, claim, start
from tests.stack import Stack, until


def part(hand: Hand, first: int, end: int) -> Checkpoint:
    body = pack(hand.payloads[first:end])
    return Checkpoint(hand.claimed.lease, hand.claimed.user_id, first, end - 1, body, None)


def test_a_poller_sees_every_event_once_however_the_rows_overlap(module_stack: Stack) -> None:
    resources = module_stack.resources
    hand = claim(resources, start(resources, module_stack.user).generation.id).speak(9)
    leases = Leases(resources.database, "saving", 30, 600)
    # The second checkpoint continues behind the first. The third began before a reply to either.
    for first, end in ((0, 6), (6, 7), (0, 8), (7, 10)):
        assert leases.renew([part(hand, first, end)])
    seen = resources.generations.get(module_stack.user, hand.id)
    assert seen.content == "".join(f"t1.{n} " for n in range(9))
    assert seen.cursor == Cursor(1, 9)
    assert [entry.payload for entry in module_stack.chunks(hand.id)] == hand.payloads


def test_a_save_that_waited_for_another_one_of_the_same_events_adds_what_is_new(module_stack: Stack) -> None:
    resources = module_stack.resources
    hand = claim(resources, start(resources, module_stack.user).generation.id).speak(9)
    leases = Leases(resources.database, "saving", 30, 600)

    def waits() -> bool:
        with resources.database.system() as tx:
            return bool(fetch(tx, "SELECT FROM pg_locks WHERE NOT granted AND database IS NULL"))

    with ThreadPoolExecutor(1) as another:
        with resources.database.system() as tx:
            assert store.renew(tx, [part(hand, 0, 6)], 30) == {hand.id}
            waiting = another.submit(leases.renew, [part(hand, 0, 10)])
            until(waits, what="the second one waiting for the first one's row")
        assert waiting.result(60) == {hand.id}
    assert [entry.payload for entry in module_stack.chunks(hand.id)] == hand.payloads


def test_a_save_that_comes_behind_one_with_more_takes_nothing_back(module_stack: Stack) -> None:
    """The relay reads the store's last cursor of a silent log. A smaller one would make the log look complete."""
    resources = module_stack.resources
    hand = claim(resources, start(resources, module_stack.user).generation.id).speak(9)
    leases = Leases(resources.database, "saving", 30, 600)
    for first, end, known in ((0, 6, 6), (6, 10, 10), (6, 8, 10)):
        assert leases.renew([part(hand, first, end)])
        assert resources.reader.ends([hand.id]) == {hand.id: Cursor(1, known - 1)}
    assert [entry.payload for entry in module_stack.chunks(hand.id)] == hand.payloads
