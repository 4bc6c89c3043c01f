"""Transactions over the rows of all users begin only in code of workers: the web processes' login may begin none."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from dev.process import ROOT

# Leases, the sweeper, restores, removals, heartbeats, webhooks, the minutes, the kinds and models of upstreams.
OF_WORKERS = {
    "app/services/file_sweep.py",
    "app/services/identities.py",
    "app/services/leases.py",
    "app/services/minutes.py",
    "app/services/model_versions.py",
    "app/services/restores.py",
    "app/services/revocations.py",
    "app/services/sign_in_links.py",
    "app/services/sweeper.py",
    "app/services/audit.py",
    "app/services/api_keys.py",
    "app/services/own_data/erasing.py",
    "app/services/own_data/erasure_list.py",
    "app/services/own_data/retention.py",
    "app/services/eraser.py",
    "app/services/feeds.py",
    "app/services/passes.py",
    "app/services/upstream_status.py",
    "app/services/webhook_deliveries.py",
    "worker/heartbeat.py",
    "worker/model_lists.py",
    "worker/webhooks.py",
}
SESSION_STATE = ("pg_advisory_lock(", "pg_try_advisory_lock(", "listen ", "unlisten", "prepare ", "set session ")


def modules() -> Iterator[tuple[str, ast.Module]]:
    for folder in ("app", "worker"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield str(path.relative_to(ROOT)), ast.parse(path.read_text())


def begins(tree: ast.Module) -> bool:
    """True when the module calls ``system()`` of an object whose name contains "database"."""
    return any(
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "system"
        and "database" in ast.unparse(node.func.value)
        for node in ast.walk(tree)
    )


def test_only_what_workers_do_sees_everybodys_rows() -> None:
    assert {name for name, tree in modules() if begins(tree)} == OF_WORKERS


def statements(tree: ast.Module) -> Iterator[str]:
    """Every string constant of the module in lower case; a statement is one of them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value.lower()


def test_no_statement_keeps_anything_in_a_session() -> None:
    """A pooler in transaction mode may run every transaction in another session."""
    kept = {
        (name, kind)
        for name, tree in modules()
        for text in statements(tree)
        for kind in SESSION_STATE
        if text.startswith(kind) or ("pg_" in kind and kind in text)
    }
    assert kept == set()
    lines = [line for name, _ in modules() for line in (ROOT / name).read_text().splitlines() if "set_config(" in line]
    assert lines
    assert all("true)" in line for line in lines), lines
