"""The report of ``make chaos``: out/chaos/index.html, a self-contained page, and out/chaos/report.json."""

from __future__ import annotations

import json
import platform
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import Any

from tests.chaos.runner import Outcome

STYLE = """
:root { color-scheme: light dark; --line: #8884; --good: #1a7f37; --bad: #cf222e; --odd: #9a6700; --bar: #0969da; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top; }
td.n { text-align: right; } .passed { color: var(--good); } .failed { color: var(--bad); }
.skipped, .no { color: var(--odd); } pre { overflow: auto; padding: .8rem; border: 1px solid var(--line); }
svg text { fill: currentColor; font-size: 12px; } figure { margin: 1.5rem 0; } small { opacity: .7; }
"""

_HOW = """Every run is judged from what the clients saw, the provider's log and dumps of the stores. A run that did not
reach the places it is meant to reach counts as none."""


def write(out: Path, outcomes: list[Outcome], *, append: bool = False) -> list[Path]:
    """Write both files. With ``append`` the last report's outcomes stay, except those that were run again."""
    data, page = out / "report.json", out / "index.html"
    rows = [asdict(outcome) for outcome in outcomes]
    if append and data.exists():
        known = {(row["scenario"], row["seed"]) for row in rows}
        rows = [row for row in json.loads(data.read_text()) if (row["scenario"], row["seed"]) not in known] + rows
    rows.sort(key=lambda row: (row["number"], row["scenario"], row["seed"]))
    data.write_text(json.dumps(rows, indent=1))
    page.write_text(_page(rows))
    return [page, data]


def _page(rows: list[dict[str, Any]]) -> str:
    ran = [row for row in rows if row["figures"]]
    held = sum(row["verdict"] == "passed" for row in rows)
    machine = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    killed = [t for row in ran if row["number"] < 100 for t in row["figures"]["recoveries"]]
    back = [t for row in ran if row["number"] in (6, 7) for t in row["figures"]["returns"]]
    return "".join(
        (
            '<!doctype html><html lang="en"><meta charset="utf-8"><title>Chaos</title>',
            f"<style>{STYLE}</style><h1>Kill anything</h1>",
            f"<p>{held} of {len(rows)} runs held. <small>{escape(machine)}; {when}.</small></p>",
            f"<p>{_HOW}</p>",
            _table([row for row in rows if row["number"] < 100], "Scenarios"),
            _plants([row for row in rows if row["number"] >= 100]),
            _histogram(killed, "From the death of a worker to the next token of each answer it held, in seconds"),
            _histogram(
                back, "From a broken connection to the reader's next frame, in seconds (web processes replaced)"
            ),
            _pauses(ran),
            _calls(ran),
            _failures(rows),
            "</html>",
        )
    )


def _table(rows: Sequence[dict[str, Any]], title: str) -> str:
    head = ("", "fault", "promise", "verdict", "seed", "answers", "events seen", "worst pause", "resets",
            "said twice", "calls: answers", "met")  # fmt: skip
    lines = []
    for row in rows:
        f = row["figures"]
        calls = ", ".join(f"{n}: {count}" for n, count in f.get("provider_calls", {}).items())
        met = ", ".join(f"{name} {count}" for name, count in row["coverage"].items() if count)
        cells = (
            _cell(row["number"], "n"),
            _cell(row["scenario"]),
            _cell(row["promise"]),
            _cell(row["verdict"], row["verdict"].split()[0]),
            _cell(row["seed"], "n"),
            _cell(f.get("generations", ""), "n"),
            _cell(f.get("frames", ""), "n"),
            _cell(f"{max(f['pauses']):.1f} s" if f.get("pauses") else "", "n"),
            _cell(counted(row["resets"])),
            _cell(f.get("resent_tokens", ""), "n"),
            _cell(calls),
            _cell(met),
        )
        lines.append(f"<tr>{''.join(cells)}</tr>")
    names = "".join(f"<th>{escape(name)}</th>" for name in head)
    return f"<h2>{title}</h2><table><tr>{names}</tr>{''.join(lines)}</table>"


def _plants(rows: Sequence[dict[str, Any]]) -> str:
    if not rows:
        return ""
    lines = "".join(
        f"<tr>{_cell(row['scenario'])}{_cell(row['promise'])}"
        f"{_cell('found' if row['verdict'] == 'passed' else 'missed', row['verdict'])}"
        f"{_cell(row['violations'][0][:200] if row['violations'] else '')}</tr>"
        for row in rows
    )
    return f"<h2>Planted bugs</h2><table><tr><th>bug<th>what<th><th>first evidence</tr>{lines}</table>"


def counted(resets: Iterable[str]) -> str:
    """The number of resets and of each reason: ``3: redis killed + worker killed (worker-1) 2, …``."""
    reasons = Counter(resets)
    named = ", ".join(f"{why} {count}" for why, count in reasons.most_common())
    return f"{reasons.total()}: {named}" if reasons else "0"


def _cell(value: Any, kind: str = "") -> str:
    return f'<td class="{kind}">{escape(str(value))}</td>'


def _histogram(values: Sequence[float], title: str, bins: int = 24) -> str:
    """Bars over equal steps, with median and worst."""
    if not values:
        return ""
    top = max(values) or 1.0
    counts = [0] * bins
    for value in values:
        counts[min(int(value / top * bins), bins - 1)] += 1
    width, height, left = 720, 180, 30
    step, most = width / bins, max(counts)
    bars = "".join(
        f'<rect x="{left + i * step:.1f}" y="{height - count / most * height + 10:.1f}" width="{step - 2:.1f}" '
        f'height="{count / most * height:.1f}" fill="var(--bar)"><title>{count}</title></rect>'
        for i, count in enumerate(counts)
        if count
    )
    ticks = "".join(
        f'<text x="{left + width * i / 6:.0f}" y="{height + 28}" text-anchor="middle">{top * i / 6:.2g}</text>'
        for i in range(7)
    )
    median = sorted(values)[len(values) // 2]
    note = f"{len(values)} times; median {median:.2f} s, worst {top:.2f} s"
    return (
        f"<figure><figcaption>{escape(title)}<br><small>{note}</small></figcaption>"
        f'<svg viewBox="0 0 {width + 2 * left} {height + 40}" role="img" aria-label="{escape(title)}: {note}">'
        f'<line x1="{left}" y1="{height + 10}" x2="{left + width}" y2="{height + 10}" stroke="currentColor"/>'
        f"{bars}{ticks}</svg></figure>"
    )


def _pauses(rows: Iterable[dict[str, Any]]) -> str:
    """The longest silence of each stable reader, as a line of dots for each scenario."""
    shown = [(row["scenario"], row["figures"]["pauses"]) for row in rows if row["figures"]["pauses"]]
    if not shown:
        return ""
    top = max(max(pauses) for _, pauses in shown) or 1.0
    left, width, line = 230, 560, 18
    bottom = line * (len(shown) + 2)
    parts = []
    for i, (name, pauses) in enumerate(shown):
        y = line * (i + 1)
        parts.append(f'<text x="{left - 10}" y="{y + 4}" text-anchor="end">{escape(name)}</text>')
        parts += [
            f'<circle cx="{left + p / top * width:.1f}" cy="{y}" r="4" fill="var(--bar)" fill-opacity=".35"/>'
            for p in pauses
        ]
    ticks = "".join(
        f'<text x="{left + width * i / 5:.0f}" y="{bottom}" text-anchor="middle">{top * i / 5:.1f}</text>'
        for i in range(6)
    )
    title = "The longest pause of each stable reader"
    return (
        f"<figure><figcaption>{title}</figcaption><svg viewBox='0 0 {left + width + 40} {line * (len(shown) + 3)}' "
        f"role='img' aria-label='{title}'>{''.join(parts)}{ticks}</svg></figure>"
    )


def _calls(rows: Iterable[dict[str, Any]]) -> str:
    total: dict[int, int] = {}
    for row in rows:
        for number, count in row["figures"]["provider_calls"].items():
            total[int(number)] = total.get(int(number), 0) + count
    lines = "".join(f"<tr>{_cell(n, 'n')}{_cell(total[n], 'n')}</tr>" for n in sorted(total))
    return f"<h2>Provider calls per answer</h2><table><tr><th>calls<th>answers</tr>{lines}</table>"


def _failures(rows: Iterable[dict[str, Any]]) -> str:
    parts = []
    for row in rows:
        if row["verdict"] == "passed" or row["number"] >= 100:
            continue
        text = "\n".join(
            [*row["violations"][:12], *(f"not met: {name}" for name in row["missing"]), "", *row["faults"]]
        )
        parts.append(
            f"<h3>{escape(row['scenario'])}, seed {row['seed']}: {row['verdict']}</h3><pre>{escape(text)}</pre>"
        )
    return "<h2>What did not hold</h2>" + "".join(parts) if parts else ""
