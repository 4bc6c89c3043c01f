"""The page of a run: a plot for each law, with the measured points and the line, and the table of deployments."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench import report
from bench.figures import short
from bench.sizing.fit import Point, line
from bench.sizing.law import MB, Costs, Load, Needs, needs
from bench.sizing.limits import reached
from bench.sizing.million import MILLION, arithmetic, instances

OUT = Path("out/sizing")
# The deployments of docs/sizing.md: about ten readers of each answer, answers of 20 s, four times the mean at the peak.
DEPLOYMENTS = (
    Load(100, 10, 10_000),
    Load(1_000, 100, 100_000),
    Load(10_000, 1_000, 1_000_000),
    Load(100_000, 10_000, 10_000_000),
)
COLUMNS: dict[str, Callable[[Load, Needs], str]] = {
    "readers": lambda load, _: f"{load.readers:,.0f}",
    "answers": lambda load, _: f"{load.generations:,.0f}",
    "messages a day": lambda load, _: f"{load.messages:,.0f}",
    "web": lambda _, need: f"{need.web}",
    "streams": lambda _, need: f"{need.streams}",
    "workers": lambda _, need: f"{need.workers}",
    "cores": lambda _, need: short(need.cores),
    "RAM, GB": lambda _, need: short(need.memory / 1e9),
    "proxy, cores": lambda _, need: short(need.proxy_cores),
    "Redis, cores": lambda _, need: short(need.redis_cores),
    "Redis, GB": lambda _, need: short(need.redis_memory / 1e9),
    "PostgreSQL, cores": lambda _, need: short(need.database_cores),
    "sessions": lambda _, need: f"{need.connections:,}",
    "WAL a day, GB": lambda _, need: short(need.wal_a_day / 1e9),
    "disk a month, GB": lambda _, need: short(need.disk_a_month / 1e9),
    "Mbit/s": lambda _, need: short(need.bytes_a_second * 8 / 1e6),
    "back after a deploy, s": lambda _, need: short(need.seconds_back),
}
# Part, subject, unit, measured field, fields of the line, factor, and the field across.
PLOTS: tuple[tuple[str, str, str, tuple[str, ...], float, str], ...] = (
    ("readers", "stream process, part of a core", "stream_cores", ("received", "delivered"), 1, "delivered"),
    ("readers", "stream process, MB", "memory", ("readers",), 1 / MB, "readers"),
    ("proxy", "nginx, part of a core", "proxy_cores", ("delivered",), 1, "delivered"),
    ("processes", "Redis, part of a core", "redis_cores", ("delivered",), 1, "delivered"),
    ("generations", "worker, part of a core", "worker_cores", ("tokens",), 1, "tokens"),
    ("generations", "Redis, part of a core", "redis_cores", ("tokens",), 1, "tokens"),
    ("generations", "PostgreSQL, part of a core", "database_cores", ("tokens",), 1, "tokens"),
    ("generations", "worker, MB", "memory", ("generations",), 1 / MB, "generations"),
    ("generations", "WAL, kB a second", "wal", ("tokens",), 1e-3, "tokens"),
    ("messages", "WAL of a message, kB", "wal", ("tokens",), 1e-3, "tokens"),
    ("messages", "disk of a message, kB", "disk", ("tokens",), 1e-3, "tokens"),
    ("messages", "Redis, kB of a log", "redis_log_bytes", ("tokens",), 1e-3, "tokens"),
)
WIDTH, HEIGHT, LEFT, BOTTOM = 320, 200, 52, 36
_STYLE = (
    "text{font:11px system-ui,sans-serif;fill:#57606a}path{fill:none;stroke:#0969da;stroke-width:1.4}"
    ".axis{stroke:#8888}circle{fill:#cf222e}.name{font-weight:600}"
    "@media(prefers-color-scheme:dark){text{fill:#9da7b1}}"
)


def row(load: Load, costs: Costs) -> list[str]:
    """The cells of one deployment."""
    need = needs(load, costs)
    return [cell(load, need) for cell in COLUMNS.values()]


def deployments_markdown(costs: Costs) -> str:
    """The table of deployments as docs/sizing.md has it."""
    return _markdown(list(COLUMNS), [row(load, costs) for load in DEPLOYMENTS])


def million_markdown(costs: Costs) -> str:
    """The table of two deployments with a million streams, of which the second one is mostly silent."""
    rows = [[f"{load.idle:,.0f}", *row(load, costs)] for load in MILLION]
    return _markdown(["silent streams", *COLUMNS], rows)


def arithmetic_markdown(costs: Costs) -> str:
    """The table of the parts that break."""
    spread, together = instances(costs)
    shared = f"{spread} of them, each used half; {together} when all readers of an answer are in one process"
    lines = {**arithmetic(costs), "independent instances of Redis": shared}
    return _markdown(["part", "arithmetic"], [list(pair) for pair in lines.items()])


def runs_markdown(runs: Mapping[str, Mapping[str, Any]]) -> str:
    """The table of the measured parts: when, at which commit, and how busy the machine was."""
    rows = [
        [
            f"`{name}`",
            one["when"],
            one["commit"],
            one["machine"].rpartition(" ")[2],
            "quick" if one["quick"] else "full",
        ]
        for name, one in runs.items()
    ]
    return _markdown(["measured part", "time", "commit", "load", "form"], rows)


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def costs_markdown(costs: Costs) -> str:
    """The table of costs as docs/sizing.md has it."""
    return _markdown(["cost", "measured"], [[f"`{name}`", _with_unit(name, v)] for name, v in asdict(costs).items()])


def _with_unit(name: str, value: float) -> str:
    if name.endswith("_us"):
        return f"{short(value)} µs"
    if name.endswith("_idle"):
        return f"{value:.1%} of a core"
    return (
        f"{short(value / MB)} MB" if value >= MB else f"{short(value / 1000)} kB" if value >= 1000 else f"{value:.0f} B"
    )


def limits_markdown(costs: Costs) -> str:
    """The table of limits as docs/sizing.md has it."""
    rows = [[name, _rounded(readers)] for name, readers in reached(costs, DEPLOYMENTS[-1])]
    return _markdown(["limit", "readers"], rows)


def _rounded(number: float) -> str:
    """Two digits: a law is not known better."""
    return f"{float(f'{number:.2g}'):,.0f}"


def terminal(costs: Costs, loads: Sequence[Load]) -> str:
    """The table with a line for each column, which fits a terminal."""
    rows = [row(load, costs) for load in loads]
    lines = [
        f"  {name:24}" + "".join(f"{cells[column]:>14}" for cells in rows) for column, name in enumerate(list(COLUMNS))
    ]
    beyond = [f"  {load.readers:,.0f} readers: {reason}" for load in loads for reason in needs(load, costs).beyond]
    return "\n".join([*lines, *beyond])


def picture(parts: Mapping[str, Sequence[Point]]) -> str:
    """Small plots, one for each law: measured points, and the line."""
    cells = []
    for part, title, up, across, factor, over in PLOTS:
        if part in parts and all({up, over, *across} <= point.keys() for point in parts[part]):
            cells.append(_plot(parts[part], title, up, across, factor, over))
    moved = [
        f'<g transform="translate({number % 3 * WIDTH} {number // 3 * HEIGHT})">{cell}</g>'
        for number, cell in enumerate(cells)
    ]
    height = -(-len(cells) // 3) * HEIGHT
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {3 * WIDTH} {height}" role="img" '
        f'aria-label="Measured points and the line of each law"><style>{_STYLE}</style>{"".join(moved)}</svg>\n'
    )


def _plot(points: Sequence[Point], title: str, up: str, across: tuple[str, ...], factor: float, over: str) -> str:
    factors = line(points, up, *across)
    found = sorted(
        (
            p[over],
            p[up] * factor,
            factor * (factors[0] + sum(f * p[n] for f, n in zip(factors[1:], across, strict=True))),
        )
        for p in points
    )
    right, top = max(x for x, _, _ in found) or 1, max(max(y, law) for _, y, law in found) * 1.1 or 1

    def place(x: float, y: float) -> str:
        return f"{LEFT + x / right * (WIDTH - LEFT - 20):.0f} {HEIGHT - BOTTOM - y / top * (HEIGHT - BOTTOM - 24):.0f}"

    spots = [place(x, y).split() for x, y, _ in found]
    circles = "".join(f'<circle cx="{x}" cy="{y}" r="3"/>' for x, y in spots)
    law = "M" + "L".join(place(x, law) for x, _, law in found)
    return (
        f'<text class="name" x="{LEFT}" y="12">{html.escape(title)}</text>'
        f'<path class="axis" d="M{LEFT} 20V{HEIGHT - BOTTOM}H{WIDTH - 16}"/><path d="{law}"/>{circles}'
        f'<text x="{LEFT - 4}" y="30" text-anchor="end">{short(top)}</text>'
        f'<text x="{LEFT - 4}" y="{HEIGHT - BOTTOM}" text-anchor="end">0</text>'
        f'<text x="{WIDTH - 16}" y="{HEIGHT - BOTTOM + 14}" text-anchor="end">{short(right)} {_UNITS[over]}</text>'
    )


_UNITS = {
    "delivered": "events sent a second",
    "readers": "readers",
    "tokens": "tokens",
    "generations": "answers",
}


def write(runs: Mapping[str, Mapping[str, Any]], costs: Costs | None) -> Path:
    """``index.html`` and ``sizing.svg`` of all parts that have been measured; the path of the page."""
    parts = {name: one["points"] for name, one in runs.items()}
    plots = picture(parts)
    (OUT / "sizing.svg").write_text(plots)
    body = plots
    for name, one in runs.items():
        told = f"{one['when']}, {one['commit']}, {one['machine']}{', quick' if one['quick'] else ''}"
        names = [key for key, value in one["points"][0].items() if not isinstance(value, dict)]
        cells = [[_cell(point.get(key, "")) for key in names] for point in one["points"]]
        body += f"<h2>{html.escape(name)}</h2><p>{html.escape(told)}</p>{report.table(names, cells)}"
    if costs:
        head = list(COLUMNS)
        body += "<h2>Deployments</h2>" + report.table(head, [row(load, costs) for load in DEPLOYMENTS])
        body += f"<h2>Costs</h2><pre>{html.escape(json.dumps(asdict(costs), indent=1))}</pre>"
    style = f"<style>{report.STYLE} body {{ max-width: 80rem }} td, th {{ font-size: 12px }}</style>"
    target = OUT / "index.html"
    target.write_text(f"<!doctype html><meta charset=utf-8><title>Sizing</title>{style}<h1>Sizing</h1>{body}")
    return target


def _cell(value: Any) -> str:
    return short(float(value)) if isinstance(value, int | float) else str(value)
