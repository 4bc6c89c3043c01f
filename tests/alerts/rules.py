"""The alert rules, Grafana's board and their documents, as the tests read them."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "deploy" / "prometheus" / "unbroken.rules.yml"
BOARD = ROOT / "deploy" / "grafana" / "unbroken.json"
PAGE = ROOT / "docs" / "operate" / "alerts.md"

_METRIC = re.compile(r"\bunbroken_[a-z0-9_]+")
# The series of a histogram, as a query names them.
_OF_HISTOGRAM = re.compile(r"_(bucket|sum|count)$")
_DURATION = re.compile(r"(\d+)(s|m|h)")
_UNITS = {"s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True)
class Rule:
    """An alert. ``seconds``: the time for which its expression has to hold (``for``)."""

    name: str
    expression: str
    seconds: int
    labels: dict[str, str]
    annotations: dict[str, str]


def rules() -> list[Rule]:
    """The alerts of the file, in its order."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [
        Rule(one["alert"], one["expr"], seconds(one.get("for", "0s")), one.get("labels", {}), one["annotations"])
        for group in groups
        for one in group["rules"]
    ]


def seconds(duration: str) -> int:
    """The seconds of a duration of Prometheus, such as 1m30s."""
    return sum(int(number) * _UNITS[unit] for number, unit in _DURATION.findall(duration))


def metrics_of(expression: str) -> set[str]:
    """The metrics of the service in an expression, as docs/metrics.md names them."""
    found = _METRIC.findall(expression)
    return {_OF_HISTOGRAM.sub("", name) for name in found}


def board() -> dict[str, Any]:
    """The board."""
    loaded: dict[str, Any] = json.loads(BOARD.read_text())
    return loaded


def panels() -> list[dict[str, Any]]:
    """Every panel of the board that is no row."""
    return [panel for panel in board()["panels"] if panel["type"] != "row"]


def missing_programs() -> list[str]:
    """The programs of Debian's package `prometheus` that this machine does not have."""
    return [name for name in ("prometheus", "promtool") if shutil.which(name) is None]
