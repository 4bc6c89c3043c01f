"""axe-core from npm's registry, as tests/browser/node/package-lock.json names it, and what it finds on a page.

It is installed once into the user's cache, outside the repository. Where the registry cannot be reached, tests say so
and skip.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.clients.node import SECONDS, binaries

HERE = Path(__file__).parent / "node"
GRAVE = ("serious", "critical")
RUN = """
async () => {
  const {violations} = await axe.run(document, {resultTypes: ['violations']});
  return violations.map(({id, impact, help, nodes}) => ({
    id, impact, help,
    where: nodes.map(({target, any, all}) => `${target.join(' ')}: ${[...any, ...all].map((each) => each.message)}`),
  }));
}
"""


def faults(page: Page) -> list[dict[str, Any]]:
    """The serious and critical faults of the page as it is now: id, impact, help, where."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(source())
    found: list[dict[str, Any]] = page.evaluate(RUN)
    return [fault for fault in found if fault["impact"] in GRAVE]


@cache
def _place() -> tuple[Path, str | None]:
    """The folder of the packages, and the reason when they are missing. Computed once for all tests."""
    version = hashlib.sha256((HERE / "package-lock.json").read_bytes()).hexdigest()[:12]
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "unbroken-tests"
    place = root / version
    root.mkdir(parents=True, exist_ok=True)
    with (root / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return place, None if (place / "whole").exists() else _install(place)


def _install(place: Path) -> str | None:
    binary, npm = binaries()
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(HERE, place, ignore=shutil.ignore_patterns("node_modules"))
    command = [str(binary), str(npm), "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--fetch-retries=1"]
    # A machine may trust a certificate authority of its own.
    environment = {**os.environ, "NODE_USE_SYSTEM_CA": "1"}
    try:
        ran = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return f"npm's registry did not answer within {SECONDS} s"
    if ran.returncode:
        return f"npm cannot install axe-core here: {ran.stderr.strip().splitlines()[-1:]}"
    (place / "whole").touch()
    return None


@cache
def source() -> str:
    """axe-core as a script. Skips the test when it cannot be installed."""
    place, why_not = _place()
    if why_not:
        pytest.skip(why_not)
    return (place / "node_modules" / "axe-core" / "axe.min.js").read_text()
