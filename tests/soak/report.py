"""The report of ``make soak``: report.json, plot.svg with one small plot for each series, and index.html."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import Any

from tests.chaos.report import STYLE
from tests.soak.sampling import Point
from tests.soak.series import Finding

WIDTH, HEIGHT, COLUMNS = 300, 110, 3
# Points of a line in a plot.
DRAWN = 150
_PLOT_STYLE = (
    "text{font:11px system-ui,sans-serif;fill:#57606a}.name{fill:#24292f;font-weight:600}"
    "path{fill:none;stroke:#0969da;stroke-width:1.2}.grows path{stroke:#cf222e}rect{fill:#9a670022}"
    "@media(prefers-color-scheme:dark){.name{fill:#e6edf3}text{fill:#9da7b1}}"
)


def write(
    out: Path, result: dict[str, Any], series: dict[str, list[Point]], found: Sequence[Finding], began: float
) -> None:
    """Write the three files. ``result`` is the run without its series."""
    out.mkdir(parents=True, exist_ok=True)
    lines = [{**asdict(finding), "flat": finding.flat} for finding in found]
    points = {name: [[round(p.at - began, 1), round(p.value, 3), p.life] for p in ps] for name, ps in series.items()}
    (out / "report.json").write_text(json.dumps({**result, "findings": lines, "series": points}, indent=1))
    picture = plot(series, found, began, [(begin - began, end - began) for begin, end in result["deploys"]])
    (out / "plot.svg").write_text(picture)
    (out / "index.html").write_text(_page(result, found, picture))


def plot(
    series: dict[str, list[Point]],
    found: Sequence[Finding],
    began: float,
    deploys: Sequence[tuple[float, float]],
) -> str:
    """Small multiples: a plot for each judged series that is not zero all the time. Deploys are shaded."""
    shown = [finding for finding in found if any(point.value for point in series[finding.name])]
    until = max((points[-1].at - began for points in series.values() if points), default=1.0)
    cells = [
        f'<g transform="translate({i % COLUMNS * WIDTH + 8} {i // COLUMNS * HEIGHT + 4})">'
        f"{_cell(series[finding.name], finding, began, until, deploys)}</g>"
        for i, finding in enumerate(shown)
    ]
    height = -(-len(shown) // COLUMNS) * HEIGHT + 20
    note = f"0 to {until:.0f} s; shaded: every process of the service is being replaced"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {COLUMNS * WIDTH} {height}" role="img" '
        f'aria-label="Series of a soak over time"><style>{_PLOT_STYLE}</style>{"".join(cells)}'
        f'<text x="8" y="{height - 6}">{note}</text></svg>\n'
    )


def _cell(
    points: Sequence[Point], finding: Finding, began: float, until: float, deploys: Sequence[tuple[float, float]]
) -> str:
    width, height, top = WIDTH - 24, HEIGHT - 46, 34
    most = max(point.value for point in points) or 1.0

    def x(at: float) -> str:
        return f"{at / until * width:.0f}"

    shades = "".join(
        f'<rect x="{x(begin)}" y="{top}" width="{(end - begin) / until * width:.0f}" height="{height}"/>'
        for begin, end in deploys
    )
    lives: dict[str, list[Point]] = defaultdict(list)
    for point in points:
        lives[point.life].append(point)
    paths = "".join(
        '<path d="M'
        + "L".join(f"{x(p.at - began)} {top + height - p.value / most * height:.0f}" for p in _thinned(life))
        + '"/>'
        for life in lives.values()
    )
    growth = f"{finding.grown:+.3g} of {finding.allowed:.3g} allowed; top {most:.4g} {finding.unit}".rstrip()
    return (
        f'<g class="{"flat" if finding.flat else "grows"}"><text class="name" y="12">{escape(finding.name)}</text>'
        f'<text y="26">{growth}</text>{shades}{paths}</g>'
    )


def _thinned(life: Sequence[Point]) -> Sequence[Point]:
    return life[:: max(1, len(life) // DRAWN)]


def _page(result: dict[str, Any], found: Sequence[Finding], picture: str) -> str:
    rows = "".join(
        f'<tr><td>{escape(f.name)}</td><td class="n">{f.level:.4g} {f.unit}</td><td class="n">{f.grown:+.3g}</td>'
        f'<td class="n">{f.allowed:.3g}</td><td class="{"passed" if f.flat else "failed"}">'
        f"{'flat' if f.flat else 'grows'}</td><td>{escape(f.reason)}</td></tr>"
        for f in found
    )
    wrong = "".join(f"<li>{escape(line)}</li>" for line in result["violations"] + result["errors"])
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    size = ", ".join(f"{name} {value:g}" for name, value in result["size"].items())
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Soak</title><style>{STYLE}</style>'
        f"<h1>Soak: {escape(result['verdict'])}</h1><p>{size}; {result['answers']} answers to {result['readings']} "
        f"readers, {len(result['deploys'])} deploys. <small>{when}</small></p>{picture}"
        "<table><tr><th>series<th>level<th>grown<th>allowed<th><th>may grow by</tr>"
        f"{rows}</table><ul>{wrong}</ul></html>"
    )
