"""Claims of webhook deliveries: bounded in all, for a receiver and for a user, and fair."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.store import overview, webhook_outbox
from app.store.database import Database
from app.store.webhook_outbox import DueDelivery, Share
from tests.factories import new_id
from tests.integration.webhooks.conftest import Rows

LEASE = 3600.0


@dataclass(frozen=True)
class Store:
    """The database of this module, empty of deliveries at the beginning of an example."""

    rows: Rows
    database: Database

    def claim(self, share: Share, paused: tuple[str, ...] = ()) -> list[DueDelivery]:
        with self.database.system() as tx:
            return webhook_outbox.claim(tx, share, LEASE, paused)[0]

    def fill(self, lanes: list[list[int]]) -> dict[str, str]:
        """For each user the numbers of due deliveries to each of their receivers. Returns the users by lane."""
        self.rows.run("DELETE FROM users")
        users = {}
        for counts in lanes:
            user = self.rows.user()
            for count in counts:
                lane = new_id()
                users[lane] = user
                self.rows.deliveries(user, count, endpoint_id=lane)
        return users


@pytest.fixture(scope="module")
def store(module_database_url: str) -> Iterator[Store]:
    database = Database(module_database_url, 2, timeout=30)
    yield Store(Rows(module_database_url), database)
    database.close()


LANES = st.lists(st.lists(st.integers(0, 6), min_size=1, max_size=3), min_size=1, max_size=4)
SHARES = st.builds(Share, st.integers(1, 12), st.integers(1, 4), st.integers(1, 8))


@settings(max_examples=25)
@given(LANES, SHARES, SHARES, st.integers(0, 3))
def test_laws_of_claims(store: Store, lanes: list[list[int]], first: Share, second: Share, paused: int) -> None:
    users = store.fill(lanes)
    waiting = dict(zip(users, (count for counts in lanes for count in counts), strict=True))
    pauses = tuple(list(users)[:paused])
    held: Counter[str] = Counter()
    seen: set[str] = set()
    for share in (first, second):
        claimed = store.claim(share, pauses)
        seen_now = {one.id for one in claimed}
        assert len(seen_now) == len(claimed) <= share.room
        assert not seen & seen_now, "one delivery has one claim"
        seen |= seen_now
        before = held.copy()
        held.update(one.lane for one in claimed)
        of_user: Counter[str] = Counter()
        for lane, count in held.items():
            of_user[users[lane]] += count
            assert count <= max(share.per_lane, before[lane])
            assert lane not in pauses
        added = Counter(users[one.lane] for one in claimed)
        assert all(of_user[user] <= share.per_user for user in added)
        _assert_fair(share, users, waiting, pauses, held, added)


def _assert_fair(
    share: Share,
    users: dict[str, str],
    waiting: dict[str, int],
    paused: tuple[str, ...],
    held: Counter[str],
    added: Counter[str],
) -> None:
    """A user who might have had one more has no fewer than another who was given one, or no place was left."""
    total: Counter[str] = Counter()
    for lane, count in held.items():
        total[users[lane]] += count
    wanting = {
        users[lane]
        for lane, count in waiting.items()
        if lane not in paused and held[lane] < min(count, share.per_lane) and total[users[lane]] < share.per_user
    }
    for user in wanting:
        assert sum(added.values()) == share.room, "a place is left and a delivery waits"
        assert all(total[other] <= total[user] + 1 for other in added)


def test_a_claim_has_a_lease(store: Store) -> None:
    store.fill([[1]])
    [one] = store.claim(Share(1, 1, 1))
    row = store.rows.get(one.id)
    assert row["claimed_until"] == row["next_attempt_at"] == one.claimed_until
    assert LEASE - 250 < row["next_in"] <= LEASE


def test_ten_thousand_deliveries_of_one_receiver_hide_no_other(store: Store) -> None:
    users = store.fill([[1], [1]])
    many, few = users
    store.rows.run(
        """INSERT INTO webhook_deliveries (id, user_id, endpoint_id, url, event_id, event_type, body, next_attempt_at)
        SELECT gen_random_uuid(), %s, %s, 'https://example.com/', 'evt_' || n, 'response.completed', '',
            now() - interval '1 hour'
        FROM generate_series(1, 10000) n""",
        users[many],
        many,
    )
    assert Counter(one.lane for one in store.claim(Share(20, 5, 10))) == {many: 5, few: 1}
    store.rows.run("DELETE FROM users")


def test_the_backlog_counts_what_is_overdue(store: Store) -> None:
    """A delivery that waits for its next attempt is not overdue, however old it is."""
    store.fill([[1]])
    later = (
        "UPDATE webhook_deliveries SET created_at = now() - interval '3 days', next_attempt_at = now() + interval {}"
    )

    def backlog() -> overview.Backlog:
        with store.database.system() as tx:
            return overview.webhooks(tx)

    store.rows.run(later.format("'1 hour'"))
    assert backlog() == overview.Backlog(1, 0.0, 0)
    store.rows.run(later.format("'-1 hour'"))
    found = backlog()
    assert found.oldest_seconds is not None
    assert 3600 <= found.oldest_seconds < 3600 + 300
    store.rows.run("UPDATE webhook_deliveries SET state = 'dead', reason = 'x', finished_at = now()")
    assert backlog() == overview.Backlog(0, None, 1)
    store.rows.run("UPDATE webhook_deliveries SET is_test = true")
    assert backlog() == overview.Backlog(0, None, 0), "a failed test is no dead letter"


def test_claims_come_to_every_lane_behind_more_due_deliveries_than_one_looks_at(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each lane gets its turn within as many claims as it takes to look at all lanes once."""
    monkeypatch.setattr(webhook_outbox, "WINDOW", 3)
    monkeypatch.setattr(webhook_outbox, "LANES", 2)
    monkeypatch.setattr(webhook_outbox, "NEWEST", 1)
    users = store.fill([[4], [1], [1], [1], [1]])
    first, *others = users
    hide = "UPDATE webhook_deliveries SET next_attempt_at = now() - interval '1 day' WHERE lane = %s"
    store.rows.run(hide, first)
    seen: Counter[str] = Counter()
    after = webhook_outbox.FIRST
    for _ in range(4):
        with store.database.system() as tx:
            # No lease: what is claimed is due again at once, so that the backlog never becomes smaller.
            claimed, after = webhook_outbox.claim(tx, Share(100, 1, 1), 0, after=after)
        seen.update(one.lane for one in claimed)
        store.rows.run(hide, first)
    assert set(others) <= set(seen)
