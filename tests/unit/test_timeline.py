"""The line of life of a generation, folded from the facts of its row."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from app.domain.timeline import Facts, Moment, timeline

BEGIN = datetime(2026, 9, 1, 12, tzinfo=UTC)
LEASE = 30.0


def at(seconds: float) -> datetime:
    return BEGIN + timedelta(seconds=seconds)


def moment(seconds: float, what: str, epoch: int, **more: Any) -> dict[str, Any]:
    return {"at": at(seconds).timestamp(), "what": what, "epoch": epoch, **more}


def attempt(number: int, epoch: int, outcome: str, target: str | None = None) -> dict[str, Any]:
    return {"attempt": number, "epoch": epoch, "outcome": outcome, "target": target, "usage": None}


QUEUED = Facts(BEGIN, None, None, None, BEGIN, "queued", None, None, None, 0, [], [], {})


def kinds(found: list[Moment]) -> list[str]:
    return [one.what for one in found]


def test_a_queued_one_has_one_moment() -> None:
    assert timeline(QUEUED, LEASE) == [Moment(BEGIN, "queued")]


def test_a_takeover_shows_both_workers_and_when_the_first_one_was_heard_of() -> None:
    facts = replace(
        QUEUED,
        started_at=at(1),
        first_token_at=at(2),
        finished_at=at(60),
        status="completed",
        finish_reason="stop",
        worker="b",
        epoch=2,
        moments=[
            moment(45, "takeover", 2, left="a", lease_until=at(40).timestamp()),
        ],
        attempts=[attempt(1, 1, "lost"), attempt(2, 2, "finished")],
        saved={1: 120, 2: 200},
    )
    found = timeline(facts, LEASE)
    assert [(one.what, one.worker, one.epoch, one.attempt) for one in found] == [
        ("queued", None, 0, None),
        ("claimed", "a", 1, 1),
        ("first_token", "a", 1, 1),
        ("checkpoint", "a", 1, 1),
        ("takeover", "b", 2, 2),
        ("checkpoint", "b", 2, 2),
        ("end", "b", 2, 2),
    ]
    assert found[3].at == at(10), "a lease that ended at 40 s was renewed at 10 s"
    assert found[4].detail == {"reason": "expired", "lease_ended": at(40)}
    assert found[-1].detail == {"status": "completed", "finish_reason": "stop"}


def test_a_lease_that_was_given_back_is_taken_over_at_once() -> None:
    facts = replace(
        QUEUED,
        started_at=at(1),
        worker="b",
        epoch=2,
        moments=[
            moment(5, "released", 1),
            moment(6, "takeover", 2, left="a", lease_until=None),
        ],
        attempts=[attempt(1, 1, "released")],
    )
    found = timeline(facts, LEASE)
    assert kinds(found) == ["queued", "claimed", "released", "takeover"]
    assert found[-1].detail == {"reason": "released", "lease_ended": None}


def test_a_revision_at_another_target_is_one_failover() -> None:
    facts = replace(
        QUEUED,
        started_at=at(1),
        worker="a",
        epoch=2,
        moments=[
            moment(5, "revision", 2),
            moment(5.1, "target", 2, target="second/m"),
        ],
        attempts=[attempt(1, 1, "upstream_error", "first/m")],
    )
    found = timeline(facts, LEASE)
    assert kinds(found) == ["queued", "claimed", "failover"]
    assert found[-1].at == at(5)
    assert found[-1].detail == {"outcome": "upstream_error", "left": "first/m", "target": "second/m"}


def test_a_failover_before_anything_was_shown_keeps_its_epoch() -> None:
    facts = replace(
        QUEUED,
        started_at=at(1),
        worker="a",
        epoch=1,
        moments=[
            moment(3, "target", 1, target="second/m"),
        ],
        attempts=[attempt(1, 1, "upstream_refused", "first/m")],
    )
    found = timeline(facts, LEASE)
    assert [(one.what, one.epoch) for one in found[1:]] == [("claimed", 1), ("failover", 1)]
    assert found[-1].detail["left"] == "first/m"


def test_an_answer_that_one_worker_makes_is_in_the_columns() -> None:
    facts = replace(
        QUEUED,
        started_at=at(1),
        first_token_at=at(2),
        finished_at=at(9),
        status="error",
        error={"code": "upstream_error", "message": "x"},
        worker="a",
        epoch=1,
        saved={1: 9},
    )
    found = timeline(facts, LEASE)
    assert kinds(found) == ["queued", "claimed", "first_token", "checkpoint", "end"]
    assert {one.worker for one in found[1:]} == {"a"}
    assert found[-1].detail["error"] == "upstream_error"


def test_a_cancel_in_the_queue_is_no_claim_of_a_worker() -> None:
    facts = replace(QUEUED, started_at=at(3), moments=[moment(3, "cancel_requested", 1)], epoch=1)
    found = timeline(facts, LEASE)
    assert [(one.what, one.worker) for one in found] == [("queued", None), ("cancel_requested", None)]


def test_two_takeovers_show_three_workers() -> None:
    facts = replace(
        QUEUED,
        started_at=at(1),
        worker="c",
        epoch=4,
        moments=[
            moment(9, "takeover", 2, left="a", lease_until=at(8).timestamp()),
            moment(10, "revision", 3),
            moment(20, "takeover", 4, left="b", lease_until=at(19).timestamp()),
            {"what": "of a later release", "at": 0, "epoch": 9},
        ],
    )
    found = timeline(facts, LEASE)
    assert [(one.what, one.worker) for one in found[1:]] == [
        ("claimed", "a"), ("takeover", "b"), ("retry", "b"), ("takeover", "c")
    ]  # fmt: skip


@given(
    st.lists(st.sampled_from(["takeover", "revision", "target", "released", "cancel_requested"]), max_size=12),
    st.lists(st.integers(0, 5), max_size=12),
)
def test_every_line_begins_in_the_queue_and_never_goes_back_in_time(what: list[str], gaps: list[int]) -> None:
    moments, now = [], 0
    for n, (kind, gap) in enumerate(zip(what, gaps, strict=False), 1):
        now += gap
        moments.append(moment(now, kind, n, left="w", lease_until=at(now - 1).timestamp()))
    ended = replace(
        QUEUED,
        started_at=BEGIN,
        moments=moments,
        finished_at=at(now),
        status="completed",
        saved={n: n for n in range(14)},
    )
    found = timeline(ended, LEASE)
    assert found[0].what == "queued"
    assert found[-1].what == "end"
    assert [one.at for one in found] == sorted(one.at for one in found)
