"""The log lines of all parts of `make run` in one terminal, in the order in which they were written to their files.

The files stay what they are: lines of JSON, and PostgreSQL's and Valkey's own lines. No part waits for the terminal:
each writes to its file only, and a view that falls behind leaves lines out.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from operator import itemgetter
from pathlib import Path
from threading import Event, Thread
from typing import Any

import orjson

from app import log_text

LOOK_SECONDS = 0.2
# Bytes of one file for one look. A file that has more has its oldest lines left out.
MOST_BYTES = 262_144
CLOSE_SECONDS = 1.0
# FATAL ends one session of PostgreSQL, PANIC the server. The forms are
# `2026-11-30 11:46:00.031 UTC [123] LOG:  sentence`, and `123:M 30 Nov 2026 11:46:00.031 * sentence`.
POSTGRES = re.compile(r"(?P<date>[\d-]{10}) (?P<time>[\d:.]{12}) \w+ \[\d+\] (?P<level>[A-Z]+\d?):\s+(?P<event>.*)")
VALKEY = re.compile(r"\d+:\w (?P<date>\d\d \w{3} \d{4}) (?P<time>[\d:.]{12}) (?P<level>[.*#-]) (?P<event>.*)")
LEVELS = {
    "WARNING": "warning",
    "ERROR": "error",
    "FATAL": "error",
    "PANIC": "critical",
    "#": "warning",
    ".": "debug",
}


def wanted(log_format: str, is_terminal: bool) -> str | None:
    """The form of the lines that `make run` shows; None: it shows none. LOG_FORMAT decides, then the terminal."""
    return log_format or ("text" if is_terminal else None)


class LogView:
    """Shows the lines that are added to ``files``, which have the names of their processes, as "text" or "json"."""

    def __init__(self, files: Mapping[str, Path], form: str, write: Callable[[bytes], object] | None = None) -> None:
        self._tails = [_Tail(name, path) for name, path in files.items()]
        self._render = log_text.text if form == "text" else _as_json
        self._write = write or _to_stdout
        self._closed = Event()
        self._thread = Thread(target=self._run, name="log-view", daemon=True)

    def start(self) -> None:
        """Show what is written from now on."""
        self._thread.start()

    def close(self) -> None:
        """Show what was written before, and end. A terminal that takes nothing is not waited for."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join(CLOSE_SECONDS)

    def look(self) -> None:
        """Show the new lines of all files, in the order of their times. Raises OSError when the terminal is gone."""
        lines: list[tuple[str, str]] = []
        for tail in self._tails:
            time = ""
            for line in tail.take():
                fields = fields_of(line)
                # A line without a time belongs to the line before it; the sort keeps the order of equal times.
                time = str(fields.get("time", ""))[:23] or time
                lines.append((time, self._render(fields, tail.name)))
        if lines:
            lines.sort(key=itemgetter(0))
            self._write("".join(f"{line}\n" for _, line in lines).encode(errors="replace"))

    def _run(self) -> None:
        try:
            while not self._closed.wait(LOOK_SECONDS):
                self.look()
            self.look()
        except OSError:
            return


class _Tail:
    """The new lines of a file. Lines that it had before are not shown."""

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self._path = path
        self._position = self._size()
        self._rest = b""

    def take(self) -> list[str]:
        size = self._size()
        if size < self._position:  # it was replaced
            self._position, self._rest = 0, b""
        if size == self._position:
            return []
        found = []
        if (missed := size - self._position - MOST_BYTES) > 0:
            self._position, self._rest = size - MOST_BYTES, b""
            found = [f"{missed} bytes of lines are left out here; {self._path} has them"]
        with self._path.open("rb") as file:
            file.seek(self._position)
            taken = file.read(size - self._position)
        self._position += len(taken)
        *whole, rest = (self._rest + taken).split(b"\n")
        self._rest = rest[:MOST_BYTES]
        # The first line behind those that are left out has lost its beginning.
        return found + [line.decode(errors="replace") for line in whole[missed > 0 :] if line.strip()]

    def _size(self) -> int:
        try:
            return self._path.stat().st_size
        except OSError:
            return 0


def _as_json(fields: dict[str, Any], name: str) -> str:
    return orjson.dumps({**fields, "process": name}, default=repr).decode()


def fields_of(line: str) -> dict[str, Any]:
    """The fields of a line. PostgreSQL and Valkey write time and level in their own ways; other lines have neither."""
    if (fields := log_text.parsed(line)) is not None:
        return fields
    if found := POSTGRES.fullmatch(line):
        time = f"{found['date']}T{found['time']}Z"
    elif found := VALKEY.fullmatch(line):
        at = datetime.strptime(f"{found['date']} {found['time']}", "%d %b %Y %H:%M:%S.%f").astimezone(UTC)
        time = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    else:
        return {"level": "", "event": line}
    return {"time": time, "level": LEVELS.get(found["level"], "info"), "event": found["event"]}


def _to_stdout(block: bytes) -> None:
    while block:
        block = block[os.write(1, block) :]
