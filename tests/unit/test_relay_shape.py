"""The relay stays a room that a newcomer can change: small files, small classes, and imports without a circle."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

from app.relay.stream_connection import MOVES, ConnectionState

ROOM = Path(__file__).resolve().parents[2] / "app" / "relay"
MOST_LINES, MOST_METHODS, MOST_PARAMETERS, MOST_LINES_OF_THE_HUB = 300, 20, 8, 200


def files() -> dict[str, ast.Module]:
    found = {path.stem: ast.parse(path.read_text()) for path in ROOM.glob("*.py")}
    assert len(found) > 20
    return found


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_no_file_is_long() -> None:
    lengths = {path.stem: len(path.read_text().splitlines()) for path in ROOM.glob("*.py")}
    assert max(lengths.values()) <= MOST_LINES, lengths
    assert lengths["hub"] < MOST_LINES_OF_THE_HUB


def test_no_class_has_many_methods() -> None:
    for name, tree in files().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                methods = [one for one in node.body if isinstance(one, ast.FunctionDef)]
                assert len(methods) <= MOST_METHODS, (name, node.name, len(methods))


def test_no_function_has_many_parameters() -> None:
    for name, tree in files().items():
        for function in functions(tree):
            own = [one.arg for one in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)]
            own = [one for one in own if one not in ("self", "cls")]
            assert len(own) <= MOST_PARAMETERS, (name, function.name, own)


def test_the_files_import_each_other_in_one_direction() -> None:
    graph: dict[str, set[str]] = {}
    for name, tree in files().items():
        imported = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
        graph[name] = {module.rpartition(".")[2] for module in imported if module.startswith("app.relay.")}
    order = list(TopologicalSorter(graph).static_order())
    assert order.index("topic") < order.index("hub")


def test_every_state_can_be_left_but_the_last_and_every_state_can_end() -> None:
    assert set(MOVES) == set(ConnectionState)
    for state, following in MOVES.items():
        assert (ConnectionState.CLOSING in following) == (state is not ConnectionState.CLOSING)
        assert state not in following
