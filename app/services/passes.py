"""A pass over much that goes on for a second at a time, so that it holds up nothing that waits behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import monotonic

# A pass goes on for so long at a time.
PASS_SECONDS = 1.0


class Pass:
    """Runs the steps of ``begin``, each a transaction, in pieces. An error ends the pass; the next begins anew."""

    def __init__(self, begin: Callable[[], Iterator[None]], seconds: float = PASS_SECONDS) -> None:
        self._begin = begin
        self._seconds = seconds
        self._steps: Iterator[None] | None = None

    def go_on(self) -> bool:
        """Run steps for some time; true when some are left. Raises what a step raises."""
        steps, self._steps = self._steps or self._begin(), None
        until = monotonic() + self._seconds
        for _ in steps:
            if monotonic() >= until:
                self._steps = steps
                return True
        return False
