"""JSON lines for all output of a process: log records, prints and uncaught exceptions. LOG_FORMAT=text makes them text.

``install`` is for programs whose output is a log: gunicorn, Celery, alembic. Output that C code writes past Python
stays as it is.
"""

from __future__ import annotations

import io
import logging
import os
import sys
import threading
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

import orjson

from app import log_text, logs

_log = logging.getLogger("uncaught")


class JsonLines(io.TextIOBase):
    """A text stream that passes lines of JSON on, and makes lines of JSON of all others; text, where that is wanted."""

    def __init__(self, below: Any, name: str) -> None:
        self._below = below
        self._name = name
        self._as_line = as_text if wants_text() else as_json
        self._rest = ""
        self._lock = threading.RLock()

    def write(self, text: str) -> int:
        with self._lock:
            *lines, self._rest = (self._rest + text).split("\n")
            whole = [self._as_line(line, self._name) for line in lines if line.strip()]
            if whole:
                self._below.write("".join(line + "\n" for line in whole))
                self._below.flush()
        return len(text)

    def flush(self) -> None:
        self._below.flush()

    def fileno(self) -> int:
        return int(self._below.fileno())

    def isatty(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"

    @property
    def buffer(self) -> Any:
        """For programs that write bytes; those are their own lines."""
        return self._below.buffer


def one_line(error: object) -> str:
    """An error of several lines as one."""
    return "; ".join(filter(None, map(str.strip, str(error).splitlines())))


def as_json(line: str, name: str) -> str:
    """A line that is an object of JSON already, or one that has it as its event."""
    if line.startswith("{") and line.endswith("}"):
        return line
    time = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    level = "warning" if name == "stderr" else "info"
    event = {"event": logs.without_secrets(line), "level": level, "logger": name, "time": time}
    return orjson.dumps(event, default=repr).decode(errors="replace")


def as_text(line: str, name: str) -> str:
    """A line for people (app/log_text.py)."""
    return log_text.of_line(as_json(line, name))


def wants_text() -> bool:
    """True where LOG_FORMAT asks for text. The settings refuse an unknown form in a line of JSON."""
    return os.environ.get("LOG_FORMAT") == "text"


def level() -> str:
    """The level of LOG_LEVEL. An unknown level counts as INFO here; the settings refuse it in a line of JSON."""
    name = (os.environ.get("LOG_LEVEL") or "INFO").upper()
    return name if name in ("DEBUG", "INFO", "WARNING", "ERROR") else "INFO"


def install(level: str) -> None:
    """Make this process write JSON only. Safe to repeat."""
    if not isinstance(sys.stderr, JsonLines):
        sys.stdout, sys.stderr = JsonLines(sys.stdout, "stdout"), JsonLines(sys.stderr, "stderr")
        sys.__stdout__, sys.__stderr__ = sys.stdout, sys.stderr  # type: ignore[misc, assignment]
    logs.configure(level)
    logging.captureWarnings(True)
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread
    sys.unraisablehook = _unraisable


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if not issubclass(kind, KeyboardInterrupt):
        _log.critical("error not caught", extra={"action": "uncaught"}, exc_info=(kind, error, trace))


def _uncaught_in_thread(given: threading.ExceptHookArgs) -> None:
    if given.exc_value is not None and not isinstance(given.exc_value, SystemExit):
        found = (given.exc_type, given.exc_value, given.exc_traceback)
        _log.critical("error of a thread not caught", extra={"action": "uncaught"}, exc_info=found)


def _unraisable(given: Any) -> None:
    found = (given.exc_type, given.exc_value, given.exc_traceback) if given.exc_value else None
    _log.error("error not raised", extra={"action": "uncaught", "object": repr(given.object)[:300]}, exc_info=found)
