"""Logs as JSON lines on stderr: one form for our own sentences and for what libraries say."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from threading import local
from typing import Any

import orjson
import structlog
from structlog.typing import Processor

from app.domain.log_name import log_name

# A ticket opens a stream: it is a secret wherever an address is written down.
_TICKET = re.compile(r"([?&;\s]ticket=)[^&;\s\"']*", re.IGNORECASE)
# The code of a link signs somebody in, and the address of a shared conversation shows it.
_CODE = re.compile(r"(/(?:signin/+once|s)/+)[^/?#\s\"']+", re.IGNORECASE)
# One of these is in every text with such a secret.
_MARKS = re.compile("ticket=|/s(?:ignin)?/")
# The lines of these below WARNING are said better by our own lines, or to nobody.
_QUIET = (
    "urllib3", "kombu", "amqp", "asyncio", "flask-limiter", "celery.worker.strategy", "celery.app.trace",
    "alembic.runtime.plugins",
    # On DEBUG it writes the names that a task has in Flower, the id of its user among them.
    "celery.pool",
)  # fmt: skip


def configure(level: str = "INFO") -> None:
    """Send everything, our own and the libraries', through one formatter. Safe to repeat."""
    structlog.configure(
        processors=[*_shared(), structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    # Nothing of this is in a line, and finding it out is a good part of what a line costs.
    logging._srcfile = None  # as the documentation of `logging` advises
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    handler = _Lines(sys.stderr)
    handler.setFormatter(formatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


@contextmanager
def together() -> Iterator[None]:
    """Write the lines of this thread in one piece at the end of the block: each write may hand the interpreter over."""
    if _thread.kept is not None:
        yield
        return
    kept: list[str] = []
    _thread.kept = kept
    try:
        yield
    finally:
        _thread.kept = None
        if kept:
            for handler in logging.getLogger().handlers:
                if isinstance(handler, _Lines):
                    handler.write("".join(kept))


def info(name: str, event: str, **fields: Any) -> None:
    """Write a line as the logger ``name`` does, at a tenth of its cost. No field may have a secret.

    Fields of the context are not added.
    """
    handlers = logging.getLogger().handlers
    if len(handlers) != 1 or not isinstance(handlers[0], _Lines):
        usual = structlog.get_logger(name)
        usual.info(event, **fields)
    elif logging.getLogger(name).isEnabledFor(logging.INFO):
        now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        line = {**fields, "event": event, "level": "info", "logger": name, "time": now}
        handlers[0].take(_dumps(_name_users(None, "info", line)) + "\n")


class _Thread(local):
    """The lines that a thread keeps until the end of its block; None outside of one."""

    kept: list[str] | None = None


_thread = _Thread()


class _Lines(logging.StreamHandler):  # type: ignore[type-arg]  # a class without a parameter at runtime
    """A handler that leaves lines to ``together`` within its block."""

    def emit(self, record: logging.LogRecord) -> None:
        if _thread.kept is None:
            super().emit(record)
            return
        try:
            _thread.kept.append(self.format(record) + self.terminator)
        except Exception:
            self.handleError(record)

    def take(self, line: str) -> None:
        """Write a formatted line, or keep it for the end of the block."""
        if _thread.kept is None:
            self.write(line)
        else:
            _thread.kept.append(line)

    def write(self, text: str) -> None:
        """Write lines that are formatted. As with every handler, an error of the stream raises nothing."""
        with suppress(Exception), self.lock:  # type: ignore[union-attr]  # every handler has one
            self.stream.write(text)
            self.flush()


def formatter() -> logging.Formatter:
    """One line of JSON for each record, whoever logged it."""
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *_shared()],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            _redact,
            _name_users,
            structlog.processors.JSONRenderer(_dumps),
        ],
    )


def without_secrets(text: str) -> str:
    """``text`` with the value of every ``ticket=`` taken out, and the secret part of every such link."""
    return _CODE.sub(r"\1[redacted]", _TICKET.sub(r"\1[redacted]", text))


def _shared() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.StackInfoRenderer(),
    ]


def _redact(logger: Any, name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if isinstance(value, str) and _MARKS.search(value):
            event[key] = without_secrets(value)
    return event


def _name_users(logger: Any, name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A log is kept longer than a user may be: no line has a user's id."""
    if "user_id" in event:
        user_id = event.pop("user_id")
        event["user"] = log_name(user_id) if isinstance(user_id, str) else None
    return event


def _dumps(event: MutableMapping[str, Any], **_: Any) -> str:
    return orjson.dumps(event, default=repr, option=orjson.OPT_NON_STR_KEYS).decode()
