"""The record of a run as its clients saw it. The checker reads nothing else of the service's work.
Times are seconds since 1970 by this machine's clock. A frame's ``data`` is the bytes behind ``data: ``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

# The ways in which a reader's connection ends.
CLEAN = "clean"  # the body's end, in order
BROKEN = "broken"  # anything else after the head: reset, no last chunk, silence
NO_CONTENT = "204"
REFUSED = "refused"  # no head came
LEFT = "left"  # the reader hung up


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
    """All connections of one reader of one generation. ``finished``: the reader has received the end."""

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
    """A reply to a request that is no stream. ``status`` None: no reply came."""

    at: float
    status: int | None
    body: Any


@dataclass
class Asked:
    """One message and every try to send it. ``generation`` is the id in the first reply with 2xx."""

    tag: str
    user: str
    key: str
    replies: list[Reply] = field(default_factory=list)
    generation: str | None = None
    conversation: str | None = None
    wishes: dict[str, Any] = field(default_factory=dict)  # the provider's behaviour for this message


@dataclass
class Polling:
    """All replies that one poller got about one generation."""

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


@dataclass
class Fault:
    """A fault that the rig caused. ``kind`` is a word of faults.py; ``ended`` None: the fault lasted until the healing.

    The ``detail`` of a worker's fault begins with the worker's name and lists its answers. The ``detail`` of a network
    fault ends with its hops, behind a colon.
    """

    at: float
    kind: str
    detail: str = ""
    ended: float | None = None


@dataclass(frozen=True)
class Exit:
    """A process of the service that ended by itself."""

    at: float
    process: str
    how: str


@dataclass
class Committed:
    """The status in PostgreSQL at the moment when a reader was shown the end; None: PostgreSQL did not reply."""

    generation: str
    at: float
    status: str | None


@dataclass
class History:
    """The records of all clients of one run, its faults and its exits."""

    seed: int
    scenario: str
    run: int  # part of each message of this run; earlier runs in the same stores have other numbers
    asked: list[Asked] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)
    translations: list[Reading] = field(default_factory=list)  # readings over other protocols
    feeds: list[Reading] = field(default_factory=list)  # their generation is empty
    pollings: list[Polling] = field(default_factory=list)
    cancellings: list[Cancelling] = field(default_factory=list)
    foreign: list[Reply] = field(default_factory=list)  # replies to the wrong user
    fetched: dict[str, Any] = field(default_factory=dict)  # generation → object after the end
    messages: dict[str, str] = field(default_factory=dict)  # generation → content of its message
    committed: list[Committed] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    exits: list[Exit] = field(default_factory=list)
    healed: float | None = None

    def save(self, path: Path) -> None:
        """Write the history as JSON for people."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), default=_readable, ensure_ascii=False))


def _readable(value: Any) -> Any:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
