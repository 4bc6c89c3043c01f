"""Series of rules that are about a single event exist before it: a rate has no first increase of a new series."""

from __future__ import annotations

import re

from prometheus_client import generate_latest

from app.ops import metrics  # noqa: F401  (it registers its metrics)
from tests.alerts.rules import rules

SERIES = re.compile(r"(unbroken_\w+_total)\{([^}]*)\}\[[^]]*\]\)\) > 0$")


def test_a_labelled_counter_whose_first_increase_is_an_alert_exists_from_the_start() -> None:
    page = generate_latest().decode()
    wanted = [SERIES.search(rule.expression) for rule in rules()]
    found = [f"{one[1]}{{{one[2]}}}" for one in wanted if one]
    assert found, "no rule is about the first event of a labelled counter"
    assert [series for series in found if f"{series} 0.0" not in page] == []
