"""docs/metrics.md has the metrics of a real stack, with types and labels, and rules and board name no others."""

from __future__ import annotations

import re
import urllib.request

import pytest
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from dev.process import ROOT
from dev.server import free_port
from tests.alerts.rules import metrics_of, panels, rules
from tests.stack import Stack, until

OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
ROW = re.compile(r"^\| `(unbroken_\w+)` \| (\w+) \|(.*?)\| (service|web|worker|web, worker) \| \S", re.MULTILINE)


def documented() -> dict[str, tuple[str, frozenset[str]]]:
    """By metric: its type and the names of its labels."""
    rows = ROW.findall((ROOT / "docs" / "metrics.md").read_text())
    table = {name: (kind, frozenset(re.findall(r"`(\w+)`", labels))) for name, kind, labels, _ in rows}
    assert len(table) == len(rows), "a metric has two rows"
    return table


def scraped(url: str) -> dict[str, tuple[str, frozenset[str]]]:
    """By metric of an exposition, as a query names it: its type and the labels that its samples have."""
    with OPENER.open(url, timeout=20) as response:
        families = text_string_to_metric_families(response.read().decode())
    return {
        family.name + "_total" * (family.type == "counter"): (
            family.type,
            frozenset(label for sample in family.samples for label in sample.labels) - {"le"},
        )
        for family in families
        if family.name.startswith("unbroken_") and not family.name.endswith("_created")
    }


@pytest.fixture(scope="module")
def seen(module_stack: Stack) -> dict[str, tuple[str, frozenset[str]]]:
    """The metrics of a web process and of a worker that have made one answer."""
    port = free_port()
    module_stack.worker(WORKER_METRICS_PORT=port)
    web = module_stack.web()
    started = module_stack.start(model="offline-fast")
    module_stack.finished(started.generation.id)
    worker = until(lambda: scraped(f"http://127.0.0.1:{port}/metrics"), 60)
    return {**worker, **scraped(f"{web.url}/metrics")}


def test_every_metric_is_in_the_table_with_its_type(seen: dict[str, tuple[str, frozenset[str]]]) -> None:
    assert {name: kind for name, (kind, _) in seen.items()} == {name: kind for name, (kind, _) in documented().items()}


def test_every_metric_of_the_rules_and_the_board_exists(seen: dict[str, tuple[str, frozenset[str]]]) -> None:
    queries = [target["expr"] for panel in panels() for target in panel["targets"]]
    queries += [rule.expression for rule in rules()]
    named = set[str]().union(*map(metrics_of, queries))
    assert len(named) > 50
    assert named - set(seen) == set()


def test_every_label_is_in_the_table(seen: dict[str, tuple[str, frozenset[str]]]) -> None:
    from app.ops import metrics, relay_metrics, revocation_metrics, telemetry_metrics  # noqa: F401  (they register)

    declared = {
        family.name + "_total" * (family.type == "counter"): frozenset(getattr(collector, "_labelnames", ()))
        for collector in REGISTRY._collector_to_names
        for family in collector.collect()
        if family.name.startswith("unbroken_")
    }
    table = documented()
    assert {name: labels for name, labels in declared.items() if labels != table[name][1]} == {}
    assert {name: labels for name, (_, labels) in seen.items() if not labels <= table[name][1]} == {}
