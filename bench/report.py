"""The page and the JSON of a run."""

from __future__ import annotations

import html
import json
from dataclasses import asdict
from math import log10
from pathlib import Path

from bench.figures import Run, short

OUT = Path("out/bench")
# As the terminal has them; a figure without a target is a comparison.
VERDICTS = {"met": "met   ", "missed": "MISSED", "": "      "}
STYLE = """
:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; width: 100% } td, th { padding: .3rem .6rem; text-align: right }
td:first-child, th:first-child { text-align: left } tr + tr { border-top: 1px solid #8884 }
rect { fill: #8aa4c8 } rect.own { fill: #2f6fdd } text { fill: currentColor; font-size: 13px }
path { fill: none } .axis { stroke: #8888 } .line { stroke: #8aa4c8; stroke-width: 2 } .line.own { stroke: #2f6fdd }
circle { fill: #8aa4c8 } circle.own { fill: #2f6fdd }
"""


def summary(run: Run) -> None:
    """The table of targets, for the terminal."""
    print("\nTargets")
    for figure in run.figures:
        print(f"  {VERDICTS[figure.verdict]}  {figure.metric:<44} {figure.line()}")


def write(machine: str, run: Run) -> Path:
    """``out/bench/index.html`` and ``out/bench/bench.json``; the path of the page."""
    OUT.mkdir(parents=True, exist_ok=True)
    figures = [{**asdict(f), "value": f.value, "met": f.met} for f in run.figures]
    data = {"machine": machine, "quick": run.quick, "figures": figures, "left_out": run.left_out, **run.data}
    (OUT / "bench.json").write_text(json.dumps(data, indent=1))
    sections = [("Targets", _targets(run)), *run.sections, *_scale()]
    body = "".join(f"<h2>{html.escape(head)}</h2>{content}" for head, content in sections)
    page = f"<!doctype html><meta charset=utf-8><title>Unbroken beside others</title><style>{STYLE}</style>"
    target = OUT / "index.html"
    target.write_text(f"{page}<h1>Unbroken beside others</h1><p>{html.escape(machine)}</p>{body}")
    return target


def _scale() -> list[tuple[str, str]]:
    """The rows that ``python -m bench.scale`` has written, if it has run."""
    found = OUT / "scale.json"
    if not found.exists():
        return []
    scale = json.loads(found.read_text())
    rows = [
        [name, *(f"{ms[column]:.1f}" for column in ("p50", "p95", "max"))] for name, ms in scale["milliseconds"].items()
    ]
    machine = html.escape(scale["machine"])
    told = f"<p>{machine}: {scale['conversations']:,} conversations, {scale['messages']:,} messages.</p>"
    return [("Reading, in milliseconds", told + table(["", "median", "95 %", "longest"], rows))]


def _targets(run: Run) -> str:
    rows = [
        [f.metric, f.beside or f.unit, short(f.value), f.spread, f"≤ {short(f.most)}" if f.most else "–", f.verdict]
        for f in run.figures
    ]
    left = "".join(f"<li>{html.escape(name)}: {html.escape(why)}" for name, why in run.left_out.items())
    told = table(["", "beside, or unit", "figure", "spread", "target", ""], rows)
    return told + (f"<p>Left out here:</p><ul>{left}</ul>" if left else "")


def table(head: list[str], rows: list[list[str]]) -> str:
    """An HTML table."""
    cells = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    lines = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{cells}</tr>{lines}</table>"


def bars(values: dict[str, float], unit: str) -> str:
    """A bar chart; the product's own bar stands out."""
    most, height = max(values.values(), default=1) or 1, 26
    marks = []
    for row, (name, value) in enumerate(values.items()):
        y, width = row * height, 440 * value / most
        own = ' class="own"' if name == "unbroken" else ""
        marks.append(
            f'<text x="0" y="{y + 17}">{html.escape(name)}</text>'
            f'<rect{own} x="130" y="{y + 4}" width="{width:.1f}" height="{height - 8}"/>'
            f'<text x="{136 + width:.1f}" y="{y + 17}">{value:.3g} {unit}</text>'
        )
    return f'<svg role="img" width="720" height="{len(values) * height + 6}">{"".join(marks)}</svg>'


def plot(lines: dict[str, list[tuple[float, float]]], across: str, upwards: str) -> str:
    """A chart of lines; the horizontal axis counts in powers, the vertical one begins at zero."""
    width, height, left, bottom = 640, 260, 56, 40
    points = [point for line in lines.values() for point in line]
    low, high = log10(min(x for x, _ in points)), log10(max(x for x, _ in points))
    top = max(y for _, y in points) * 1.1 or 1

    def place(x: float, y: float) -> tuple[float, float]:
        part = (log10(x) - low) / (high - low) if high > low else 0.5
        return left + part * (width - left - 120), height - bottom - y / top * (height - bottom - 10)

    marks = [f'<path class="axis" d="M{left} 10V{height - bottom}H{width - 100}"/>']
    for x in sorted({x for x, _ in points}):
        at, _ = place(x, 0)
        marks.append(f'<text x="{at:.0f}" y="{height - bottom + 16}" text-anchor="middle">{short(x)}</text>')
    for y in (0, top / 2, top):
        _, at = place(points[0][0], y)
        marks.append(f'<text x="{left - 6}" y="{at + 4:.0f}" text-anchor="end">{short(y)}</text>')
    for number, (name, line) in enumerate(lines.items()):
        spots = [place(x, y) for x, y in sorted(line)]
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in spots)
        own = " own" if name == "unbroken" or number == 0 else ""
        marks.append(f'<path class="line{own}" d="{path}"/>')
        marks += [f'<circle class="dot{own}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in spots]
        x, y = spots[-1]
        marks.append(f'<text x="{x + 8:.0f}" y="{y + 4:.0f}">{html.escape(name)}</text>')
    marks.append(f'<text x="{(left + width) / 2 - 60:.0f}" y="{height - 4}">{html.escape(across)}</text>')
    marks.append(f'<text x="{left + 6}" y="20">{html.escape(upwards)}</text>')
    return f'<svg role="img" width="{width}" height="{height}">{"".join(marks)}</svg>'
