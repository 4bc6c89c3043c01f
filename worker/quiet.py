"""Lines that Celery prints past every logger become lines of the log; its banner, which repeats settings, is not."""

from __future__ import annotations

import os
from typing import Any

from celery.apps import worker

from app.log_lines import as_json, as_text, wants_text


def install() -> None:
    """Replace both functions with which Celery prints. To be called before its worker starts."""
    worker.Worker.emit_banner = lambda self: None
    worker.safe_say = _say


def _say(text: Any, file: Any = None) -> None:
    """Called in signal handlers: nothing that takes a lock may be used."""
    as_line = as_text if wants_text() else as_json
    os.write(2, (as_line(str(text).strip().replace("\n", " "), "celery") + "\n").encode())
