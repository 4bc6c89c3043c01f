"""Every log call of the service has one style, and the lines that operators meet are in docs/operate/logs.md.

An event is a constant sentence: a thing, then a verb, in lower case, without a full stop. Variables are fields, and one
field is the `action`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
LEVELS = {"debug": "debug", "info": "info", "warning": "warning", "error": "error", "exception": "error",
          "critical": "critical"}  # fmt: skip
# The receivers of log calls, as in `_log.info`, `self.log.error` and `structlog.get_logger().warning`.
RECEIVER = re.compile(r"(^|[._])log(ger)?$|get_logger\(")
# The hub's thread logs through another thread: (event, action) are its first arguments.
REPORTS = {"warn": "warning", "error": "error"}
NAME = "Redis|PostgreSQL|Celery"
STYLE = re.compile(rf"(?:(?:[a-z][a-z0-9'-]*|{NAME}),? )+(?:[a-z][a-z0-9'-]*|{NAME})")
ACTION = re.compile(r"[a-z]+(_[a-z]+)*")
# A verb in the past or the present. It never comes first: a thing does.
VERB = re.compile(r"\b(\w+ed|\w{2,}[^s\W]s|is|has|lost|caught|found|sent|kept|left|built|taken|made|written|read)\b")
NO_THING = re.compile(r"(a|an|the|no|not|another|cannot|could|refused|cancelled|left)\b")
ROW = re.compile(r"^\| `([^`]+)` \| (\w+) \| `(\w+)` \| \S[^|]* \|$", re.MULTILINE)


class LogCall(NamedTuple):
    """A call that writes a line; ``event`` and ``action`` are None where they are no constants."""

    place: str
    level: str
    event: str | None
    action: str | None


def constant(node: ast.expr | None) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def action_of(call: ast.Call) -> str | None:
    """The constant `action` of a structlog call, or of the `extra` of a call of the standard library's logger."""
    given = {word.arg: word.value for word in call.keywords}
    extra = given.get("extra")
    if isinstance(extra, ast.Dict):
        given |= {constant(key): value for key, value in zip(extra.keys, extra.values, strict=True) if key}
    return constant(given.get("action"))


def log_calls(tree: ast.AST, place: str) -> Iterator[LogCall]:
    """The calls of a module that write log lines."""
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
            continue
        receiver, method = ast.unparse(call.func.value), call.func.attr
        where = f"{place}:{call.lineno}"
        if method in LEVELS and RECEIVER.search(receiver):
            event = constant(call.args[0]) if len(call.args) == 1 else None
            yield LogCall(where, LEVELS[method], event, action_of(call))
        elif method == "info" and receiver == "logs":
            # Behind the name of the logger.
            yield LogCall(where, "info", constant(call.args[1]), action_of(call))
        elif method in REPORTS and receiver.endswith("reports"):
            yield LogCall(where, REPORTS[method], constant(call.args[0]), constant(call.args[1]))


def all_calls() -> list[LogCall]:
    found: list[LogCall] = []
    for room in ("app", "worker"):
        for path in sorted((ROOT / room).rglob("*.py")):
            found += log_calls(ast.parse(path.read_text()), str(path.relative_to(ROOT)))
    return found


def faults(call: LogCall) -> list[str]:
    """Sentences about what is not in the style."""
    if call.event is None:
        return ["the event is no constant"]
    found = [] if STYLE.fullmatch(call.event) else ["the event is no lower-case sentence without a full stop"]
    _, _, rest = call.event.partition(" ")
    if NO_THING.match(call.event) or not VERB.search(rest):
        found.append("the event is not a thing and then a verb")
    if call.action is None or not ACTION.fullmatch(call.action):
        found.append("there is no constant `action` in snake_case")
    return found


CALLS = all_calls()


def test_the_calls_are_found():
    assert len(CALLS) > 70
    assert {"app/relay", "app/services", "app/connections", "worker"} <= {str(Path(c.place).parent) for c in CALLS}


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.place)
def test_each_log_call_has_the_style(call: LogCall):
    assert faults(call) == [], call


@pytest.mark.parametrize(
    "code",
    [
        '_log.info("Stream ended", action="stream")',
        '_log.info("stream ended.", action="stream")',
        '_log.info(f"{name} ended", action="stream")',
        '_log.info("stream %s ended", name, action="stream")',
        '_log.info("ended", action="stream")',
        '_log.info("no stream", action="stream")',
        '_log.info("stream ended")',
        '_log.info("stream ended", action=name)',
        '_log.info("stream ended", action="stream end")',
        'self.log.error("stream ended", extra={"path": "x"})',
        'structlog.get_logger().warning("stream", action="stream")',
        'self._reports.warn("Stream ended.", "stream")',
    ],
)
def test_another_style_is_found(code: str):
    [call] = log_calls(ast.parse(code), "x.py")
    assert faults(call)


def test_the_table_of_the_document_has_every_line_of_a_warning_or_worse():
    rows = {(event, level, action) for event, level, action in ROW.findall((ROOT / "docs/operate/logs.md").read_text())}
    written = {(call.event, call.level, call.action) for call in CALLS}
    assert {row for row in written if row[1] not in ("debug", "info")} - rows == set(), "rows are missing"
    assert rows - written == set(), "rows have no line"
