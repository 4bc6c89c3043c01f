"""Ids of a time: below those that were made at it, above those that were made before it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import uuid_utils
from hypothesis import given
from hypothesis import strategies as st

from app.domain.time_ids import first_after, first_since, smallest_at

TIMES = st.floats(4e7, 2.5e11).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))


@given(TIMES, st.timedeltas(timedelta(milliseconds=1), timedelta(days=9)))
def test_ids_are_in_the_order_of_their_times(at: datetime, later: timedelta) -> None:
    assert smallest_at(at) <= smallest_at(at + later)
    assert first_since(at) < smallest_at(at) < first_after(at)
    assert UUID(smallest_at(at)).version == 7


def test_the_ends_of_the_calendar_have_ids() -> None:
    for at in (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)):
        assert UUID(first_since(at)) <= UUID(first_after(at))


def test_an_id_of_now_lies_between() -> None:
    now, made = datetime.now(UTC), str(uuid_utils.uuid7())
    assert first_since(now) < made < first_after(now)
