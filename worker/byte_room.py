"""Room for bytes that many answers hold in the memory of one process."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress


class ByteRoom:
    """Gives out bytes of ``most``, to the one that has waited longest first. Used from one loop."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, wanted: int) -> int:
        """Take bytes as soon as there is room for them; their number, to be given back. One holder has all at most."""
        wanted = min(wanted, self._most)
        if not self._waiting and self._taken + wanted <= self._most:
            self._taken += wanted
            return wanted
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((wanted, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give(wanted)  # the turn had come in the moment of the cancel
            else:
                with suppress(ValueError):  # passed over already
                    self._waiting.remove((wanted, turn))
                self._admit()
            raise
        return wanted

    def give(self, taken: int) -> None:
        """Give bytes back."""
        self._taken -= taken
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self._taken + self._waiting[0][0] <= self._most:
            wanted, turn = self._waiting.popleft()
            if not turn.done():
                self._taken += wanted
                turn.set_result(None)
