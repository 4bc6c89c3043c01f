"""The table of moves."""

import itertools
from typing import get_args

import pytest

from app.domain.generation import LIVE, MOVES, TERMINAL, Move, MoveNotAllowed, Status, after


def test_every_status_is_either_live_or_terminal() -> None:
    assert sorted(LIVE + TERMINAL) == sorted(get_args(Status))


def test_nothing_leads_out_of_the_end() -> None:
    assert not [row for row in MOVES if row[0] in TERMINAL]


def test_every_end_can_be_reached_from_the_beginning() -> None:
    reached = {"queued"}
    for _ in range(5):
        reached |= {to for (status, _), to in MOVES.items() if status in reached}
    assert reached == set(get_args(Status))


@pytest.mark.parametrize(("status", "move"), list(itertools.product(get_args(Status), get_args(Move))))
def test_a_move_without_a_row_is_an_error(status: Status, move: Move) -> None:
    if (status, move) in MOVES:
        assert after(status, move) == MOVES[status, move]
        return
    with pytest.raises(MoveNotAllowed, match=f"{status} cannot {move}"):
        after(status, move)
