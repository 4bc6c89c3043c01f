"""What the clients saw, written down as it happened; the checker reads nothing else of the service's doing.

Times are seconds since 1970 by this machine's clock. A frame's ``data`` is the bytes behind ``data: ``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

# How a connection of a reader ended.
CLEAN = "clean"  # the body's end, in order
BROKEN = "broken"  # anything else after the head: reset, no last chunk, silence
NO_CONTENT = "204"
REFUSED = "refused"  # no head came
LEFT = "left"  # the reader itself hung up


class Frame(NamedTuple):
    """One event as it arrived. ``id`` is None for notices."""

    at: float
    id: str | None
    data: bytes


@dataclass
class Connection:
    """One request of a reader. ``status`` None: no answer. ``end`` None: still open when the run was over."""

    opened: float
    after: str
    status: int | None = None
    frames: list[Frame] = field(default_factory=list)
    end: str | None = None
    ended: float | None = None


@dataclass
class Reading:
    """All that one reader of one generation saw. ``finished``: it was told the end."""

    name: str
    kind: str
    generation: str
    user: str
    connections: list[Connection] = field(default_factory=list)
    finished: bool = False

    def frames(self) -> Iterator[Frame]:
        """Every event with an id, over all connections."""
        for connection in self.connections:
            for frame in connection.frames:
                if frame.id is not None:
                    yield frame


@dataclass(frozen=True)
class Reply:
    """An answer to a request that is no stream. ``status`` None: none came."""

    at: float
    status: int | None
    body: Any


@dataclass
class Asked:
    """One message and every try to send it. ``generation`` is the id the first 2xx named."""

    tag: str
    user: str
    key: str
    replies: list[Reply] = field(default_factory=list)
    generation: str | None = None


@dataclass
class Polling:
    """All answers one poller got about one generation."""

    name: str
    generation: str
    user: str
    replies: list[Reply] = field(default_factory=list)


@dataclass
class Cancelling:
    """Every try to cancel a generation; ends with the first 2xx."""

    generation: str
    user: str
    replies: list[Reply] = field(default_factory=list)


@dataclass(frozen=True)
class Fault:
    """Something the rig did. ``kind`` is a word of faults.py."""

    at: float
    kind: str
    detail: str = ""


@dataclass
class Committed:
    """What PostgreSQL said about a generation at the moment a reader was shown its end; None: it did not answer."""

    generation: str
    at: float
    status: str | None


@dataclass
class History:
    """One run."""

    seed: int
    scenario: str
    run: int  # tells this run's messages from those of earlier runs in the same stores
    asked: list[Asked] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)
    pollings: list[Polling] = field(default_factory=list)
    cancellings: list[Cancelling] = field(default_factory=list)
    foreign: list[Reply] = field(default_factory=list)  # answers to the wrong user
    fetched: dict[str, Any] = field(default_factory=dict)  # generation → object after the end
    messages: dict[str, str] = field(default_factory=dict)  # generation → content of its message
    committed: list[Committed] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    healed: float | None = None

    def save(self, path: Path) -> None:
        """As JSON, for people."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), default=_readable, ensure_ascii=False))


def _readable(value: Any) -> Any:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
