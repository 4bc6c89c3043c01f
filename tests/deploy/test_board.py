"""Grafana's board: Prometheus can read every query, and every panel says what it shows and where its data come from."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.alerts.rules import board, panels

from .test_alert_rules import needs_promtool

SOURCE = {"type": "prometheus", "uid": "${datasource}"}
ROWS = ("Overview", "Queue and workers", "Latency of requests", "Streams and relay", "Upstreams", "Stores", "Webhooks")


@needs_promtool
def test_prometheus_can_read_every_query(tmp_path: Path) -> None:
    queries = [target["expr"].replace("$__rate_interval", "5m") for panel in panels() for target in panel["targets"]]
    rules = [{"record": f"panel:{number}", "expr": query} for number, query in enumerate(queries)]
    file = tmp_path / "board.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "board", "rules": rules}]}))
    done = subprocess.run(["promtool", "check", "rules", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_board_has_its_rows_and_asks_for_its_source() -> None:
    rows = [panel["title"] for panel in board()["panels"] if panel["type"] == "row"]
    assert [title for title in rows if title in ROWS] == list(ROWS)
    assert [variable["type"] for variable in board()["templating"]["list"]] == ["datasource"]


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: panel["title"])
def test_a_panel_has_a_description_the_source_and_a_place_of_its_own(panel: dict[str, Any]) -> None:
    assert panel["description"].endswith(".")
    assert panel["datasource"] == SOURCE
    assert {str(target["datasource"]) for target in panel["targets"]} == {str(SOURCE)}
    place = panel["gridPos"]
    assert 0 < place["w"] <= 24 - place["x"]
    covered = [other["title"] for other in panels() if other["id"] != panel["id"] and _overlap(place, other["gridPos"])]
    assert covered == []


def _overlap(one: dict[str, int], other: dict[str, int]) -> bool:
    return all(
        one[start] < other[start] + other[size] and other[start] < one[start] + one[size]
        for start, size in (("x", "w"), ("y", "h"))
    )
