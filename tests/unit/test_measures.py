"""The measures of the code find each broken limit in a small tree that breaks them all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dev.measures import measure, report, rows

if TYPE_CHECKING:
    from pathlib import Path

GOOD = '"""A thing."""\n\n\ndef act(one: int) -> int:\n    """Adds one."""\n    return one + 1\n'


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A root with the two rooms, each with a module that breaks nothing."""
    for room in ("app", "worker"):
        (tmp_path / room).mkdir()
        (tmp_path / room / "good.py").write_text(GOOD)
    return tmp_path


def broken(root: Path) -> set[str]:
    return {row.name for row in rows(measure(root)) if row.broken}


def test_a_tidy_tree_breaks_nothing(tree: Path) -> None:
    assert broken(tree) == set()


@pytest.mark.parametrize(
    ("source", "row"),
    [
        (GOOD + "x = 1\n" * 300, "files above 300 lines"),
        ("class Large:\n" + "    def f(self): ...\n" * 21, "classes with more than 20 methods"),
        ("def f(a, b, c, d, e, *, g, h, i, j): ...\n", "functions with more than 8 parameters"),
        ("def f():\n" + "    x = 1\n" * 60, "function, most lines"),
        ('"""How a thing is."""\n', "docstrings that begin with a question word, %"),
        ('def f():\n    """The same, in red."""\n', "docstrings that begin with a question word, %"),
    ],
)
def test_each_figure_sees_what_breaks_it(tree: Path, source: str, row: str) -> None:
    (tree / "app" / "bad.py").write_text(source)
    assert row in broken(tree)


def test_a_circle_is_seen_although_it_is_for_types_and_relative(tree: Path) -> None:
    (tree / "app" / "one.py").write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from app.two import b\n"
    )
    (tree / "app" / "two.py").write_text("from . import three\n")
    (tree / "app" / "three.py").write_text("def f():\n    from .one import a\n")
    assert measure(tree).circles == ["app.one app.three app.two"]


def test_self_is_no_parameter(tree: Path) -> None:
    (tree / "app" / "fine.py").write_text("class A:\n    def f(self, a, b, c, d, e, g, h, i): ...\n")
    assert "functions with more than 8 parameters" not in broken(tree)


def test_the_report_names_the_places_of_a_broken_row(tree: Path) -> None:
    (tree / "worker" / "bad.py").write_text("def crowded(" + ", ".join(f"a{n}" for n in range(9)) + "): ...\n")
    table = rows(measure(tree))
    assert "worker/bad.py:1 crowded (9)" in report(table, detail=True)
