"""Python frameworks from PyPI, in a virtual environment of their own: they need packages that the service does not.

The environment is made once, in a folder git ignores. Where the registry cannot be reached, the tests say so and skip.
"""

from __future__ import annotations

import fcntl
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

HERE = Path(__file__).parent
FOLDER = HERE / ".venv-frameworks"
REQUIREMENTS = HERE / "requirements-frameworks.txt"
SECONDS = 400


def python() -> Path:
    """The interpreter that has the frameworks. Skips the test when they cannot be installed."""
    if reason := _why_not():
        pytest.skip(reason)
    return FOLDER / "bin" / "python"


@cache
def _why_not() -> str | None:
    """Install once for all tests. Returns the reason of a failure."""
    done = FOLDER / "installed.txt"
    with (HERE / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if done.exists() and done.read_text() == REQUIREMENTS.read_text():
            return None
        subprocess.run([sys.executable, "-m", "venv", "--clear", FOLDER], check=True)
        command = [FOLDER / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", "-r", REQUIREMENTS]
        try:
            ran = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
        except subprocess.TimeoutExpired:
            return f"the frameworks were not installed within {SECONDS} s"
        if ran.returncode:
            return f"pip cannot install the frameworks here: {ran.stderr.strip().splitlines()[-1:]}"
        done.write_text(REQUIREMENTS.read_text())
        return None
