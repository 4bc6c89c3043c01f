"""Writes a run into the repository: bench/sizing/measured.py, and the tables and the plots of docs/sizing.md."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.sizing import page
from bench.sizing.law import Costs, costs_from

MEASURED, DOCUMENT, PICTURE = Path("bench/sizing/measured.py"), Path("docs/sizing.md"), Path("docs/sizing.svg")
_HEAD = '''"""The costs of the run that docs/sizing.md describes. A machine's own are in ``out/sizing/costs.json``."""

from __future__ import annotations

from bench.sizing.law import Costs

MEASURED = Costs(
'''


def publish(runs: Mapping[str, Mapping[str, Any]], measured: Costs) -> None:
    """Write costs, tables and plots. The sentences of the document are read again by a person."""
    costs = rounded(measured)
    lines = [
        f"    {name}={value:.0f}," if value >= 100 else f"    {name}={value:g},"
        for name, value in asdict(costs).items()
    ]
    MEASURED.write_text(_HEAD + "\n".join(lines) + "\n)\n")
    text = DOCUMENT.read_text()
    for table in tables(runs, costs):
        text = _with_table(text, table)
    DOCUMENT.write_text(text)
    PICTURE.write_text(page.picture({name: one["points"] for name, one in runs.items()}))


def rounded(costs: Costs) -> Costs:
    """The costs with three digits, as they are published."""
    return costs_from({name: float(f"{value:.3g}") for name, value in asdict(costs).items()})


def tables(runs: Mapping[str, Mapping[str, Any]], costs: Costs) -> list[str]:
    """The tables of the document that a run gives."""
    return [
        page.runs_markdown(runs),
        page.costs_markdown(costs),
        page.deployments_markdown(costs),
        page.million_markdown(costs),
        page.limits_markdown(costs),
        page.arithmetic_markdown(costs),
    ]


def _with_table(text: str, table: str) -> str:
    """The text with the table in the place of the one with its head. Raises ValueError without such a place."""
    head = table.splitlines()[0]
    place = re.compile(rf"^{re.escape(head)}\n(?:\|.*\n)*", re.MULTILINE)
    if not place.search(text):
        raise ValueError(f"{DOCUMENT} has no table {head}")
    return place.sub(lambda _: table + "\n", text, count=1)
