"""The rules of failover in the chaos checker: a good history passes, and each rule turns red on one that breaks it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.chaos import targets
from tests.chaos.checker import RULES, check, coverage
from tests.chaos.evidence import Evidence
from tests.chaos.history import Fault, Frame
from tests.unit import test_chaos_checker
from tests.unit.test_chaos_checker import G, event


def good() -> Evidence:
    """The good history, in which the first target is cut at 102 and the second one goes on with a failover."""
    evidence = test_chaos_checker.good()
    snapshot = event("snapshot", text=_text(evidence), reason="failover", attempt=2)
    evidence.dump.archives[G][3] = ("2-0", snapshot)
    evidence.dump.redis[G][0] = ("2-0", snapshot)
    for reading in evidence.history.readings:
        for connection in reading.connections:
            connection.frames[:] = [Frame(f.at, f.id, snapshot if f.id == "2-0" else f.data) for f in connection.frames]
    for event_ in evidence.history.pollings[0].replies[1].body["events"]:
        if event_["id"] == "2-0":
            event_["reason"] = "failover"
    evidence.history.faults = [Fault(102, "first target cut", "", 102)]
    row = evidence.dump.generations[G]
    row["attempts"] = [
        {"target": "openai/fake", "outcome": "upstream_connection", "visible": True, "usage": {"output_tokens": 2}},
        {"target": "second/fake", "outcome": "finished", "visible": True, "usage": {"output_tokens": 2}},
    ]
    row["usage"] = {"output_tokens": 4}
    return evidence


def _text(evidence: Evidence) -> str:
    return evidence.dump.generations[G]["content"][: len("k0.0 k0.1 ")]


def no_fault(e: Evidence) -> None:
    e.history.faults = [Fault(102, "worker killed", f"worker-1 {G}", 102)]


def calls_of_one_target(e: Evidence) -> None:
    e.dump.generations[G]["attempts"][0]["target"] = "second/fake"


def an_error_beside_a_good_target(e: Evidence) -> None:
    e.dump.generations[G] |= {"status": "error", "message_status": "error", "error": {"code": "upstream_connection"}}


def usage_of_one_call_only(e: Evidence) -> None:
    e.dump.generations[G]["usage"] = {"output_tokens": 2}


def a_shown_call_without_usage(e: Evidence) -> None:
    e.dump.generations[G]["attempts"][0]["usage"] = None


def a_breaker_that_stays_closed(e: Evidence) -> None:
    e.history.faults = [Fault(90, "first target refuses", "20 s", 110)]
    failed = {**e.dump.generations[G]["attempts"][0], "visible": False}
    e.dump.generations[G]["attempts"][:0] = [failed] * targets.FAILURES


BAD: list[tuple[str, Callable[[Evidence], None]]] = [
    ("failovers", no_fault),
    ("failovers", calls_of_one_target),
    ("failovers", an_error_beside_a_good_target),
    ("usage_of_all", usage_of_one_call_only),
    ("usage_of_all", a_shown_call_without_usage),
    ("breakers", a_breaker_that_stays_closed),
]


def test_a_good_failover_breaks_no_rule() -> None:
    assert check(good()) == []
    assert coverage(good())["failover"] == 1


@pytest.mark.parametrize(("rule", "spoil"), BAD, ids=lambda value: getattr(value, "__name__", value))
def test_each_rule_turns_red(rule: str, spoil: Callable[[Evidence], None]) -> None:
    evidence = good()
    spoil(evidence)
    assert rule in {violation.rule for violation in check(evidence)}


def test_every_rule_of_failover_has_a_bad_history() -> None:
    assert {rule for rule, _ in BAD} == {name for name, rule in RULES.items() if rule.__module__ == targets.__name__}
