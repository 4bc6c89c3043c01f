"""Places of a process that users share: no user takes more than half of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from app.domain.errors import Overloaded


class UserPlaces:
    """``most`` places, half of them for one user, but at least one. Any thread may use it.

    A refusal names ``things``, such as "thumbnails", and the ``variable`` of their limit.
    """

    def __init__(self, most: int, things: str, variable: str) -> None:
        self._most = most
        self._most_of_one = max(1, most // 2)
        self._things = things
        self._variable = variable
        self._lock = Lock()
        self._taken = Counter[str]()  # by user; users without a place are left out

    @contextmanager
    def of(self, user_id: str) -> Iterator[None]:
        """A place of a user while the block runs. Raises Overloaded at once when there is none."""
        with self._lock:
            if self._taken[user_id] >= self._most_of_one:
                raise self._refused(f"{self._most_of_one} of your")
            if self._taken.total() >= self._most:
                raise self._refused(str(self._most))
            self._taken[user_id] += 1
        try:
            yield
        finally:
            with self._lock:
                self._taken[user_id] -= 1
                if not self._taken[user_id]:
                    del self._taken[user_id]

    def _refused(self, count: str) -> Overloaded:
        return Overloaded(f"No more than {count} {self._things} are made here or wait for it ({self._variable}).")
