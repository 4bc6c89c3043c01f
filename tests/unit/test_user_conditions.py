"""Every statement of the store that finds rows of users names the user, or is a listed statement of workers."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from dev.process import ROOT

# The tables with rows of users. tests/isolation/test_catalogue.py fails when the catalogue has another one.
KNOWN = {
    "users", "conversations", "messages", "generations", "generation_chunks", "generation_archives", "feeds",
    "feed_events", "responses", "reserved_conversations", "client_chats", "stream_tickets", "usage_days",
    "api_keys",
    "sessions",
    "preferences",
    "shares",
    "key_usage_days",
    "identities",
    "budgets",
    "erasures",
    "holds",
    "webhook_endpoints",
    "webhook_secrets",
    "webhook_deliveries",
    "webhook_attempts",
    "files",
    "file_references",
}  # fmt: skip
READS = {"fetch", "fetch_one", "execute", "_changes", "ask", "ask_all"}
NAMED = re.compile(r"mine\(|_MINE|:user_id\b|user_id = :key|_ONE\b|_STANDING\b")
FINDS = re.compile(rf"\b(?:FROM|UPDATE|JOIN)\s+(?:{'|'.join(sorted(KNOWN))})\b")
# A worker acts on generations of every user by lease, and finds rows to be removed by their age.
OF_WORKERS = {
    "leases.py": {
        "claim",
        "take_next",
        "take_turn",
        "renew",
        "advance",
        "leave",
        "release",
        "due",
    },
    "lease_notes.py": {"note_pause", "note_target", "note_run"},
    "api_keys.py": {"end_expired"},
    "checkpoints.py": {"append"},
    "model_configs.py": {"prune_versions"},
    "sessions.py": {"prune_unused", "prune_old"},
    "erasures.py": {"pending", "settled", "released", "count", "finish", "requested", "users_of"},
    "leftovers.py": {"remove_reservations", "remove_tickets", "remove_usage", "remove_erasures"},
    "expired.py": {"next_range", "take", "take_temporary"},
    "incarnation.py": {"raise_epochs"},
    "webhook_deliveries.py": {"prune"},
    "removed_files.py": {"remove_due", "unused_behind", "_remove"},
    "feed.py": {"record_running", "next_conversation", "next_user", "prune", "prune_passing", "prune_deleted"},
}


def statements() -> Iterator[tuple[str, str, str]]:
    """File, function and text of every statement that the store sends."""
    for path in sorted((ROOT / "app" / "store").glob("*.py")):
        tree = ast.parse(path.read_text())
        for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
            given = [
                (node.lineno, target.id, ast.unparse(node.value))
                for node in ast.walk(function)
                if isinstance(node, ast.Assign)
                for target in node.targets
                if isinstance(target, ast.Name)
            ]
            for call in (node for node in ast.walk(function) if isinstance(node, ast.Call)):
                name = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
                if name in READS and len(call.args) > 1:
                    text = ast.unparse(call.args[1])
                    # One name may stand for several statements, one after the other.
                    before = sorted(
                        (line, value) for line, known, value in given if known == text and line < call.lineno
                    )
                    yield path.name, function.name, before[-1][1] if before else text


def forgotten(found: Iterator[tuple[str, str, str]]) -> set[tuple[str, str]]:
    return {
        (file, function)
        for file, function, text in found
        if FINDS.search(text) and not NAMED.search(text) and function not in OF_WORKERS.get(file, ())
    }


def test_every_statement_that_finds_rows_of_users_names_the_user() -> None:
    found = list(statements())
    assert len([text for *_, text in found if FINDS.search(text)]) > 40
    assert forgotten(iter(found)) == set()


@pytest.mark.parametrize(
    ("file", "function"),
    [
        ("conversations.py", "lock"),
        ("conversations.py", "delete"),
        ("messages.py", "get"),
        ("messages.py", "branch"),
        ("checkpoints.py", "chunks"),
        ("leases.py", "holds"),
    ],
)
def test_a_statement_that_forgets_the_user_is_found(file: str, function: str) -> None:
    planted = (
        (path, name, NAMED.sub("", text) if (path, name) == (file, function) else text)
        for path, name, text in statements()
    )
    assert forgotten(planted) == {(file, function)}


def test_each_of_two_statements_under_one_name_is_looked_at() -> None:
    texts = [text for file, function, text in statements() if (file, function) == ("messages.py", "set_items")]
    assert ["UPDATE conversations" in text for text in texts] == [True, False]
