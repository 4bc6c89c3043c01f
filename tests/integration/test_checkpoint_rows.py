"""Consecutive checkpoints share rows: a checkpoint writes the bytes of its new events, and no earlier byte again."""

from __future__ import annotations

from app.domain.cursor import Cursor
from app.domain.events import Entry, pack
from app.services.leases import Leases
from app.store import checkpoints
from app.store.checkpoints import ROW_BYTES, Checkpoint
from app.store.database import fetch
from tests.actors import Hand, claim, start
from tests.factories import owner
from tests.stack import Stack, until

# Events of each checkpoint, and the number of checkpoints.
EACH, MANY = 5, 40


def save(stack: Stack, hand: Hand, first: int, end: int) -> None:
    body = pack(hand.payloads[first:end])
    part = Checkpoint(hand.claimed.lease, hand.claimed.user_id, first, end - 1, body, None)
    assert Leases(stack.resources.database, "saving", 30, 600).renew([part]) == {hand.id}


def spoken(stack: Stack) -> Hand:
    """An answer whose events are all appended to the log, and none of them is in a checkpoint."""
    hand = claim(stack.resources, start(stack.resources, stack.user).generation.id).speak(EACH * MANY)
    assert len(hand.payloads) >= EACH * MANY
    return hand


def rows(stack: Stack, hand: Hand) -> list[tuple[int, int, int]]:
    """For each row: the numbers of its first and last event, and its size in bytes."""
    with stack.resources.database.system() as tx:
        sql = """SELECT first_n, last_n, octet_length(body) FROM generation_chunks
                 WHERE generation_id = :id ORDER BY first_n"""
        return [tuple(row) for row in fetch(tx, sql, id=hand.id)]


def test_a_row_takes_what_follows_as_long_as_it_stays_small(module_stack: Stack) -> None:
    hand = spoken(module_stack)
    for first in range(0, EACH * MANY, EACH):
        save(module_stack, hand, first, first + EACH)
    found = rows(module_stack, hand)
    assert 1 < len(found) < MANY / 3
    assert max(size for _, _, size in found) <= ROW_BYTES
    assert [first for first, _, _ in found] == [0, *(last + 1 for _, last, _ in found[:-1])]
    assert found[-1][1] == EACH * MANY - 1
    assert [entry.payload for entry in module_stack.chunks(hand.id)] == hand.payloads[: EACH * MANY]


def test_whoever_comes_back_reads_on_in_the_midst_of_a_row(module_stack: Stack) -> None:
    hand = spoken(module_stack)
    for first in range(0, EACH * MANY, EACH):
        save(module_stack, hand, first, first + EACH)
    expected = [Entry(Cursor(1, n), hand.payloads[n]) for n in range(EACH * MANY)]
    for after in (0, 1, EACH, 3 * EACH + 2, EACH * MANY - 1):
        with module_stack.resources.database.system() as tx:
            found = checkpoints.chunks(tx, hand.id, 1, after)
        assert found == expected[found[0].cursor.n :]
        assert found[0].cursor.n <= after


def test_what_comes_again_after_a_row_has_grown_is_there_once(module_stack: Stack) -> None:
    """The reply to a COMMIT can be lost. The worker then saves those events again, with later ones behind them."""
    hand = spoken(module_stack)
    for first, end in ((0, 5), (5, 10), (5, 10), (5, 12), (12, 15), (0, 15), (15, 16), (14, 18), (18, 20)):
        save(module_stack, hand, first, end)
        entries = module_stack.chunks(hand.id)
        assert [entry.payload for entry in entries] == hand.payloads[:end]
        assert [entry.cursor for entry in entries] == [Cursor(1, n) for n in range(end)]


def test_nothing_is_added_for_whom_another_has_replaced(module_stack: Stack) -> None:
    hand = spoken(module_stack)
    save(module_stack, hand, 0, 5)
    with owner(module_stack.variables["DATABASE_URL"]) as cursor:
        cursor.execute("UPDATE generations SET epoch = epoch + 1 WHERE id = %s", (hand.id,))
    before = rows(module_stack, hand)
    late = Checkpoint(hand.claimed.lease, hand.claimed.user_id, 5, 9, pack(hand.payloads[5:10]), None)
    assert Leases(module_stack.resources.database, "saving", 30, 600).renew([late]) == set()
    assert rows(module_stack, hand) == before


def test_a_row_that_grows_touches_no_index(stack: Stack) -> None:
    hand = spoken(stack)
    for first in (0, 5, 10):
        save(stack, hand, first, first + EACH)
    assert len(rows(stack, hand)) == 1
    stack.resources.database.close()  # a backend publishes its statistics when it exits, if not before

    def counted() -> tuple[int, int] | None:
        with owner(stack.variables["DATABASE_URL"]) as cursor:
            cursor.execute(
                "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'generation_chunks'"
            )
            updated, hot = cursor.fetchone()
            return (updated, hot) if updated >= 2 else None

    assert until(counted) == (2, 2)
