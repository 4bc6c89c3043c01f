"""Runs a long pass in pieces of a second; the sweeper works between them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from time import monotonic

from app.store.database import Database, Tx

# A piece of a pass lasts so long.
PASS_SECONDS = 1.0


class Pass:
    """Runs the parts of ``begin`` in order, in pieces. A part has steps; each is a transaction.

    A part with an error ends there, and the piece with it. The next piece begins with the part behind it. A new pass
    follows such a pass at once.
    """

    def __init__(self, begin: Callable[[], Iterable[Iterator[None]]], seconds: float = PASS_SECONDS) -> None:
        self._begin = begin
        self._seconds = seconds
        self._steps: Iterator[None] | None = None
        self._has_failed = False

    def resume(self) -> bool:
        """Run steps for some time; true when more are due. Raises what a step raises."""
        # The chain keeps its place behind a part that raises.
        self._steps = self._steps or chain.from_iterable(self._begin())
        until = monotonic() + self._seconds
        try:
            for _ in self._steps:
                if monotonic() >= until:
                    return True
        except Exception:
            self._has_failed = True
            raise
        is_due, self._steps, self._has_failed = self._has_failed, None, False
        return is_due


def batches(database: Database, remove: Callable[[Tx], int], limit: int) -> Iterator[None]:
    """Steps that remove up to ``limit`` rows each, until one finds fewer. Raises DatabaseDown."""
    removed = limit
    while removed == limit:
        with database.system() as tx:
            removed = remove(tx)
        yield
