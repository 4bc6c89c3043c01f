"""The ends of the deployment's processes, and a report of each end that the rig did not cause."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from tests.chaos.history import Exit


class Watched(Protocol):
    """A member of the rig. ``expected``: processes of it whose end is the rig's doing."""

    name: str
    port: int
    expected: set[int]

    @property
    def pid(self) -> int: ...
    @property
    def code(self) -> int | None: ...
    @property
    def children(self) -> list[int]: ...
    def tail(self) -> str: ...


class ExitWatch:
    """A watch over all members, ten times a second. It reports each end that the rig did not cause, once."""

    def __init__(self, members: Callable[[], Sequence[Watched]], report: Callable[[Exit], None]) -> None:
        self._members = members
        self._report = report
        self._known: dict[int, set[int]] = {}  # the last known children of each web group's master
        self._reported: set[int] = set()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.ensure_future(self._run())

    def stop(self) -> None:
        if self._task:
            self._task.cancel()

    async def _run(self) -> None:
        while True:
            self.look()
            await asyncio.sleep(0.1)

    def look(self) -> None:
        """Look once at all members. The rig calls it before it starts a member again."""
        for member in self._members():
            if not member.pid:
                continue
            there = set(member.children) if member.port else set()
            if member.code is not None:
                self._ended(member, member.pid, f"exit code {member.code}")
                continue
            for gone in self._known.get(member.pid, set()) - there:
                self._ended(member, gone, "a web process of a master that goes on")
            self._known[member.pid] = there

    def _ended(self, member: Watched, pid: int, how: str) -> None:
        if pid not in member.expected and pid not in self._reported:
            self._reported.add(pid)
            self._report(Exit(time.time(), f"{member.name}#{pid}", f"{how}; its log ends: {member.tail()[-400:]}"))
