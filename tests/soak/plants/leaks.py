"""The leaks themselves: each is planted into a module that has just been imported, before anything else uses it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

# Bytes that a reader leaves behind in the list: the size of a log that nobody forgets.
LEFT_BYTES = 64_000
_kept: list[Any] = []


def plant() -> None:
    """Plant the leak that SOAK_PLANT names."""
    LEAKS[os.environ["SOAK_PLANT"]]()


def descriptor() -> None:
    """Each reader that connects leaves a descriptor open."""
    _at_each_reader(lambda: os.open("/dev/null", os.O_RDONLY))


def memory() -> None:
    """Each reader that connects leaves bytes in a list."""
    _at_each_reader(lambda: os.urandom(LEFT_BYTES))


def _at_each_reader(leave: Callable[[], Any]) -> None:
    from app.relay.connections import Connections

    adopt = Connections.adopt

    def adopt_and_keep(self: Any, connection: Any, log_type: Any) -> None:
        _kept.append(leave())
        adopt(self, connection, log_type)

    Connections.adopt = adopt_and_keep  # type: ignore[method-assign]


LEAKS: dict[str, Callable[[], None]] = {"descriptor": descriptor, "list": memory}
