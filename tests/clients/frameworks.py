"""Python frameworks from PyPI, in a virtual environment of their own: they need packages that the service does not.

`make clients` makes the environment once, in a folder git ignores, before the tests: it takes longer than a test may.
Where the registry cannot be reached, the tests say so and skip.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
FOLDER = HERE / ".venv-frameworks"
REQUIREMENTS = HERE / "requirements-frameworks.txt"
SECONDS = 900
INSTALLED, TROUBLE = FOLDER / "installed.txt", FOLDER / "trouble.txt"


def python() -> Path:
    """The interpreter that has the frameworks. Skips the test when they are not installed."""
    if not _is_installed():
        pytest.skip(TROUBLE.read_text() if TROUBLE.exists() else "`python -m tests.clients.frameworks` has not run")
    return FOLDER / "bin" / "python"


def install() -> str | None:
    """Install the frameworks, unless they are. Returns the reason of a failure."""
    if _is_installed():
        return None
    subprocess.run([sys.executable, "-m", "venv", "--clear", FOLDER], check=True)
    command = [FOLDER / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", "-r", REQUIREMENTS]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return f"the frameworks were not installed within {SECONDS} s"
    if ran.returncode:
        return f"pip cannot install the frameworks here: {ran.stderr.strip().splitlines()[-1:]}"
    INSTALLED.write_text(REQUIREMENTS.read_text())
    return None


def _is_installed() -> bool:
    return INSTALLED.exists() and INSTALLED.read_text() == REQUIREMENTS.read_text()


if __name__ == "__main__":
    print("installing the frameworks from PyPI (minutes, once)" if not _is_installed() else "the frameworks are there")
    if reason := install():
        TROUBLE.write_text(reason)
        print(reason)
