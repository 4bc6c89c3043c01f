"""A test that hangs is named with its stack; a red property test ends soon and prints the way to repeat it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

HANGING = """
import threading

def test_before(): pass

def waits_for_ever(): threading.Event().wait()

def test_hangs():
    threading.Thread(target=waits_for_ever, name="the other thread", daemon=True).start()
    waits_for_ever()

def test_after(): pass
"""

SLOWLY_RED = """
from time import sleep
from hypothesis import given, strategies as st

@given(st.lists(st.integers(0, 2**64), min_size=30))
def test_red(numbers):
    sleep(0.05)
    assert len(set(numbers)) < 20
"""


def run(directory: Path, text: str, *arguments: str) -> str:
    """The output of pytest for a file of this text, under this repository's settings and conftest."""
    (directory / "conftest.py").write_text(f"import sys\nsys.path.insert(0, {str(ROOT)!r})\nimport tests.conftest\n")
    (directory / "test_made.py").write_text(text)
    command = [sys.executable, "-m", "pytest", "-c", ROOT / "pyproject.toml", f"--rootdir={directory}"]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", *arguments, directory], cwd=directory, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("processes", [(), ("--numprocesses", "1")])
def test_a_test_that_hangs_is_named_with_the_stacks_of_all_threads(tmp_path: Path, processes: tuple[str, ...]):
    said = run(tmp_path, HANGING, "--timeout", "3", "--override-ini", "faulthandler_timeout=1", *processes)
    stacks = said.partition("most recent call first")[2]
    assert "in test_hangs" in stacks
    assert stacks.count("in waits_for_ever") >= 2
    if processes:  # another process goes on with the rest
        assert "crashed while running 'test_made.py::test_hangs'" in said
        assert "2 passed" in said


def test_every_test_has_a_limit_by_default(pytestconfig: pytest.Config):
    assert 60 <= float(pytestconfig.getini("faulthandler_timeout")) < float(pytestconfig.getini("timeout")) <= 600
    assert pytestconfig.getini("timeout_method") == "thread"


def test_a_red_property_test_ends_soon_and_prints_how_to_repeat_it(tmp_path: Path):
    impatient = SLOWLY_RED.replace(
        "from time", "from hypothesis.internal.conjecture import engine\nengine.MAX_SHRINKING_SECONDS /= 10\nfrom time"
    )
    said = run(tmp_path, impatient, "--hypothesis-seed", "1", "--durations", "1", "--durations-min", "0")
    assert "@reproduce_failure(" in said
    assert "stopped because it is making very slow progress" in " ".join(said.split())
