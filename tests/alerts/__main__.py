"""Each fault in a real deployment, and when it is told: ``python -m tests.alerts [--only "Redis full"] [--write]``.

The table goes into docs/operate/alerts.md with ``--write``.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from tests.alerts.deployment import Deployment, deployment
from tests.alerts.faults import FAULTS, Fault
from tests.alerts.monitoring import INTERVAL, SCALE
from tests.alerts.rules import PAGE, missing_programs, rules
from tests.alerts.watch import Seen, Watch
from tests.stack import until

PLACE = re.compile(r"(<!-- measured by make alerts -->\n).*?(<!-- end -->)", re.DOTALL)
HEAD = """
| fault | `/readyz` | overview | alert | pending | firing here | firing in production, about |
|---|---|---|---|---|---|---|
"""
NOTE = f"""
Seconds from the fault; two workers with few slots, one web process. Prometheus scrapes and evaluates every {INTERVAL} s
here, and each `for` is divided by {SCALE}. The last column has the time until the alert was pending, the longer
intervals of 15 s, and the whole `for`. Alerts on a part of requests or answers also need enough of them.
"""


def main() -> int:
    """Make the faults. Returns 1 when a sign of one has not come."""
    parser = argparse.ArgumentParser(description="Make faults, and measure when they are told")
    parser.add_argument("--only", default="", help="names of faults, separated by commas; all without it")
    parser.add_argument("--write", action="store_true", help="write the table into docs/operate/alerts.md")
    parser.add_argument("--may-skip", action="store_true", help="succeed where Prometheus is not installed")
    asked = parser.parse_args()
    if missing := missing_programs():
        print(f"skipped: {', '.join(missing)} not installed (Debian's package prometheus)")
        return 0 if asked.may_skip else 1
    chosen = [fault for fault in FAULTS if not asked.only or fault.name in asked.only.split(",")]
    began, lacking, table = time.monotonic(), [], []
    with tempfile.TemporaryDirectory() as directory, deployment(Path(directory)) as deployed:
        for fault in chosen:
            until(partial(is_silent, deployed, fault), 400, "the end of the alerts of the fault before")
            seen = Watch(deployed, fault).run()
            lacking += [f"{fault.name}: {sign}" for sign in seen.lacks(fault)]
            table.append(seen)
            report(deployed, seen)
    fired = {name for seen in table for name in seen.firing}
    print(rows(table, {fault.name: fault.alerts for fault in chosen}))
    print(f"fired here: {', '.join(sorted(fired))}")
    print(f"fired in tests/deploy/test_alert_rules.py only: {', '.join(sorted({r.name for r in rules()} - fired))}")
    print(f"{time.monotonic() - began:.0f} s")
    if asked.write and not asked.only:
        written = rows(table, {fault.name: fault.alerts for fault in chosen})
        PAGE.write_text(PLACE.sub(lambda found: f"{found[1]}{written}{found[2]}", PAGE.read_text()))
    for sign in lacking:
        print(f"FAILED {sign} has not told it", file=sys.stderr)
    return 1 if lacking else 0


def is_silent(deployed: Deployment, fault: Fault) -> bool:
    """True when none of the fault's alerts is pending or firing."""
    return not set(fault.alerts) & set(deployed.prometheus.alerts())


def report(deployed: Deployment, seen: Seen) -> None:
    """Print the findings of one fault."""
    said = deployed.prometheus.summaries()
    print(f"{seen.fault}: /readyz {shown(seen.readyz)}, overview {shown(seen.overview)}", flush=True)
    for name in seen.pending:
        print(f"    {name} pending {shown(seen.pending[name])}, firing {shown(seen.firing.get(name))}", flush=True)
        if name in said:
            print(f"        {said[name]}", flush=True)


def rows(table: list[Seen], alerts: dict[str, tuple[str, ...]]) -> str:
    """The table of the document."""
    lines = []
    for seen in table:
        for number, name in enumerate(alerts[seen.fault]):
            first = (seen.fault, shown(seen.readyz), shown(seen.overview)) if number == 0 else ("", "", "")
            times = (
                (shown(seen.pending[name]), shown(seen.firing.get(name)), f"{seen.in_production(name):.0f}")
                if name in seen.pending
                else ("never",) * 3
            )
            lines.append(f"| {' | '.join((*first, f'[{name}](#{name.lower()})', *times))} |")
    return HEAD + "\n".join(lines) + "\n" + NOTE


def shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


if __name__ == "__main__":
    sys.exit(main())
