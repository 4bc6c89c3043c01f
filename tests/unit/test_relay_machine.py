"""The hub under random sockets, clocks, stores and failures, and planted faults that the machine must find."""

from __future__ import annotations

import pytest

from tests.relay_machine.plants import PLANTS
from tests.relay_machine.run import run

# Faults that are found within a few seconds; `python -m tests.relay_machine --plant all` plants the others too.
QUICKLY_FOUND = (
    "held-is-delivered", "pause-keeps-the-page", "a-failure-ends-the-round", "clean-end-too-early",
    "an-end-is-not-reported", "a-lost-message-stays-lost", "collected-is-forgotten", "an-end-is-collected",
)  # fmt: skip


@pytest.mark.slow
def test_every_reader_gets_a_prefix_of_the_truth_and_the_table_of_moves_holds() -> None:
    found = run(15.0, shrink=False)
    print(found.summary())
    assert found.error is None, found.error


@pytest.mark.parametrize("name", QUICKLY_FOUND)
def test_a_planted_fault_is_found_within_a_minute(name: str) -> None:
    found = run(60.0, plant=PLANTS[name], shrink=False)
    print(found.summary())
    assert found.error is not None
