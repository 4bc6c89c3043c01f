"""The attempts of a delivery: the delays, their jitter, and the answers that change them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.webhook_schedule import DELAYS, JITTER, MOST_RETRY_AFTER_SECONDS, Attempt, retry_after, verdict

NOW = datetime(2026, 11, 30, 12, 0, 0, tzinfo=UTC)
FAILED = Attempt(latency_ms=3, error="no connection")
STATUSES = st.integers(100, 599)


def test_a_receiver_that_is_down_is_tried_for_three_days() -> None:
    assert DELAYS == (0, 5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
    assert sum(DELAYS) == 75 * 3600 + 35 * 60 + 5
    made = [verdict(FAILED, count) for count in range(1, 11)]
    assert [one.state for one in made] == ["waiting"] * 9 + ["dead"]
    for one, delay in zip(made, DELAYS[1:], strict=False):
        assert one.retry_in is not None
        assert delay * (1 - JITTER) <= one.retry_in <= delay * (1 + JITTER)


def test_two_deliveries_that_failed_together_are_not_repeated_together() -> None:
    assert len({verdict(FAILED, 3).retry_in for _ in range(20)}) > 10


@given(STATUSES, st.integers(1, 30), st.none() | st.integers(1, 12), st.none() | st.floats(0, 1e9))
def test_laws_of_a_verdict(status: int, made: int, most: int | None, after: float | None) -> None:
    given = Attempt(1, status, retry_after=after)
    result = verdict(given, made, most)
    assert (result.state == "delivered") == (200 <= status < 300)
    assert (result.state == "waiting") == (result.retry_in is not None)
    assert result.is_gone == (status == 410)
    if status == 410 or (result.state != "delivered" and made >= min(10, most or 10)):
        assert result.state == "dead"
    if result.retry_in is not None:
        assert result.retry_in >= DELAYS[made] * (1 - JITTER)
        assert result.retry_in >= min(after or 0, MOST_RETRY_AFTER_SECONDS)
        assert result.retry_in <= max(DELAYS[made] * (1 + JITTER), MOST_RETRY_AFTER_SECONDS)
    assert 0 <= given.pause <= 60
    assert (given.pause > 0) <= (status in (429, 502, 504))


def test_a_test_delivery_has_one_attempt() -> None:
    assert verdict(FAILED, 1, most=1).state == "dead"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("٣", None),
        ("120", 120),
        (" 7 ", 7),
        ("9" * 5000, 9_999_999_999),
        ("Mon, 30 Nov 2026 12:01:00 GMT", 60),
        ("Mon, 30 Nov 2026 11:00:00 GMT", 0),
        ("Mon, 30 Nov 2026 12:00:30", 30),
    ],
)
def test_retry_after_is_read(value: str | None, seconds: float | None) -> None:
    assert retry_after(value, NOW) == seconds


@given(st.text(max_size=40))
def test_no_retry_after_breaks_the_sender(value: str) -> None:
    found = retry_after(value, NOW)
    assert found is None or found >= 0
