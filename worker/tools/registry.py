"""The tools of a process: the built-in ones, and the entry points of installed packages."""

from __future__ import annotations

from importlib.metadata import entry_points

import structlog

from app.domain.tools import GROUP
from worker.tools import built_in
from worker.tools.function import FunctionTool

OWN = (built_in.calculator, built_in.current_time, built_in.unit_convert, built_in.word_count)

_log = structlog.get_logger()


def find_tools() -> dict[str, FunctionTool]:
    """Every tool by name. A tool that cannot be loaded is left out. The names of built-in tools cannot be replaced."""
    found: dict[str, FunctionTool] = {}
    for entry in entry_points(group=GROUP):
        try:
            found[entry.name] = FunctionTool(entry.name, entry.load())
        except Exception as error:
            _log.error("tool cannot be loaded", action="tools", tool=entry.name, error=repr(error))
    return found | {function.__name__: FunctionTool(function.__name__, function) for function in OWN}
